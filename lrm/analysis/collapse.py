"""Where accuracy collapses as a model is compressed further, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lrm.analysis.compare import aligned
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.stats.collapse import HALF, collapse_level

CollapseAxis = Literal["sparsity", "bits", "size"]
"""Of a `Variant`: what is harder the higher it is, or the lower (bits per weight, bytes)."""

FORMS = {"sparsity": "{:.0%}", "bits": "{:.3g}", "size": "{:,.0f}"}
UNITS = {"sparsity": "", "bits": " bits", "size": " bytes"}


@dataclass(frozen=True, slots=True)
class Collapse:
    """The first level at which accuracy falls below a `threshold` share of the dense one's.

    `at` with its 95% interval [`low`, `high`], from the mildest level to the hardest; None: beyond
    the `levels` measured, which run from the dense one to the hardest. `low` None: the data do not
    even hint at a collapse. `dense` is the dense accuracy.
    """

    benchmark: str
    budget: int | None
    axis: CollapseAxis
    threshold: float
    levels: tuple[float, ...]
    dense: float
    at: float | None
    low: float | None
    high: float | None

    @property
    def place(self) -> str:
        """The point with its interval, as in a table."""
        if self.at is None:
            return "beyond" if self.low is None else f"beyond, perhaps {self._told(self.low)}"
        ends = (
            "beyond" if end is None else FORMS[self.axis].format(end)
            for end in (self.low, self.high)
        )
        return f"{self._told(self.at)} [{' to '.join(ends)}]"

    @property
    def sentence(self) -> str:
        if self.dense == 0:
            return f"{self.benchmark}: the dense model is never right, so nothing can collapse."
        if len(self.levels) < 2:
            return f"{self.benchmark}: only the dense model was measured."
        if self.at is None:
            perhaps = "" if self.low is None else f", but perhaps at {self._told(self.low)}"
            return (
                f"{self.benchmark}: does not fall below {self.threshold:.0%} of the dense "
                f"accuracy in the levels measured{perhaps}."
            )
        return (
            f"{self.benchmark}: falls below {self.threshold:.0%} of the dense accuracy at "
            f"{self.place}."
        )

    def _told(self, level: float) -> str:
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
    bits or bytes. Raises BadInput where a level is not known, stands twice, or was asked other
    questions.
    """
    if not 0 < threshold < 1:
        raise BadInput(f"threshold must lie between 0 and 1, got {threshold}.")
    places = [getattr(variant, axis) for variant in levels]
    for variant, place in zip(levels, places, strict=True):
        if place is None:
            raise BadInput(f"{variant.name} has no {axis}: leave it out of this collapse point.")
        if places.count(place) > 1:
            raise BadInput(
                f"{axis} {place:g} stands twice: give the levels of one model and method."
            )
    falling = axis != "sparsity"
    ordered = sorted(levels, key=lambda variant: getattr(variant, axis), reverse=falling)
    first = ordered[0].grid(benchmark, budget)
    scores = {}
    for variant in ordered:
        names = (ordered[0].name, variant.name)
        grid = aligned(first, variant.grid(benchmark, budget), names)[1]
        scores[float(getattr(variant, axis))] = grid.per_question(grid.score)
    at, low, high = collapse_level(scores, threshold=threshold, falling=falling)
    dense = float(next(iter(scores.values())).mean())
    return Collapse(benchmark, budget, axis, threshold, tuple(scores), dense, at, low, high)
