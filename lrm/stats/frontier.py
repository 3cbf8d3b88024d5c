"""Which points nobody beats, how much they cover, where the front bends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from lrm.records import Point


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both accuracy and tokens, cheapest first.

    Of points with the same tokens and accuracy the sparser one stays.
    """
    ordered = sorted(
        points, key=lambda p: (p.tokens.value, -p.accuracy.value, -p.sparsity, p.budget.tokens)
    )
    accuracies = [point.accuracy.value for point in ordered]
    return [ordered[i] for i in nondominated(accuracies, [p.tokens.value for p in ordered])]


def hypervolume(points: Sequence[Point], worst_tokens: float) -> float:
    """`area` of points."""
    return area(
        [point.accuracy.value for point in points],
        [point.tokens.value for point in points],
        worst_tokens,
    )


def nondominated(accuracy: ArrayLike, *costs: ArrayLike) -> list[int]:
    """Places of the points that no other beats, by the first cost, the cheapest first.

    A point beats another if it is at least as accurate and at most as dear in every cost (tokens,
    bytes), and better in one. Of equal points the first stays.
    """
    values = np.column_stack([-np.asarray(accuracy, float), *(np.asarray(c, float) for c in costs)])
    order = np.lexsort((*values.T[:1], *values.T[:0:-1]))
    front: list[int] = []
    for i in order:
        if not front or not (values[front] <= values[i]).all(axis=1).any():
            front.append(int(i))
    return front


def area(accuracy: ArrayLike, tokens: ArrayLike, worst_tokens: float) -> float:
    """Hypervolume in two dimensions: the area that the points dominate.

    Up to the reference point (accuracy 0, `worst_tokens`), in units of accuracy x tokens; points
    beyond `worst_tokens` add nothing.
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

    Up to the reference point (accuracy 0, `worst_tokens`, `worst_size`), slab by slab of size.
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
    """Hypervolume (`area`) after each point, in the order in which they were found."""
    gains, costs = np.asarray(accuracy, float), np.asarray(tokens, float)
    return [area(gains[:n], costs[:n], worst_tokens) for n in range(1, len(gains) + 1)]


def knee(accuracy: ArrayLike, tokens: ArrayLike) -> int | None:
    """Place of the front's knee: beyond it more tokens buy little accuracy.

    The point of the front farthest above the chord between its ends, both axes normalised to
    [0, 1] (Satopaa et al. 2011, "Finding a 'Kneedle' in a Haystack", ICDCS workshops; without
    smoothing, since the points are few). None where the front has fewer than three points, or
    nowhere bends above the chord.
    """
    gains, costs = np.asarray(accuracy, float), np.asarray(tokens, float)
    front = nondominated(gains, costs)
    if len(front) < 3:
        return None
    rise, run = gains[front], costs[front]
    above = (rise - rise[0]) / np.ptp(rise) - (run - run[0]) / np.ptp(run)
    best = int(above.argmax())
    return front[best] if above[best] > 1e-12 else None
