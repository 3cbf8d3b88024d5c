"""What a report is made of: its variants on what all of them were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lrm.analysis.collapse import CollapseAxis
from lrm.analysis.compare import Setting
from lrm.analysis.first_correct import FirstCorrect
from lrm.analysis.fronts import Spot
from lrm.analysis.variant import Variant, base_of
from lrm.errors import BadInput
from lrm.records import Unit
from lrm.report.theme import OKABE_ITO
from lrm.scoring.grid import Grid
from lrm.scoring.published import Published
from lrm.tables import some

SHOWN = 6
"""Questions or variants named of those that are left out."""


@dataclass(frozen=True)
class Material:
    """The variants of a report, the densest first, all with the same benchmarks and questions.

    `firsts` is when the right answer first stands, by variant and benchmark, `against` the paper's
    figures by variant, `volumes` a study's hypervolume by trial.
    """

    variants: Sequence[Variant]
    firsts: Mapping[tuple[str, str], FirstCorrect]
    against: Mapping[str, Published]
    volumes: Mapping[int, float]

    @cached_property
    def benchmarks(self) -> list[str]:
        return list(self.variants[0].grids)

    @cached_property
    def budgets(self) -> list[int | None]:
        """Those that every variant was measured at, the smallest first; [None] if there is none."""
        of = [set(variant.grids[self.benchmarks[0]]) for variant in self.variants]
        return sorted(set.intersection(*of) - {None}, key=lambda budget: budget or 0) or [None]

    @property
    def largest(self) -> int | None:
        return self.budgets[-1]

    @property
    def at_largest(self) -> str:
        if self.largest is None:
            return "with no budget set"
        return f"at {self.largest:,} thinking tokens"

    @property
    def unit(self) -> Unit:
        """What lengths are counted in. Raises BadInput where variants differ."""
        units = sorted({variant.unit for variant in self.variants})
        if len(units) > 1:
            raise BadInput(f"lengths are in {' and in '.join(units)}: report such runs apart.")
        return self.variants[0].unit

    def base(self, variant: Variant) -> Variant | None:
        """The dense model that a compressed one is compared with, if it is clear which."""
        return base_of(variant, self.variants)

    @property
    def based(self) -> list[tuple[Variant, Variant]]:
        """The compressed models, each with the dense one that it is compared with. Raises BadInput
        where that is not clear."""
        if all(variant.dense for variant in self.variants):
            raise BadInput("only dense models were measured.")
        pairs = [(variant, self.base(variant)) for variant in self.compressed]
        found = [(variant, base) for variant, base in pairs if base is not None]
        if len(found) < len(pairs):
            raise BadInput("it takes one dense model among the runs, which the others come from.")
        return found

    @property
    def compressed(self) -> list[Variant]:
        return [variant for variant in self.variants if not variant.dense]

    @cached_property
    def ladder(self) -> CollapseAxis | None:
        """What the variants are a ladder of, if they are one model and method at several levels,
        each once: sparsities, or bits per weight."""
        methods = {variant.method for variant in self.compressed}
        models = {variant.model for variant in self.variants}
        if len(self.variants) < 2 or not len(methods) == len(models) == 1:
            return None
        axes: tuple[CollapseAxis, ...] = ("sparsity", "bits")
        for axis in axes:
            levels = [getattr(variant, axis) for variant in self.variants]
            if None not in levels and len(set(levels)) == len(levels):
                return axis
        return None

    @property
    def need_ladder(self) -> CollapseAxis:
        """The same. Raises BadInput where there is none."""
        if self.ladder is None:
            raise BadInput("it takes one model and one method at two levels or more.")
        return self.ladder

    def step(self, variant: Variant) -> float:
        """Where a variant stands on the ladder."""
        return float(getattr(variant, self.need_ladder))

    @property
    def crowded(self) -> bool:
        """Whether there are more variants than colours to tell them apart."""
        return self.ladder is None and len(self.variants) > len(OKABE_ITO)

    def label(self, variant: Variant) -> str:
        """A variant's name in a legend: its sparsity where that is all that tells them apart, and
        where there are too many its model and method alone, with its study if several have them."""
        if self.ladder == "sparsity":
            return f"{variant.sparsity:.0%}"
        if self.crowded:
            alike = {one.study for one in self.variants if one.origin == variant.origin}
            return variant.origin if len(alike) == 1 else f"{variant.origin} ({variant.study})"
        return variant.name

    def settings(self) -> list[Setting]:
        """Every variant at every budget."""
        return [Setting(variant, budget) for variant in self.variants for budget in self.budgets]

    def spots(self, benchmarks: Sequence[str]) -> list[Spot]:
        """These, measured."""
        return [
            Spot(one, one.accuracy(benchmarks), one.tokens(benchmarks)) for one in self.settings()
        ]


def in_common(variants: Sequence[Variant]) -> tuple[list[Variant], list[str]]:
    """The variants on the benchmarks and questions that all have, and sentences on what is left
    out. Raises BadInput where nothing is in common."""
    told, shared = [], {}
    for name in dict.fromkeys(name for variant in variants for name in variant.grids):
        lacking = [variant.name for variant in variants if name not in variant.grids]
        if lacking:
            told.append(f"{name} is left out: it was not asked of {some(lacking, SHOWN)}.")
            continue
        asked = [variant.grids[name][None].questions for variant in variants]
        common = set.intersection(*map(set, asked))
        left = sorted(set.union(*map(set, asked)) - common)
        if not common:
            told.append(f"{name} is left out: no question was asked of all variants.")
            continue
        if left:
            told.append(
                f"{name}: the variants did not answer the same questions. Shown are the "
                f"{len(common)} that all answered; left out are {some(left, SHOWN)}."
            )
        shared[name] = [question for question in asked[0] if question in common]
    if not shared:
        raise BadInput(f"These runs have no questions in common: {' '.join(told)}")
    return [
        replace(
            variant,
            grids={
                name: {budget: _take(grid, ids) for budget, grid in variant.grids[name].items()}
                for name, ids in shared.items()
            },
        )
        for variant in variants
    ], told


def _take(grid: Grid, questions: Sequence[str]) -> Grid:
    if tuple(questions) == grid.questions:
        return grid
    place = {question: i for i, question in enumerate(grid.questions)}
    return grid.take(np.array([place[question] for question in questions]))
