"""The Pareto front of accuracy against costs, its hypervolume and its knee."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from lrm.records.point import Point


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points that no other dominates in accuracy and tokens, cheapest first.

    Of points with the same tokens and accuracy the sparsest one stays.
    """
    ordered = sorted(
        points, key=lambda p: (p.tokens.value, -p.accuracy.value, -p.sparsity, p.budget.tokens)
    )
    accuracies = [point.accuracy.value for point in ordered]
    return [ordered[i] for i in nondominated(accuracies, [p.tokens.value for p in ordered])]


def hypervolume(points: Sequence[Point], worst_tokens: float) -> float:
    """Hypervolume (`area`) of points, in accuracy x tokens per question."""
    return area(
        [point.accuracy.value for point in points],
        [point.tokens.value for point in points],
        worst_tokens,
    )


def nondominated(accuracy: ArrayLike, *costs: ArrayLike) -> list[int]:
    """Indices of the points that no other dominates, cheapest in the first cost first.

    `accuracy` and each of the `costs` (tokens, bytes) are [points]. A point dominates another if it
    is at least as accurate, costs no more in any cost, and is better in one. Of equal points the
    first stays.
    """
    values = np.column_stack([-np.asarray(accuracy, float), *(np.asarray(c, float) for c in costs)])
    order = np.lexsort((*values.T[:1], *values.T[:0:-1]))
    front: list[int] = []
    for i in order:
        if not front or not (values[front] <= values[i]).all(axis=1).any():
            front.append(int(i))
    return front


def area(accuracy: ArrayLike, tokens: ArrayLike, worst_tokens: float) -> float:
    """Hypervolume in two dimensions (Zitzler and Thiele 1999): the area that the points dominate.

    It reaches up to the reference point (accuracy 0, `worst_tokens`) and is in accuracy x tokens.
    Points beyond `worst_tokens` add nothing.
    """
    gains, costs = np.asarray(accuracy, float), np.asarray(tokens, float)
    front = [i for i in nondominated(gains, costs) if costs[i] < worst_tokens]
    ends = [*costs[front[1:]], worst_tokens]
    return float(sum(gains[i] * (end - costs[i]) for i, end in zip(front, ends, strict=False)))


def volume(
    accuracy: ArrayLike,
    tokens: ArrayLike,
    size: ArrayLike,
    worst_tokens: float,
    worst_size: float,
) -> float:
    """Hypervolume in three dimensions, with the size of the weights as the third.

    It reaches up to the reference point (accuracy 0, `worst_tokens`, `worst_size`) and is in
    accuracy x tokens x size. It is summed over slabs between successive sizes: in each slab the
    models of that size or smaller count.
    """
    gains, costs, sizes = (np.asarray(v, float) for v in (accuracy, tokens, size))
    steps = [*np.unique(sizes[sizes < worst_size]), worst_size]
    return float(
        sum(
            area(gains[sizes <= step], costs[sizes <= step], worst_tokens) * (after - step)
            for step, after in pairwise(steps)
        )
    )


def history(accuracy: ArrayLike, tokens: ArrayLike, worst_tokens: float) -> list[float]:
    """Hypervolume (`area`) after each point, in the order given."""
    gains, costs = np.asarray(accuracy, float), np.asarray(tokens, float)
    return [area(gains[:n], costs[:n], worst_tokens) for n in range(1, len(gains) + 1)]


def knee(accuracy: ArrayLike, tokens: ArrayLike) -> int | None:
    """Index of the front's knee: beyond it more tokens buy little accuracy.

    It is the point of the front farthest above the chord between its ends, both axes normalised to
    [0, 1] (Satopaa et al. 2011, "Finding a 'Kneedle' in a Haystack", ICDCS workshops; without
    smoothing, since the points are few). None where the front has fewer than three points, or
    no point lies above the chord.
    """
    gains, costs = np.asarray(accuracy, float), np.asarray(tokens, float)
    front = nondominated(gains, costs)
    if len(front) < 3:
        return None
    rise, run = gains[front], costs[front]
    above = (rise - rise[0]) / np.ptp(rise) - (run - run[0]) / np.ptp(run)
    best = int(above.argmax())
    return front[best] if above[best] > 1e-12 else None
