"""A comparison of parties: as text, as files and a report, and kept in a run of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

from experiments.comparison import joint_front as joining
from experiments.comparison.compatibility import join
from experiments.comparison.entries import Entry
from experiments.comparison.joint_front import EntryPair, JointFront
from lrm.digests import of_json
from lrm.files import write_atomic
from lrm.tables import Table, some
from tracking.store import Store

NAMED = 20
"""Parties named in a param; comparison.json has them all."""


@dataclass(frozen=True)
class Compared:
    """The parties joined, `marks` on what is not alike or left out, and the fields `allowed`."""

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
        joint = self.joint
        tables = (
            joining.parties_table(joint),
            joining.front_table(joint),
            joining.pairs_table(joint, self.at_largest),
        )
        return "\n\n".join((*(table.text() for table in tables), *self.marks))

    @property
    def identity(self) -> str:
        """Of the same parties under the same terms; it says nothing of what came out."""
        parties = [(party.origin, party.label) for party in self.joint.parties]
        return of_json([parties, list(self.joint.budgets), sorted(self.allowed)])

    def files(self) -> dict[str, bytes]:
        """Everything as data, and front and differences as tables."""
        joint = self.joint
        return {
            "comparison.json": json.dumps(self.plain(), indent=2).encode(),
            "front.csv": _csv(joining.front_table(joint)),
            "differences.csv": _csv(joining.pairs_table(joint, joint.pairs)),
        }

    def plain(self) -> dict[str, Any]:
        """Parties, marks, front and differences, all numbers unrounded."""
        joint = self.joint
        return {
            "parties": [
                {
                    "label": party.label,
                    "owner": party.owner,
                    "study": party.study,
                    "store": party.made_in,
                    "origin": party.origin,
                    "run_id": party.home.id,
                    "levels": [record.id for record in party.selection.records],
                    "hypervolume": joint.hypervolume(party),
                }
                for party in joint.parties
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
                    "who": [party.label for party in joint.holders(spot)],
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
                    "one": pair.one.label,
                    "other": pair.other.label,
                    "level": pair.level,
                    "budget": pair.budget,
                    "accuracy": asdict(pair.found.accuracy),
                    "tokens": {
                        name: str(value) for name, value in asdict(pair.found.tokens).items()
                    },
                }
                for pair in joint.pairs
            ],
        }


def made(parties: Sequence[Entry], told: Sequence[str], allowed: Collection[str]) -> Compared:
    """The comparison. Raises BadInput where the parties cannot be compared, or share nothing."""
    budgets, marks = join(parties, allowed)
    joint = joining.joined(parties, budgets)
    return Compared(joint, [*marks, *told, *joint.told], list(allowed))


def keep(store: Store, compared: Compared, report: bool, out: Path | None) -> str:
    """Records the comparison in a run of its own; returns where it lies.

    The page is written to `out` as well, if given.
    """
    joint = compared.joint
    labels = [party.label for party in joint.parties]
    params = {
        "parties": some(labels, NAMED),
        "benchmarks": ",".join(joint.benchmarks),
        "budgets": ",".join(map(str, joint.budgets)),
        "allowed": ",".join(compared.allowed) or "nothing",
    }
    name = f"comparison of {len(labels)} {compared.identity[:6]}"
    here = [found for party in joint.parties if (found := store.find_run(party.home.id))]
    with store.reported(name, compared.identity, params, "comparison", here) as run_id:
        for path, data in compared.files().items():
            store.attach(run_id, path, data)
        ranked = list(enumerate(joint.on_front))
        store.log_curve(
            run_id,
            {
                "pareto/accuracy": {rank: one.accuracy.value for rank, one in ranked},
                "pareto/tokens": {rank: one.tokens.value for rank, one in ranked},
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
    """The report on all runs together, the joint front and the differences first."""
    from experiments.comparison.figure import section
    from experiments.reporting import report_run
    from lrm.report.build import build

    joint = compared.joint
    reading = joining.read(joint.selection, joint.parties)
    whole = build(
        title=joint.selection.title,
        variants=reading.variants,
        samples=reading.samples,
        firsts=reading.firsts,
        against=reading.against,
        warnings=compared.marks,
        provenance=report_run.provenance(joint.selection),
        volumes={},
    )
    own = section(joint, compared.at_largest)
    return replace(whole, sections=[own, *whole.sections]).html.encode()


def _csv(table: Table) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue().encode()
