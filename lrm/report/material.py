"""What a report is made of: its variants, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lrm import statistics
from lrm.analysis.grid import Grid, Variant
from lrm.records import Interval


@dataclass(frozen=True)
class Place:
    """One variant at one budget (None: no budget was set) on the accuracy-tokens plane."""

    variant: Variant
    budget: int | None
    accuracy: Interval
    tokens: Interval


@dataclass(frozen=True)
class Material:
    """The variants of a report, the densest first; `volumes` is a study's hypervolume by trial."""

    variants: Sequence[Variant]
    volumes: Mapping[int, float]

    @cached_property
    def benchmarks(self) -> list[str]:
        """Those that every variant was measured on, in the first one's order."""
        return [
            name
            for name in self.variants[0].grids
            if all(name in variant.grids for variant in self.variants)
        ]

    @cached_property
    def budgets(self) -> list[int | None]:
        """Those that every variant was measured at, the smallest first; [None] if there is none."""
        shared = set.intersection(*(set(self.of(variant)) for variant in self.variants))
        return sorted(shared - {None}, key=lambda budget: budget or 0) or [None]

    def of(self, variant: Variant) -> list[int | None]:
        return list(variant.grids[next(iter(variant.grids))])

    @property
    def largest(self) -> int | None:
        return self.budgets[-1]

    @property
    def at_largest(self) -> str:
        return "with no budget set" if self.largest is None else f"at {self.largest:,} thinking tokens"

    @property
    def unit(self) -> str | None:
        """What lengths are counted in; None where variants differ, so that none are compared."""
        units = {variant.unit for variant in self.variants}
        return units.pop() if len(units) == 1 else None

    @property
    def dense(self) -> Variant | None:
        """What the others are compared with: the only variant of the dense model."""
        found = [variant for variant in self.variants if variant.dense]
        return found[0] if len(found) == 1 else None

    @cached_property
    def ladder(self) -> bool:
        """Whether the variants are one model and method at several sparsities, each once."""
        levels = [variant.sparsity for variant in self.variants]
        methods = {variant.method for variant in self.variants if not variant.dense}
        models = {variant.model for variant in self.variants}
        several = len(levels) > 1 and None not in levels and len(set(levels)) == len(levels)
        return several and len(methods) == len(models) == 1

    def label(self, variant: Variant) -> str:
        """A variant's name in a legend: its sparsity where that is all that tells them apart."""
        return f"{variant.sparsity:.0%}" if self.ladder else variant.name

    def place(self, variant: Variant, budget: int | None, names: Sequence[str]) -> Place:
        """The mean over these benchmarks."""
        grids = [variant.grid(name, budget) for name in names]
        return Place(
            variant,
            budget,
            statistics.average([accuracy(grid) for grid in grids]),
            statistics.average([length(grid) for grid in grids]),
        )

    def places(self, names: Sequence[str]) -> list[Place]:
        return [
            self.place(variant, budget, names)
            for variant in self.variants
            for budget in self.budgets
        ]

    def unequal(self) -> list[str]:
        """A sentence for each benchmark whose questions are not the same for all variants."""
        return [
            sentence
            for name in dict.fromkeys(name for one in self.variants for name in one.grids)
            if (sentence := self._unequal(name))
        ]

    def _unequal(self, name: str) -> str:
        asked = {
            variant.name: variant.grids[name][self.of(variant)[0]].questions
            for variant in self.variants
            if name in variant.grids
        }
        lacking = [variant.name for variant in self.variants if variant.name not in asked]
        if lacking:
            return f"{name} was not asked of {_some(lacking)}, so it is left out of comparisons."
        differing = set.union(*map(set, asked.values())) - set.intersection(
            *map(set, asked.values())
        )
        if not differing:
            return ""
        counts = ", ".join(f"{who} {len(ids)}" for who, ids in asked.items())
        return (
            f"{name}: the variants did not answer the same questions ({counts}; not in all: "
            f"{_some(sorted(differing))}). Paired comparisons are on those in common; their "
            "accuracies beside one another are not."
        )


def accuracy(grid: Grid) -> Interval:
    return statistics.accuracy(grid.padded(grid.score))


def length(grid: Grid) -> Interval:
    return statistics.mean(grid.padded(grid.tokens))


def _some(words: Sequence[str], most: int = 6) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")
