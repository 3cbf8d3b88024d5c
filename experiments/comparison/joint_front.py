"""The joint front of all entries, who holds it, and the paired differences between entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from experiments.comparison.entries import Entry
from experiments.reporting import variants
from experiments.reporting.variants import Selection, SelectionReading
from lrm.analysis.compare import Comparison, Setting, compare
from lrm.analysis.fronts import Front, Spot, front
from lrm.analysis.variant import Variant
from lrm.report.data import common_questions
from lrm.stats.frontier import area, nondominated


@dataclass(frozen=True)
class EntryPair:
    """A variant of one entry against a variant of another, paired by question.

    `level` is the level of compression that both are at.
    """

    first: Entry
    second: Entry
    level: str
    budget: int | None
    comparison: Comparison


@dataclass(frozen=True)
class JointFront:
    """All variants of all entries, on the benchmarks and questions that all of them answered.

    `owners` gives each variant's entry, by the variant's name. `notes` are sentences on what is
    left out. `selection` holds all runs together, as a report takes them.
    """

    entries: Sequence[Entry]
    owners: Mapping[str, Entry]
    variants: Sequence[Variant]
    budgets: Sequence[int | None]
    notes: Sequence[str]
    selection: Selection

    @property
    def benchmarks(self) -> list[str]:
        return list(self.variants[0].grids)

    @cached_property
    def front(self) -> Front:
        """The mean over the benchmarks, each counting the same."""
        settings = [
            Setting(variant, budget) for variant in self.variants for budget in self.budgets
        ]
        return front(settings, self.benchmarks)

    @property
    def on_front(self) -> list[Spot]:
        """The points of the front, the cheapest first."""
        return [self.front.spots[index] for index in self.front.front]

    def owner(self, spot: Spot) -> Entry:
        """The entry that a point belongs to."""
        return self.owners[spot.setting.variant.name]

    def holders(self, spot: Spot) -> list[Entry]:
        """The entries with a point of exactly these values; several share it."""
        equal = [self.owner(other) for other in self.front.spots if _values(other) == _values(spot)]
        return list({entry.label: entry for entry in equal}.values())

    def held(self, entry: Entry) -> int:
        """How many points of the front the entry holds; equal ones count for each entry."""
        return sum(any(holder is entry for holder in self.holders(spot)) for spot in self.on_front)

    @property
    def stretches(self) -> list[tuple[str, float, float]]:
        """The front from its cheapest point on: who holds each stretch of it, and the lengths at
        the two ends of the stretch."""
        stretches: list[tuple[str, float, float]] = []
        for spot in self.on_front:
            labels = ", ".join(entry.label for entry in self.holders(spot))
            length = spot.tokens.value
            if stretches and stretches[-1][0] == labels:
                stretches[-1] = (labels, stretches[-1][1], length)
            else:
                stretches.append((labels, length, length))
        return stretches

    def own_front(self, entry: Entry) -> list[Spot]:
        """The points of the entry that no other of its own points beats, the cheapest first."""
        own = [spot for spot in self.front.spots if self.owner(spot) is entry]
        return [own[index] for index in nondominated(*_gains_and_costs(own))]

    def hypervolume(self, entry: Entry) -> float:
        """The area that the entry's own front covers, up to the longest point of all entries."""
        return area(*_gains_and_costs(self.own_front(entry)), self.front.worst_tokens)

    @cached_property
    def pairs(self) -> list[EntryPair]:
        """Every two entries at each level that both have, at each budget; where they share no
        level, the most accurate of each at the largest budget.

        Where an entry has a level on several calibrations, each is paired with the same one of the
        other entry.
        """
        pairs = []
        for first, second in combinations(self.entries, 2):
            shared = list(self._shared(first, second))
            for level, mine, theirs in shared:
                for budget in self.budgets:
                    pairs.append(self._pair(first, second, level, budget, mine, theirs))
            if not shared:
                best = self._best(first), self._best(second)
                pairs.append(self._pair(first, second, "best of each", self.budgets[-1], *best))
        return pairs

    def _own(self, entry: Entry) -> list[Variant]:
        return [variant for variant in self.variants if self.owners[variant.name] is entry]

    def _shared(self, first: Entry, second: Entry) -> Iterator[tuple[str, Variant, Variant]]:
        """Levels that both have, with the variant of each."""
        mine, theirs = self._levels(first), self._levels(second)
        for level in (level for level in mine if level in theirs):
            left, right = mine[level], theirs[level]
            if len(left) == len(right) == 1:
                yield level, next(iter(left.values())), next(iter(right.values()))
                continue
            for source in (source for source in left if source in right):
                yield f"{level} ({source})", left[source], right[source]

    def _levels(self, entry: Entry) -> dict[str, dict[str, Variant]]:
        """The entry's variants by their level of compression, then by what they are calibrated
        on."""
        levels: dict[str, dict[str, Variant]] = {}
        for record, variant in zip(entry.selection.records, self._own(entry), strict=True):
            levels.setdefault(_level(record.params), {})[variants.calibration(record)] = variant
        return levels

    def _best(self, entry: Entry) -> Variant:
        """The entry's most accurate variant at the largest budget."""
        budget = self.budgets[-1]
        return max(
            self._own(entry),
            key=lambda variant: Setting(variant, budget).accuracy(self.benchmarks).value,
        )

    def _pair(
        self, first: Entry, second: Entry, level: str, budget: int | None, *both: Variant
    ) -> EntryPair:
        mine, theirs = (Setting(variant, budget) for variant in both)
        return EntryPair(first, second, level, budget, compare(mine, theirs, self.benchmarks))


