"""Who is compared: studies and runs, whose they are, and in which store they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

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

    `label` tells it from the others; `origin` names its run in every store it was brought into,
    `made_in` is the store it comes from, without credentials. `config` is the study's.
    """

    label: str
    origin: str
    made_in: str
    home: StoredRun
    selection: Selection
    config: Mapping[str, Any]

    @property
    def owner(self) -> str:
        """The team, or else the person."""
        tags = self.home.tags
        return tags.get("team") or tags.get("owner") or tags.get("mlflow.user", "unknown")

    @property
    def study(self) -> str:
        return self.home.tags.get("study", self.home.name)

    @property
    def budgets(self) -> tuple[int, ...]:
        return tuple(self.selection.budgets[0])

    @cached_property
    def params(self) -> Mapping[str, str]:
        """What all of its runs were asked with: the params of the first."""
        return self.selection.records[0].params

    @cached_property
    def benchmarks(self) -> list[str]:
        return self.selection.records[0].benchmarks()

    @cached_property
    def names(self) -> list[str]:
        """Its variants as people tell them apart, in the order of its records."""
        return variants.names(self.selection.records)


@dataclass(frozen=True)
class Wanted:
    """What to compare: names of studies, ids of runs, tags with their values, and conditions in
    MLflow's search language."""

    studies: Sequence[str]
    runs: Sequence[str]
    tags: Sequence[tuple[str, str]]
    filters: Sequence[str] = ()


def find(stores: Sequence[Store], wanted: Wanted) -> tuple[list[Entry], list[str]]:
    """The parties, each once though it lie in several stores, and sentences on what is left out.

    Raises BadInput where something that was named is in no store, and where there are fewer than
    two to compare.
    """
    parties: dict[str, Entry] = {}
    told: list[str] = []
    for store, home, levels in _homes(stores, wanted):
        origin = store.origin(home)
        if origin in parties:
            continue
        try:
            parties[origin] = _party(store, home, levels, origin)
        except BadInput as error:
            if home.tags["study"] in wanted.studies or home.id in wanted.runs:
                raise
            told.append(f"{home.name} is left out: {error}")
    if len(parties) < 2:
        found = ", ".join(party.label for party in parties.values()) or "nothing"
        raise BadInput(
            f"A comparison takes two studies or runs, and what was asked for is {found}: name more "
            "with --study, --run, --tag or --filter, or give the store that has them with "
            "--tracking-uri."
        )
    return _told_apart(list(parties.values())), told


def _homes(
    stores: Sequence[Store], wanted: Wanted
) -> Iterator[tuple[Store, StoredRun, Sequence[StoredRun]]]:
    """The runs of studies and the single runs that are asked for, with their stores, and with the
    runs of a study's levels."""
    for name in wanted.studies:
        studies = [(store, *found) for store in stores if (found := store.find_study(name))]
        if not studies:
            raise BadInput(unknown("study", name, set().union(*(s.study_names() for s in stores))))
        yield from studies
    for store, home in _others(stores, wanted):
        levels = store.study_runs(home.tags["study"])[1] if home.kind == "study" else []
        yield store, home, levels


def _others(stores: Sequence[Store], wanted: Wanted) -> Iterator[tuple[Store, StoredRun]]:
    """What is asked for otherwise than by a study's name."""
    for run_id in wanted.runs:
        found = [(store, home) for store in stores if (home := store.find_run(run_id))]
        if not found:
            raise BadInput(
                f"There is no run {run_id!r} in these stores: take an id that the UI shows, or "
                "give the store that has it with --tracking-uri."
            )
        yield from found
    for tag, value in wanted.tags:
        for store in stores:
            for home in store.tagged(tag, value):
                yield store, home
    for condition in wanted.filters:
        yield from _matching(stores, condition, "study", "import") or _matching(
            stores, condition, "level"
        )


def _matching(
    stores: Sequence[Store], condition: str, *kinds: Kind
) -> list[tuple[Store, StoredRun]]:
    return [(store, home) for store in stores for home in store.matching(condition, kinds)]


def _party(store: Store, home: StoredRun, levels: Sequence[StoredRun], origin: str) -> Entry:
    if home.kind == "study":
        selection = variants.of_levels(home, levels)
        config = home.artifact("config.json")
    else:
        selection = variants.of_runs(store, [home.id])
        parent = home.tags.get("parent_run_id")
        config = store.runs([parent])[0].artifact("config.json") if parent else None
    party = Entry(
        label="",
        origin=origin,
        made_in=home.tags.get("origin.store", redact(store.uri)),
        home=home,
        selection=selection,
        config=json.loads(config or b"{}"),
    )
    name = party.study if home.kind in ("study", "import") else home.name
    return replace(party, label=f"{party.owner}/{name}")


def _told_apart(parties: Sequence[Entry]) -> list[Entry]:
    """The parties with labels that are all different: the second of a name is numbered 2."""
    seen: dict[str, int] = {}
    found = []
    for party in parties:
        seen[party.label] = count = seen.get(party.label, 0) + 1
        found.append(replace(party, label=f"{party.label} ({count})") if count > 1 else party)
    return found
