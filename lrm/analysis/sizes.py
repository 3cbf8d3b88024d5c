"""Compressed and smaller models at equal bytes: where each line of them collapses, and pairs."""

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
    """One model by one method at one size or several.

    `points` are what is smaller than the original, the largest first: compressed models, and a
    dense one where another model is the original. `dense` is what they are measured against, None
    where it is not clear.
    """

    name: str
    dense: Variant | None
    points: tuple[Variant, ...]

    @property
    def below(self) -> list[Variant]:
        """The points with fewer bytes than the dense model."""
        return [one for one in self.points if self.dense and _size(one) < _size(self.dense)]

    def collapse(self, benchmark: str, budget: int | None) -> Collapse:
        """The first size, from the dense model's down, with less than half of its accuracy.

        Of several points of one size the best counts. Raises BadInput where nothing can fall.
        """
        if self.dense is None or not self.below:
            raise BadInput(f"{self.name}: it takes the dense model and a smaller one made of it.")
        worst_first = sorted(self.below, key=lambda one: _right(one, benchmark, budget))
        best = {_size(one): one for one in worst_first}
        return collapse([self.dense, *best.values()], benchmark, budget, axis="size")

    def smallest(self, benchmark: str, budget: int | None) -> Variant | None:
        """The smallest model with half of the dense accuracy or more, where larger ones may have
        less; None if all have less."""
        if self.dense is None:
            return None
        half = HALF * _right(self.dense, benchmark, budget)
        enough = [one for one in self.below if _right(one, benchmark, budget) >= half]
        return min(enough, key=_size, default=None)


@dataclass(frozen=True)
class SizePair:
    """A model, and of another line the one that is nearest in bytes from above; on each benchmark
    the accuracy of the `smaller` minus that of the `larger`, on the same questions. `lines` names
    the line of either."""

    lines: tuple[str, str]
    smaller: Variant
    larger: Variant
    differences: Mapping[str, Difference]

    @property
    def ratio(self) -> float:
        """Bytes of the larger over those of the smaller."""
        return _size(self.larger) / _size(self.smaller)


def lines(variants: Sequence[Variant]) -> list[SizeLine]:
    """The lines that variants of known size form, a study's levels being one.

    The original is the dense model of the most bytes.
    """
    sized = [variant for variant in variants if variant.size is not None]
    dense = [variant for variant in sized if variant.dense]
    original = max(dense, key=_size).model if dense else None
    groups: dict[tuple[str, ...], list[Variant]] = {}
    for one in sized:
        own = (one.study,) if one.study else (one.method, one.engine)
        groups.setdefault((one.model, *own), []).append(one)
    found = []
    for group in groups.values():
        points = [one for one in group if not (one.dense and one.model == original)]
        if points:
            points.sort(key=_size, reverse=True)
            hardest = points[-1]
            base = hardest if hardest.dense else base_of(hardest, sized)
            found.append(SizeLine(hardest.origin, base, tuple(points)))
    names = [line.name for line in found]
    return [
        SizeLine(f"{one.name} ({one.points[0].study})", one.dense, one.points)
        if names.count(one.name) > 1
        else one
        for one in found
    ]


def pairs(
    found: Sequence[SizeLine], benchmarks: Sequence[str], budget: int | None
) -> list[SizePair]:
    """Every point of a line with the nearest from above of each other line, where there is one.

    Raises BadInput where the two did not answer the same questions.
    """
    matched: dict[frozenset[str], SizePair] = {}
    for line in found:
        for one in line.points:
            for other in found:
                above = [w for w in other.points if _size(w) >= _size(one)]
                if other is line or not above:
                    continue
                nearest = min(above, key=_size)
                both = frozenset((one.run_id, nearest.run_id))
                if both not in matched:
                    found_in = (line.name, other.name)
                    differences = _differences(one, nearest, benchmarks, budget)
                    matched[both] = SizePair(found_in, one, nearest, differences)
    return list(matched.values())


def _differences(
    one: Variant, other: Variant, benchmarks: Sequence[str], budget: int | None
) -> dict[str, Difference]:
    differences = {}
    for name in benchmarks:
        grids = one.grid(name, budget), other.grid(name, budget)
        scores = [grid.padded(grid.score) for grid in aligned(*grids, (one.name, other.name))]
        differences[name] = paired.paired_difference(*scores)
    return differences


def _right(variant: Variant, benchmark: str, budget: int | None) -> float:
    grid = variant.grid(benchmark, budget)
    return float(grid.per_question(grid.score).mean())


def _size(variant: Variant) -> float:
    assert variant.size is not None
    return variant.size
