"""Variants measured and compared, on one benchmark or on the average of several.

A comparison is paired by question, so both sides must have answered the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log

import numpy as np

from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.scoring.grid import Grid
from lrm.scoring.scores import accuracy, tokens
from lrm.stats import intervals, paired
from lrm.stats.paired import Difference
from lrm.tables import some

PAPER = ("aime", "folio", "temporal")
"""The benchmarks of the paper's Avg. MuSiQue is not among them."""


@dataclass(frozen=True)
class Setting:
    """A variant under a budget (None: no budget set): one point of accuracy and tokens."""

    variant: Variant
    budget: int | None

    @property
    def name(self) -> str:
        if self.budget is None:
            return self.variant.name
        return f"{self.variant.name} at {self.budget}"

    def grid(self, benchmark: str) -> Grid:
        return self.variant.grid(benchmark, self.budget)

    def accuracy(self, benchmarks: Sequence[str]) -> Interval:
        """Mean over the benchmarks, each counting the same, in [0, 1]."""
        return intervals.average([accuracy(self.grid(name)) for name in benchmarks])

    def tokens(self, benchmarks: Sequence[str]) -> Interval:
        """Mean length of a reply over the benchmarks, in the variant's unit."""
        return intervals.average([tokens(self.grid(name)) for name in benchmarks])


@dataclass(frozen=True, slots=True)
class Comparison:
    """One setting against another on the same questions, both by name.

    `accuracy` is that of `first` minus that of `second`, over several benchmarks the mean of the
    differences. `tokens` is the ratio of `first` to `second`, over several benchmarks the geometric
    mean of the ratios; for a model and its own base it is the length inflation.
    """

    first: str
    second: str
    accuracy: Difference
    tokens: Interval

    @property
    def separable(self) -> bool:
        """Whether the two differ significantly, in accuracy or in tokens."""
        return self.accuracy.significant or not self.tokens.low <= 1 <= self.tokens.high

    @property
    def sentence(self) -> str:
        difference, ratio = self.accuracy, self.tokens
        if difference.significant:
            verdict = f"{difference.verdict} accuracy by {abs(difference.value):.1%}"
        else:
            verdict = f"{difference.verdict} in accuracy ({difference.value:+.1%})"
        more = "fewer" if ratio.high < 1 else "more" if ratio.low > 1 else None
        length = f"significantly {more} tokens" if more else "no significant difference in tokens"
        return (
            f"{self.first} against {self.second}: {verdict} "
            f"[{difference.low:+.1%}, {difference.high:+.1%}]; "
            f"{length} ({ratio.value:.2f} times [{ratio.low:.2f}, {ratio.high:.2f}]); "
            f"{difference.questions} questions."
        )


def compare(first: Setting, second: Setting, benchmarks: Sequence[str]) -> Comparison:
    """One setting against another. Raises BadInput where the two did not answer the same questions,
    or count lengths in different units."""
    if first.variant.unit != second.variant.unit:
        raise BadInput(
            f"{first.name} counts in {first.variant.unit}, {second.name} in {second.variant.unit}: "
            "count both in the same unit (score_traces --tokenizer)."
        )
    differences, ratios = [], []
    for name in benchmarks:
        grids = aligned(first.grid(name), second.grid(name), (first.name, second.name))
        differences.append(paired.paired_difference(*(grid.padded(grid.score) for grid in grids)))
        ratios.append(paired.paired_ratio(*(grid.padded(grid.tokens) for grid in grids)))
    return Comparison(first.name, second.name, pooled(differences), geometric(ratios))


def aligned(first: Grid, second: Grid, names: tuple[str, str]) -> tuple[Grid, Grid]:
    """Both grids with the questions in the order of the first.

    `names` are what to call the two in an error. Raises BadInput naming the side that lacks
    questions, and some of them.
    """
    if first.questions == second.questions:
        return first, second
    sides = (first, names[0]), (second, names[1])
    for (lacking, name), (complete, second_name) in (sides, sides[::-1]):
        missing = sorted(set(complete.questions) - set(lacking.questions))
        if missing:
            raise BadInput(
                f"{name} did not answer {some(missing)}, which {second_name} did: compare models "
                "that were asked the same questions."
            )
    index = {question: i for i, question in enumerate(second.questions)}
    return first, second.take(np.array([index[question] for question in first.questions]))


def pooled(differences: Sequence[Difference]) -> Difference:
    """Mean of the differences on several benchmarks, each counting the same."""
    mean = intervals.average([item.interval for item in differences])
    return Difference(mean.value, mean.low, mean.high, sum(item.questions for item in differences))


def geometric(ratios: Sequence[Interval]) -> Interval:
    """Geometric mean of ratios on several benchmarks; MOVER combines the logarithms' intervals."""
    if any(ratio.value == 0 for ratio in ratios):
        return Interval(0.0, 0.0, inf)
    value = exp(sum(log(ratio.value) for ratio in ratios) / len(ratios))
    if any(ratio.low <= 0 or not isfinite(ratio.high) for ratio in ratios):
        return Interval(value, 0.0, inf)
    mean = intervals.average([Interval(log(r.value), log(r.low), log(r.high)) for r in ratios])
    return Interval(value, min(exp(mean.low), value), max(exp(mean.high), value))


def averages(variants: Sequence[Variant]) -> Mapping[str, tuple[str, ...]]:
    """The averages that can be formed, by name, with their benchmarks.

    "average" is over all benchmarks that every variant has, if there is more than one; "paper
    average" over the paper's three, if every variant has them.
    """
    shared = [
        name
        for name in (variants[0].grids if variants else ())
        if all(name in variant.grids for variant in variants)
    ]
    groups = {"average": tuple(shared)} if len(shared) > 1 else {}
    if set(PAPER) <= set(shared):
        groups["paper average"] = PAPER
    return groups
