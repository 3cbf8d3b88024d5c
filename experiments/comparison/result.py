"""A comparison of entries: as text, as files and a report, and recorded in its own run."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path

from experiments.cli.command import uncollected
from experiments.comparison import compatibility, tables
from experiments.comparison.entries import Entry, Wanted, find
from experiments.comparison.joint_front import EntryPair, JointFront, joint_front, read
from experiments.comparison.settings import CompareSettings, flat
from lrm.digests import of_json
from lrm.files import write_atomic
from lrm.tables import Table, some
from tracking.store import Store, open_store

NAMED = 20
"""How many entries a param names; comparison.json has them all."""


@dataclass(frozen=True)
class Compared:
    """The joint front; `marks`, sentences on what differs or is left out; the fields `allowed` to
    differ."""

    joint: JointFront
    marks: Sequence[str]
    allowed: Sequence[str]

    @property
    def at_largest(self) -> list[EntryPair]:
        """The paired differences at the largest budget."""
        return [pair for pair in self.joint.pairs if pair.budget == self.joint.budgets[-1]]

    @cached_property
    def text(self) -> str:
        """What a terminal shows."""
        shown = (
            tables.entries_table(self.joint),
            tables.front_table(self.joint),
            tables.pairs_table(self.at_largest),
        )
        return "\n\n".join((*(table.text() for table in shown), *self.marks))

    @property
    def identity(self) -> str:
        """The same for the same entries under the same terms, whatever the outcome."""
        entries = [(entry.origin, entry.label) for entry in self.joint.entries]
        return of_json([entries, list(self.joint.budgets), sorted(self.allowed)])

    def files(self) -> dict[str, bytes]:
        """Everything as data, and front and differences as tables."""
        joint = self.joint
        return {
            "comparison.json": json.dumps(self.plain(), indent=2).encode(),
            "front.csv": _csv(tables.front_table(joint)),
            "differences.csv": _csv(tables.pairs_table(joint.pairs)),
        }

    def plain(self) -> Mapping[str, object]:
        """Entries, marks, front and differences, all numbers unrounded."""
        joint = self.joint
        return {
            # "parties", here and in the params, is the name that stored comparisons have.
            "parties": [
                {
                    "label": entry.label,
                    "owner": entry.owner,
                    "study": entry.study,
                    "store": entry.made_in,
                    "origin": entry.origin,
                    "run_id": entry.run.id,
                    "levels": [record.id for record in entry.selection.records],
                    "hypervolume": joint.hypervolume(entry),
                }
                for entry in joint.entries
            ],
            "benchmarks": joint.benchmarks,
            "questions": {
                name: list(grids[joint.budgets[-1]].questions)
                for name, grids in joint.variants[0].grids.items()
            },
            "budgets": list(joint.budgets),
            "allowed": list(self.allowed),
            "marks": list(self.marks),
            "hypervolume": joint.front.hypervolume,
            "front": [
                {
                    "who": [entry.label for entry in joint.holders(spot)],
                    "variant": spot.setting.variant.name,
                    "budget": spot.setting.budget,
                    "accuracy": asdict(spot.accuracy),
                    "tokens": asdict(spot.tokens),
                    "run_id": spot.run_id,
                }
                for spot in joint.on_front
            ],
            "differences": [
                {
                    "one": pair.first.label,
                    "other": pair.second.label,
                    "level": pair.level,
                    "budget": pair.budget,
                    "accuracy": asdict(pair.comparison.accuracy),
                    "tokens": {
                        name: str(value) for name, value in asdict(pair.comparison.tokens).items()
                    },
                }
                for pair in joint.pairs
            ],
        }


def run(settings: CompareSettings, root: Path | None) -> str:
    """Compares, prints the tables, records them and makes the report; returns the last lines."""
    with uncollected():  # the stores import MLflow when they are opened
        uris = flat(settings.tracking_uri)
        stores = [open_store(uri, root) for uri in uris] or [open_store(None, root)]
        wanted = Wanted(
            studies=flat(settings.study),
            runs=flat(settings.run),
            tags=[(tag, value) for tag, _, value in (t.partition("=") for t in flat(settings.tag))],
            filters=flat(settings.filter),
        )
        compared = compare_entries(*find(stores, wanted), settings.fields)
        print(compared.text, flush=True)
    address = record(stores[0], compared, settings.report, settings.out)
    lines = [f"Report: {settings.out.resolve()}"] if settings.out else []
    return "\n".join(("", *lines, f"Kept in MLflow: {address}"))


def compare_entries(
    entries: Sequence[Entry], notes: Sequence[str], allowed: Collection[str]
) -> Compared:
    """The comparison. Raises BadInput where the entries cannot be compared, or share no question.

    `notes` are sentences on what was left out before.
    """
    budgets, marks = compatibility.check(entries, allowed)
    joint = joint_front(entries, budgets)
    return Compared(joint, [*marks, *notes, *joint.notes], list(allowed))


def record(store: Store, compared: Compared, report: bool, out: Path | None) -> str:
    """Records the comparison in its own run; returns the address of its page or data.

    The page is written to `out` as well, if given.
    """
    joint = compared.joint
    labels = [entry.label for entry in joint.entries]
    params = {
        "parties": some(labels, NAMED),
        "benchmarks": ",".join(joint.benchmarks),
        "budgets": ",".join(map(str, joint.budgets)),
        "allowed": ",".join(compared.allowed) or "nothing",
    }
    name = f"comparison of {len(labels)} {compared.identity[:6]}"
    here = [run for entry in joint.entries if (run := store.find_run(entry.run.id))]
    with store.reported(name, compared.identity, params, "comparison", here) as run_id:
        for path, data in compared.files().items():
            store.attach(run_id, path, data)
        ranked = list(enumerate(joint.on_front))
        store.log_curve(
            run_id,
            {
                "pareto/accuracy": {rank: spot.accuracy.value for rank, spot in ranked},
                "pareto/tokens": {rank: spot.tokens.value for rank, spot in ranked},
                "hypervolume": {0: joint.front.hypervolume},
            },
        )
        if report:
            html = page(compared)
            store.attach(run_id, "report.html", html)
            if out:
                write_atomic(out, html)
    return store.runs([run_id])[0].location("report.html" if report else "comparison.json")


def page(compared: Compared) -> bytes:
    """The report on all runs together; the joint front and the differences come first."""
    from experiments.comparison.figure import section
    from experiments.reporting import report_run
    from lrm.report.build import build

    joint = compared.joint
    reading = read(joint.selection, joint.entries)
    whole = build(
        title=joint.selection.title,
        variants=reading.variants,
        samples=reading.samples,
        first_correct=reading.firsts,
        published=reading.against,
        warnings=compared.marks,
        provenance=report_run.provenance(joint.selection),
        hypervolumes={},
    )
    own = section(joint, compared.at_largest)
    return replace(whole, sections=[own, *whole.sections]).html.encode()


def _csv(table: Table) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue().encode()
