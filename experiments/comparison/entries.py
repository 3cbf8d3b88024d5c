"""The entries of a comparison: studies and single runs, whose they are, and where they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from experiments.reporting import variants
from experiments.reporting.variants import Selection
from lrm.errors import BadInput
from lrm.registry import unknown
from tracking.backend import Kind
from tracking.provenance import redact
from tracking.store import Store
from tracking.stored_run import StoredRun


@dataclass(frozen=True)
class Entry:
    """A study, or a run by itself, with what was measured in it.

    `label` tells it from the others. `origin` names its run in every store it was brought into;
    `made_in` is the store it comes from, without credentials. `run` is the study's run, or the
    single run; `config` is the study's, empty where there is none.
    """

    label: str
    origin: str
    made_in: str
    run: StoredRun
    selection: Selection
    config: Mapping[str, object]

    @property
    def owner(self) -> str:
        """The team, or else the person."""
        tags = self.run.tags
        return tags.get("team") or tags.get("owner") or tags.get("mlflow.user", "unknown")

    @property
    def study(self) -> str:
        return self.run.tags.get("study", self.run.name)

    @property
    def budgets(self) -> tuple[int, ...]:
        return tuple(self.selection.budgets[0])

    @cached_property
    def params(self) -> Mapping[str, str]:
        """How all of its runs were asked, read from the first."""
        return self.selection.records[0].params

    @cached_property
    def benchmarks(self) -> list[str]:
        return self.selection.records[0].benchmarks()

    @cached_property
    def names(self) -> list[str]:
        """The names of its variants, in the order of its records."""
        return variants.names(self.selection.records)

    def benchmark_version(self, benchmark: str) -> str:
        """The version that the study's config gives for a benchmark; "" if it gives none."""
        identity = self.config.get("identity")
        benchmarks = identity.get("benchmarks") if isinstance(identity, dict) else None
        known = benchmarks.get(benchmark) if isinstance(benchmarks, dict) else None
        return str(known[0]) if known else ""


@dataclass(frozen=True)
class Wanted:
    """What to compare: names of studies, ids of runs, tags with their values, and conditions in
    MLflow's search language."""

    studies: Sequence[str]
    runs: Sequence[str]
    tags: Sequence[tuple[str, str]]
    filters: Sequence[str] = ()


def find(stores: Sequence[Store], wanted: Wanted) -> tuple[list[Entry], list[str]]:
    """The entries, each once even if several stores have it, and sentences on what is left out.

    Raises BadInput where something that was named is in no store, and where there are fewer than
    two to compare.
    """
    entries: dict[str, Entry] = {}
    notes: list[str] = []
    for store, run, levels in _matches(stores, wanted):
        origin = store.origin(run)
        if origin in entries:
            continue
        try:
            entries[origin] = _entry(store, run, levels, origin)
        except BadInput as error:
            # What was named must be there; what a tag or filter matched may be left out.
            if run.tags.get("study") in wanted.studies or run.id in wanted.runs:
                raise
            notes.append(f"{run.name} is left out: {error}")
    if len(entries) < 2:
        labels = ", ".join(entry.label for entry in entries.values()) or "nothing"
        raise BadInput(
            f"A comparison takes two studies or runs, and what was asked for is {labels}: name "
            "more with --study, --run, --tag or --filter, or give the store that has them with "
            "--tracking-uri."
        )
    return _distinct(list(entries.values())), notes


def _matches(
    stores: Sequence[Store], wanted: Wanted
) -> Iterator[tuple[Store, StoredRun, Sequence[StoredRun]]]:
    """Every study's run and single run that is asked for: its store, itself, and the runs of the
    study's levels."""
    for name in wanted.studies:
        studies = [(store, *study) for store in stores if (study := store.find_study(name))]
        if not studies:
            raise BadInput(unknown("study", name, set().union(*(s.study_names() for s in stores))))
        yield from studies
    for store, run in _other_matches(stores, wanted):
        levels = store.study_runs(run.tags["study"])[1] if run.kind == "study" else []
        yield store, run, levels


def _other_matches(stores: Sequence[Store], wanted: Wanted) -> Iterator[tuple[Store, StoredRun]]:
    """What is asked for otherwise than by a study's name."""
    for run_id in wanted.runs:
        matches = [(store, run) for store in stores if (run := store.find_run(run_id))]
        if not matches:
            raise BadInput(
                f"There is no run {run_id!r} in these stores: take an id that the UI shows, or "
                "give the store that has it with --tracking-uri."
            )
        yield from matches
    for tag, value in wanted.tags:
        for store in stores:
            for run in store.tagged(tag, value):
                yield store, run
    for condition in wanted.filters:
        yield from _matching(stores, condition, "study", "import") or _matching(
            stores, condition, "level"
        )


def _matching(
    stores: Sequence[Store], condition: str, *kinds: Kind
) -> list[tuple[Store, StoredRun]]:
    return [(store, run) for store in stores for run in store.matching(condition, kinds)]


def _entry(store: Store, run: StoredRun, levels: Sequence[StoredRun], origin: str) -> Entry:
    if run.kind == "study":
        selection = variants.of_levels(run, levels)
        config = run.artifact("config.json")
    else:
        selection = variants.of_runs(store, [run.id])
        parent = run.tags.get("parent_run_id")
        config = store.runs([parent])[0].artifact("config.json") if parent else None
    entry = Entry(
        label="",
        origin=origin,
        made_in=run.tags.get("origin.store", redact(store.uri)),
        run=run,
        selection=selection,
        config=json.loads(config or b"{}"),
    )
    name = entry.study if run.kind in ("study", "import") else run.name
    return replace(entry, label=f"{entry.owner}/{name}")


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with labels that are all different: the second of a name is numbered 2."""
    counts: dict[str, int] = {}
    labelled = []
    for entry in entries:
        counts[entry.label] = count = counts.get(entry.label, 0) + 1
        label = f"{entry.label} ({count})" if count > 1 else entry.label
        labelled.append(replace(entry, label=label))
    return labelled
