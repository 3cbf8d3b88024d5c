"""Estimates with their uncertainty. Samples of one question are never taken as independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lrm.records import Interval

LEVEL = 0.95
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
HALF = 0.5
"""A model has collapsed where it keeps less than this share of the dense model's accuracy."""


def accuracy(scores: Sequence[Sequence[float]]) -> Interval:
    """Mean of scores in [0, 1], one row a question, one entry a sample.

    Wilson's score interval on the effective number of questions: the number of
    independent questions that would vary as much as these means per question do.
    """
    means = np.array([np.mean(row) for row in scores])
    count, value = len(means), float(np.mean(means))
    binary = value * (1 - value)
    replies = sum(len(row) for row in scores)
    if count == 1 or binary == 0:
        effective = float(count)
    else:
        spread = float(np.var(means, ddof=1))
        effective = max(count, count * binary / max(spread, binary * count / replies))
    return wilson(value, effective)


def wilson(share: float, questions: float) -> Interval:
    """95% score interval (Wilson 1927) of a share of `questions` answered rightly.

    Neither the number of right ones nor that of questions need be whole: a share may be a mean of
    several runs, a number an effective one.
    """
    spread = Z * Z / questions
    centre = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def difference(one: Interval, other: Interval) -> Interval:
    """95% interval of `one` minus `other`, two independent proportions with Wilson intervals.

    The hybrid score method, number 10 of Newcombe 1998 (Statistics in Medicine 17:873-890).
    """
    value = one.value - other.value
    down = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    up = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Interval(value, value - down, value + up)


def mean(values: Sequence[Sequence[float]]) -> Interval:
    """Mean of non-negative amounts per question: Student's t over the questions' own means."""
    means = np.array([np.mean(row) for row in values])
    value = float(np.mean(means))
    if len(means) < 2:
        return Interval(value, value, value)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(means) - 1) * stats.sem(means))
    return Interval(value, max(0.0, value - half), value + half)


def average(parts: Sequence[Interval]) -> Interval:
    """Plain mean of independent estimates; their intervals are combined by MOVER.

    MOVER (Zou and Donner 2008) keeps what each part's interval knows of its own skew, so a part
    at 100% still counts as uncertain downwards.
    """
    count = len(parts)
    value = sum(part.value for part in parts) / count
    low = value - sqrt(sum((part.value - part.low) ** 2 for part in parts)) / count
    high = value + sqrt(sum((part.high - part.value) ** 2 for part in parts)) / count
    return Interval(value, min(low, value), max(high, value))


def collapse(
    scores: Mapping[float, Sequence[float]], *, draws: int = 2000, seed: int = 0
) -> tuple[float | None, float | None, float | None]:
    """First level at which accuracy falls below half of the lowest level's.

    `scores` maps a level (say, a sparsity) to one score per question, the same questions in the
    same order. Returns the level with its 95% interval by paired bootstrap over questions (fixed
    seed); None stands for "not within the levels measured".
    """
    levels = sorted(scores)
    table = np.array([scores[level] for level in levels], dtype=float)
    picks = np.random.default_rng(seed).integers(table.shape[1], size=(draws, table.shape[1]))
    resampled = table[:, picks].mean(axis=2)
    at = np.sort(_first_below(resampled))
    low, high = (at[round(q * (draws - 1))] for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    where = _first_below(table.mean(axis=1, keepdims=True))[0]
    ends = [*levels, None]
    return ends[where], ends[low], ends[high]


def _first_below(accuracies: NDArray[np.float64]) -> NDArray[np.int64]:
    """Row index [columns] of the first accuracy [levels, columns] below half of row 0's."""
    below = accuracies < HALF * accuracies[0]
    return np.where(below.any(axis=0), below.argmax(axis=0), len(below))