def _values(spot: Spot) -> tuple[float, float]:
    return spot.accuracy.value, spot.tokens.value


def _gains_and_costs(spots: Sequence[Spot]) -> tuple[list[float], list[float]]:
    return [spot.accuracy.value for spot in spots], [spot.tokens.value for spot in spots]


def _level(params: Mapping[str, str]) -> str:
    """The name under which levels of two studies count as the same: dense, a recipe with what it
    protects, or a sparsity."""
    if params.get("method") == "none":
        return "dense"
    if recipe := params.get("recipe"):
        return " ".join(filter(None, (recipe, params.get("protect"))))
    sparsity = params.get("sparsity")
    return f"{100 * float(sparsity):g}% sparse" if sparsity else params.get("method", "")


def joint_front(entries: Sequence[Entry], budgets: Sequence[int]) -> JointFront:
    """Reads the generations of all entries. Raises BadInput where no question is in common."""
    records = [record for entry in entries for record in entry.selection.records]
    selection = Selection(
        title="Comparison of " + ", ".join(entry.label for entry in entries),
        records=records,
        budgets=[budgets] * len(records),
        left_out=[
            f"{entry.label}: {note}" for entry in entries for note in entry.selection.left_out
        ],
    )
    shared, notes = common_questions(read(selection, entries, texts=False).variants)
    owners = [entry for entry in entries for _ in entry.selection.records]
    return JointFront(
        entries=entries,
        owners={variant.name: entry for variant, entry in zip(shared, owners, strict=True)},
        variants=shared,
        budgets=list(budgets) or [None],
        notes=[*selection.left_out, *notes],
        selection=selection,
    )


def read(selection: Selection, entries: Sequence[Entry], texts: bool = True) -> SelectionReading:
    """`variants.read` of all entries' runs; variants and studies are renamed so that their names
    tell which entry they belong to."""
    reading = variants.read(selection, texts)
    named = [(entry, f"{entry.label}: {name}") for entry in entries for name in entry.names]
    both = list(zip(reading.variants, named, strict=True))
    new = {variant.name: name for variant, (_, name) in both}
    return SelectionReading(
        variants=[
            replace(
                variant,
                name=name,
                study=entry.label if entry.run.kind == "study" else variant.study,
            )
            for variant, (entry, name) in both
        ],
        samples=[replace(sample, variant=new[sample.variant]) for sample in reading.samples],
        firsts={
            (new[name], benchmark): first for (name, benchmark), first in reading.firsts.items()
        },
        against={new[name]: row for name, row in reading.against.items()},
    )
