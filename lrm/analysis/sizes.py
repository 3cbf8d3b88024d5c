"""Compressed and smaller models at equal bytes: collapse points by size, and pairs of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrm.analysis.collapse import Collapse, collapse
from lrm.analysis.compare import aligned
from lrm.analysis.variant import Variant, base_of
from lrm.errors import BadInput
from lrm.stats import paired
from lrm.stats.collapse import HALF
from lrm.stats.paired import Difference


@dataclass(frozen=True)
class SizeLine:
    """One model by one method at one or more sizes.

    `points` are the models other than the original, the largest first: compressed ones, and a dense
    one of another model than the original's. `dense` is the model that they are measured against,
    None where it is not clear which.
    """

    name: str
    dense: Variant | None
    points: tuple[Variant, ...]

    @property
    def below(self) -> list[Variant]:
        """The points with fewer bytes than the dense model."""
        if self.dense is None:
            return []
        return [point for point in self.points if _size(point) < _size(self.dense)]

    def collapse(self, benchmark: str, budget: int | None) -> Collapse:
        """The first size, from the dense model's down, with less than half of its accuracy.

        Of several points of one size the best counts. Raises BadInput where the dense model is not
        known or no point is smaller.
        """
        if self.dense is None or not self.below:
            raise BadInput(
                f"{self.name}: this needs the dense model and a smaller one made from it."
            )
        # Later entries replace earlier ones, so the best of each size stays.
        worst_first = sorted(self.below, key=lambda point: _accuracy(point, benchmark, budget))
        best = {_size(point): point for point in worst_first}
        return collapse([self.dense, *best.values()], benchmark, budget, axis="size")

    def smallest(self, benchmark: str, budget: int | None) -> Variant | None:
        """The smallest model with half of the dense accuracy or more; None if all have less.

        Larger ones than it may have less than half.
        """
        if self.dense is None:
            return None
        half = HALF * _accuracy(self.dense, benchmark, budget)
        enough = [point for point in self.below if _accuracy(point, benchmark, budget) >= half]
        return min(enough, key=_size, default=None)


@dataclass(frozen=True)
class SizePair:
    """A model, and the one of another line that is nearest in bytes from above.

    `differences` has the accuracy of the `smaller` minus that of the `larger` by benchmark, on the
    same questions. `lines` names the line of the smaller and that of the larger.
    """

    lines: tuple[str, str]
    smaller: Variant
    larger: Variant
    differences: Mapping[str, Difference]

    @property
    def ratio(self) -> float:
        """Bytes of the larger over those of the smaller."""
        return _size(self.larger) / _size(self.smaller)


def lines(variants: Sequence[Variant]) -> list[SizeLine]:
    """The lines that variants of known size form; the levels of a study are one line.

    The original is the dense model with the most bytes.
    """
    sized = [variant for variant in variants if variant.size is not None]
    dense = [variant for variant in sized if variant.dense]
    original = max(dense, key=_size).model if dense else None
    groups: dict[tuple[str, ...], list[Variant]] = {}
    for variant in sized:
        source = (variant.study,) if variant.study else (variant.method, variant.engine)
        groups.setdefault((variant.model, *source), []).append(variant)
    made = []
    for group in groups.values():
        points = [variant for variant in group if not (variant.dense and variant.model == original)]
        if points:
            points.sort(key=_size, reverse=True)
            hardest = points[-1]
            base = hardest if hardest.dense else base_of(hardest, sized)
            made.append(SizeLine(hardest.origin, base, tuple(points)))
    names = [line.name for line in made]
    return [
        SizeLine(f"{line.name} ({line.points[0].study})", line.dense, line.points)
        if names.count(line.name) > 1
        else line
        for line in made
    ]


def pairs(
    size_lines: Sequence[SizeLine], benchmarks: Sequence[str], budget: int | None
) -> list[SizePair]:
    """Every point of a line with the nearest from above in each other line, where there is one.

    Raises BadInput where the two did not answer the same questions.
    """
    matched: dict[frozenset[str], SizePair] = {}
    for line in size_lines:
        for point in line.points:
            for other in size_lines:
                above = [rival for rival in other.points if _size(rival) >= _size(point)]
                if other is line or not above:
                    continue
                nearest = min(above, key=_size)
                # Two models of one size may be each other's nearest: that is one pair.
                both = frozenset((point.run_id, nearest.run_id))
                if both not in matched:
                    differences = _differences(point, nearest, benchmarks, budget)
                    matched[both] = SizePair((line.name, other.name), point, nearest, differences)
    return list(matched.values())


def _differences(
    smaller: Variant, larger: Variant, benchmarks: Sequence[str], budget: int | None
) -> dict[str, Difference]:
    differences = {}
    for name in benchmarks:
        grids = smaller.grid(name, budget), larger.grid(name, budget)
        scores = [grid.padded(grid.score) for grid in aligned(*grids, (smaller.name, larger.name))]
        differences[name] = paired.paired_difference(*scores)
    return differences


def _accuracy(variant: Variant, benchmark: str, budget: int | None) -> float:
    grid = variant.grid(benchmark, budget)
    return float(grid.per_question(grid.score).mean())


def _size(variant: Variant) -> float:
    assert variant.size is not None
    return variant.size
