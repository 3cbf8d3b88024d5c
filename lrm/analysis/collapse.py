"""Where accuracy collapses as a model is compressed further, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lrm.analysis.compare import aligned
from lrm.analysis.unsolved import unsolved
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.stats.collapse import HALF, collapse_level

CollapseAxis = Literal["sparsity", "bits", "size"]
"""The attribute of a `Variant` that counts its level: compression is harder at a higher sparsity,
and at fewer bits per weight or bytes (`size`)."""

FORMS = {"sparsity": "{:.0%}", "bits": "{:.3g}", "size": "{:,.0f}"}
UNITS = {"sparsity": "", "bits": " bits", "size": " bytes"}


@dataclass(frozen=True, slots=True)
class Collapse:
    """The first level at which accuracy falls below a `threshold` share of the dense one's.

    `at` is that level, with its 95% interval [`low`, `high`], from the mildest level to the
    hardest; None is beyond the `levels` measured, which run from the dense one to the hardest. If
    `low` is None, the data do not even hint at a collapse. `unsolved` says that the dense model is
    never correct (see `lrm.analysis.unsolved`), "" where it is.
    """

    benchmark: str
    budget: int | None
    axis: CollapseAxis
    threshold: float
    levels: tuple[float, ...]
    at: float | None
    low: float | None
    high: float | None
    unsolved: str = ""

    @property
    def interval_text(self) -> str:
        """The point with its interval, as in a table."""
        if self.at is None:
            return "beyond" if self.low is None else f"beyond, perhaps {self._text(self.low)}"
        ends = (
            "beyond" if end is None else FORMS[self.axis].format(end)
            for end in (self.low, self.high)
        )
        return f"{self._text(self.at)} [{' to '.join(ends)}]"

    @property
    def sentence(self) -> str:
        if self.unsolved:
            return f"{self.benchmark}: {self.unsolved}. So nothing can collapse."
        if len(self.levels) < 2:
            return f"{self.benchmark}: only the dense model was measured."
        if self.at is None:
            perhaps = "" if self.low is None else f", but perhaps at {self._text(self.low)}"
            return (
                f"{self.benchmark}: does not fall below {self.threshold:.0%} of the dense "
                f"accuracy in the levels measured{perhaps}."
            )
        return (
            f"{self.benchmark}: falls below {self.threshold:.0%} of the dense accuracy at "
            f"{self.interval_text}."
        )

    def _text(self, level: float) -> str:
        return FORMS[self.axis].format(level) + UNITS[self.axis]


def collapse(
    levels: Sequence[Variant],
    benchmark: str,
    budget: int | None,
    *,
    axis: CollapseAxis = "sparsity",
    threshold: float = HALF,
) -> Collapse:
    """Collapse of one model and method over its levels on a benchmark at a budget.

    `levels` are variants in any order, the dense one among them: the lowest sparsity, or the most
    bits or bytes. Raises BadInput where a level is not known, appears twice, or was asked other
    questions.
    """
    if not 0 < threshold < 1:
        raise BadInput(f"threshold must lie between 0 and 1, got {threshold}.")
    values = [getattr(variant, axis) for variant in levels]
    for variant, value in zip(levels, values, strict=True):
        if value is None:
            raise BadInput(f"{variant.name} has no {axis}: leave it out of this collapse point.")
        if values.count(value) > 1:
            raise BadInput(
                f"{axis} {value:g} appears twice: give the levels of one model and method."
            )
    ordered = sorted(levels, key=lambda variant: getattr(variant, axis), reverse=axis != "sparsity")
    first = ordered[0].grid(benchmark, budget)
    whole = ordered[0].grids[benchmark].get(None, first)
    scores = {}
    for variant in ordered:
        names = (ordered[0].name, variant.name)
        grid = aligned(first, variant.grid(benchmark, budget), names)[1]
        scores[float(getattr(variant, axis))] = grid.per_question(grid.score)
    reason = unsolved(first, whole)
    return collapse_of(scores, benchmark, budget, axis=axis, threshold=threshold, unsolved=reason)


def collapse_of(
    scores: Mapping[float, Sequence[float] | NDArray[np.floating]],
    benchmark: str,
    budget: int | None,
    *,
    axis: CollapseAxis = "sparsity",
    threshold: float = HALF,
    unsolved: str = "",
) -> Collapse:
    """The same from the scores at each level: one in [0, 1] per question, in the same order."""
    falling = axis != "sparsity"
    levels = tuple(sorted(scores, reverse=falling))
    at, low, high = collapse_level(scores, threshold=threshold, falling=falling)
    return Collapse(benchmark, budget, axis, threshold, levels, at, low, high, unsolved)
