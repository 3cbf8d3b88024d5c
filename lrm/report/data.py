"""The data of a report: its variants on the questions that all of them were asked."""

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
from lrm.records.point import Unit
from lrm.report.theme import OKABE_ITO
from lrm.scoring.grid import Grid
from lrm.scoring.published import Published
from lrm.tables import some

SHOWN = 6
"""The most questions or variants to name of those that are left out."""


@dataclass(frozen=True)
class ReportData:
    """The variants of a report, the densest first, all with the same benchmarks and questions.

    `first_correct` is when the correct answer first appears, by variant and benchmark; `published`
    the paper's figures by variant; `hypervolumes` a study's hypervolume by trial.
    """

    variants: Sequence[Variant]
    first_correct: Mapping[tuple[str, str], FirstCorrect]
    published: Mapping[str, Published]
    hypervolumes: Mapping[int, float]

    @cached_property
    def benchmarks(self) -> list[str]:
        return list(self.variants[0].grids)

    @cached_property
    def budgets(self) -> list[int | None]:
        """Those that every variant was measured at, the smallest first; [None] if there is none."""
        measured = [set(variant.grids[self.benchmarks[0]]) for variant in self.variants]
        return sorted(set.intersection(*measured) - {None}, key=lambda budget: budget or 0) or [
            None
        ]

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
            raise BadInput(f"lengths are in {' and in '.join(units)}: report such runs separately.")
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
        bases = [(variant, self.base(variant)) for variant in self.compressed]
        pairs = [(variant, base) for variant, base in bases if base is not None]
        if len(pairs) < len(bases):
            raise BadInput(
                "this needs one dense model among the runs, from which the others were made."
            )
        return pairs

    @property
    def compressed(self) -> list[Variant]:
        return [variant for variant in self.variants if not variant.dense]

    @cached_property
    def level_axis(self) -> CollapseAxis | None:
        """What the levels of compression are counted in, sparsity or bits per weight, if the
        variants are one model and one method at several levels, each once; else None."""
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
    def required_level_axis(self) -> CollapseAxis:
        """The same. Raises BadInput where there is none."""
        if self.level_axis is None:
            raise BadInput("this needs one model and one method at two levels or more.")
        return self.level_axis

    def level(self, variant: Variant) -> float:
        """A variant's level of compression: its sparsity in [0, 1], or its bits per weight."""
        return float(getattr(variant, self.required_level_axis))

    @property
    def crowded(self) -> bool:
        """Whether there are more variants than colours to tell them apart."""
        return self.level_axis is None and len(self.variants) > len(OKABE_ITO)

    def label(self, variant: Variant) -> str:
        """A variant's name in a legend.

        Where sparsity is all that differs, it is the sparsity. Where there are too many variants,
        it is model and method, with the study if several studies have them.
        """
        if self.level_axis == "sparsity":
            return f"{variant.sparsity:.0%}"
        if self.crowded:
            studies = {other.study for other in self.variants if other.origin == variant.origin}
            return variant.origin if len(studies) == 1 else f"{variant.origin} ({variant.study})"
        return variant.name

    def settings(self) -> list[Setting]:
        """Every variant at every budget."""
        return [Setting(variant, budget) for variant in self.variants for budget in self.budgets]

    def spots(self, benchmarks: Sequence[str]) -> list[Spot]:
        """Every setting, measured on the average over these benchmarks."""
        return [
            Spot(setting, setting.accuracy(benchmarks), setting.tokens(benchmarks))
            for setting in self.settings()
        ]


def common_questions(variants: Sequence[Variant]) -> tuple[list[Variant], list[str]]:
    """The variants on the benchmarks and questions that all of them answered, and sentences on
    what is left out. Raises BadInput where nothing is in common."""
    messages, shared = [], {}
    for name in dict.fromkeys(name for variant in variants for name in variant.grids):
        lacking = [variant.name for variant in variants if name not in variant.grids]
        if lacking:
            messages.append(f"{name} is left out: it was not asked of {some(lacking, SHOWN)}.")
            continue
        asked = [variant.grids[name][None].questions for variant in variants]
        common = set.intersection(*map(set, asked))
        rest = sorted(set.union(*map(set, asked)) - common)
        if not common:
            messages.append(f"{name} is left out: no question was asked of all variants.")
            continue
        if rest:
            messages.append(
                f"{name}: the variants did not answer the same questions. Shown are the "
                f"{len(common)} that all answered; left out are {some(rest, SHOWN)}."
            )
        shared[name] = [question for question in asked[0] if question in common]
    if not shared:
        raise BadInput(f"These runs have no questions in common: {' '.join(messages)}")
    return [
        replace(
            variant,
            grids={
                name: {budget: _take(grid, ids) for budget, grid in variant.grids[name].items()}
                for name, ids in shared.items()
            },
        )
        for variant in variants
    ], messages


def _take(grid: Grid, questions: Sequence[str]) -> Grid:
    if tuple(questions) == grid.questions:
        return grid
    index = {question: i for i, question in enumerate(grid.questions)}
    return grid.take(np.array([index[question] for question in questions]))
