"""Does compression cost knowledge more than reasoning? Relative losses, side by side.

Three contrasts, each made where its benchmarks were measured: the same questions closed book and
open book; questions of more hops against those of the fewest; benchmarks that ask for knowledge
against those whose answers can be worked out (`Benchmark.knowledge`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrm import registry
from lrm.analysis.compare import aligned
from lrm.analysis.variant import Variant
from lrm.records.point import Interval
from lrm.scoring.grid import Grid
from lrm.stats import intervals, paired

_HOPS = re.compile(r"(\d+)-hop")


@dataclass(frozen=True, slots=True)
class Loss:
    """The relative loss on some questions: 1 - accuracy / dense accuracy.

    `lost` is negative where the variant is better; None where the dense model is correct too rarely
    to estimate it.
    """

    name: str
    questions: int
    dense: Interval
    accuracy: Interval
    lost: Interval | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """The losses of one variant on two kinds of questions, and `gap`: knowledge minus reasoning.

    `kind` is "book", "hops" or "benchmarks". For hops, `knowledge` has the questions of more hops,
    since each hop is one more fact to remember. The gap's interval takes the two sides as
    independent. `parameters` is bytes x 8 / bits, where both are known.
    """

    kind: str
    variant: str
    budget: int | None
    knowledge: Loss
    reasoning: Loss
    gap: Interval | None
    sparsity: float | None
    bits: float | None
    bytes: float | None
    parameters: float | None

    @property
    def sentence(self) -> str:
        sides = f"{self.knowledge.name} and {self.reasoning.name}"
        if self.gap is None:
            return (
                f"{self.variant}: the dense model is correct too rarely on {sides} for "
                "their relative losses to be compared."
            )
        gap = f"{self.gap.value:+.0%} [{self.gap.low:+.0%}, {self.gap.high:+.0%}]"
        if self.gap.low <= 0 <= self.gap.high:
            return (
                f"{self.variant}: no significant difference between the losses on {sides} ({gap})."
            )
        more, less = self.knowledge.name, self.reasoning.name
        if self.gap.value < 0:
            more, less = less, more
        return f"{self.variant}: significantly more is lost on {more} than on {less} ({gap})."


Part = Sequence[tuple[Grid, Grid]]
"""The questions of one side of a contrast: the variant's grid and the dense model's, aligned, one
pair a benchmark."""


def contrasts(variant: Variant, dense: Variant, budget: int | None) -> list[Contrast]:
    """All contrasts that the benchmarks of both allow. Raises BadInput where the two were asked
    different questions of a benchmark."""
    pairs = {
        name: aligned(grids[budget], dense.grids[name][budget], (variant.name, dense.name))
        for name, grids in variant.grids.items()
        if budget in grids and budget in dense.grids.get(name, {})
    }
    made = []
    for kind, names, parts in _parts(pairs):
        sides = [loss(name, part) for name, part in zip(names, parts, strict=True)]
        lost = [side.lost for side in sides if side.lost is not None]
        gap = paired.difference(*lost) if len(lost) == 2 else None
        made.append(
            Contrast(
                kind=kind,
                variant=variant.name,
                budget=budget,
                knowledge=sides[0],
                reasoning=sides[1],
                gap=gap,
                sparsity=variant.sparsity,
                bits=variant.bits,
                bytes=variant.bytes,
                parameters=_parameters(variant),
            )
        )
    return made


def _parameters(variant: Variant) -> float | None:
    """How many weights the model has, from their bytes and bits per weight."""
    if variant.bytes is None or not variant.bits:
        return None
    return variant.bytes * 8 / variant.bits


def loss(name: str, part: Part) -> Loss:
    """The relative loss over benchmarks, each counting the same."""
    accuracies = [[intervals.accuracy(grid.padded(grid.score)) for grid in pair] for pair in part]
    compressed, dense = (intervals.average(list(side)) for side in zip(*accuracies, strict=True))
    share = paired.retained(compressed, dense, _correlation(part))
    lost = None if share is None else Interval(1 - share.value, 1 - share.high, 1 - share.low)
    return Loss(name, sum(len(grid.questions) for grid, _ in part), dense, compressed, lost)


def _correlation(part: Part) -> float:
    """Correlation of the two averages over benchmarks, from their variances over questions.

    Benchmarks are independent, so variances and covariances of their means add up.
    """
    covariance, variances = 0.0, np.zeros(2)
    for grid, base in part:
        means = np.array([grid.per_question(grid.score), base.per_question(base.score)])
        covariances = np.cov(means, ddof=0) / means.shape[1]
        covariance += float(covariances[0, 1])
        variances += np.diag(covariances)
    scale = float(np.sqrt(variances.prod()))
    return max(-1.0, min(1.0, covariance / scale)) if scale else 0.0


def _parts(
    pairs: dict[str, tuple[Grid, Grid]],
) -> Iterator[tuple[str, tuple[str, str], tuple[Part, Part]]]:
    """Kind, the two names and the questions of the two sides of each contrast, knowledge first."""
    for open_book in (name for name in registry.BENCHMARKS if name in pairs):
        closed = registry.benchmark(open_book).open_book_of
        if closed in pairs:
            yield "book", (closed, open_book), ([pairs[closed]], [pairs[open_book]])
    for name, pair in pairs.items():
        hops = np.array([_hops(group) for group in pair[0].groups])
        counts = np.unique(hops[hops > 0])
        if len(counts) > 1:
            many, few = (
                [tuple(grid.take(np.flatnonzero(mask)) for grid in pair)]
                for mask in (hops > counts[0], hops == counts[0])
            )
            names = f"{name}, more hops", f"{name}, {counts[0]}-hop"
            yield "hops", names, (many, few)  # type: ignore[misc]
    # Of a file of questions nobody says which of the two they ask for.
    known = {name: registry.benchmark(name) for name in pairs if registry.is_installed(name)}
    knowledge = [name for name, benchmark in known.items() if benchmark.knowledge]
    reasoning = [name for name in known if name not in knowledge]
    if knowledge and reasoning:
        parts = [pairs[name] for name in knowledge], [pairs[name] for name in reasoning]
        yield "benchmarks", ("knowledge benchmarks", "reasoning benchmarks"), parts


def _hops(group: str) -> int:
    """The number of hops that a group such as "2-hop" names; 0 for any other."""
    match = _HOPS.fullmatch(group)
    return int(match[1]) if match else 0
