"""An estimate with its 95% interval: a share, a mean amount, an average of several.

Questions count as drawn at random from those one might ask, so intervals are over questions.
Samples of one question are never taken as independent: they are averaged first.
`tests/stats/test_intervals.py` measures how often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lrm.records.point import Interval
from lrm.stats.bootstrap import LEVEL, Floats

Z = float(special.ndtri((1 + LEVEL) / 2))
"""The normal distribution's quantile for a 95% interval, 1.96."""

PRIOR_WEIGHT = 0.06
"""Weight of one right and one wrong question that are added when the spread over questions is
estimated. Where few questions are missed, one hardly sees how far their samples agree."""

Samples = Sequence[Sequence[float]] | NDArray[np.floating]
"""One row a question, one entry a sample; an array has NaN where a question has fewer samples."""


def accuracy(scores: Samples) -> Interval:
    """Mean of scores in [0, 1], one row a question, one entry a sample.

    Wilson's score interval on the effective number of questions: the number of independent
    questions that would vary as much as these means per question do. Where there are several
    samples that number is itself an estimate, so Student's t takes the normal's place.
    """
    means, replies = question_means(scores)
    single = replies <= len(means)
    share = share_interval(means, replies, Z if single else t_quantile(len(means)))
    return replace(share, freedom=len(means) - 1)


def wilson(share: float, questions: float, quantile: float = Z) -> Interval:
    """95% score interval (Wilson 1927) of a share of `questions` answered correctly.

    With p the share, n the questions and z the quantile:
    (p + z^2/2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n). Neither p n nor n need be
    whole: a share may be a mean of several runs, n an effective number.
    """
    spread = quantile**2 / questions
    centre = (share + spread / 2) / (1 + spread)
    half = quantile * sqrt(share * (1 - share) / questions + spread / questions / 4) / (1 + spread)
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def mean(values: Samples) -> Interval:
    """Mean of non-negative amounts (say, tokens), over the questions' own means.

    Student's t after Hall's transformation (Hall 1992, JRSS B 54:221-228), which allows for the
    skew of lengths: where they are not skewed it is the plain t interval. Of very few questions the
    transformation may say anything, so beyond the plain interval it goes no further than the
    longest question. Of one question both ends are the value itself. Where a rare
    length (a loop) was not seen at all, no interval can know of it.
    """
    means = question_means(values)[0]
    count, value = len(means), float(means.mean())
    deviations = means - value
    squares = float((deviations**2).sum())
    error = sqrt(squares / (count - 1)) / sqrt(count) if count > 1 else 0.0
    if error <= 1e-12 * abs(value):
        return Interval(value, value, value, count - 1)
    skew = float((deviations**3).mean()) / sqrt(squares / count) ** 3
    low, high = (
        value - error * _hall_inverse(sign * t_quantile(count), skew, count) for sign in (1, -1)
    )
    plain = value + error * t_quantile(count)
    high = max(plain, min(high, float(means.max())))
    return Interval(value, max(0.0, min(low, value)), high, count - 1)


def average(parts: Sequence[Interval]) -> Interval:
    """Plain mean of independent estimates; MOVER combines their intervals.

    MOVER (Zou and Donner 2008, Statistics in Medicine 27:1693-1702) keeps what each part's interval
    knows of its own skew, so a part at 100% still counts as uncertain downwards. Degrees of freedom
    add up, unless a part has none: nothing is known then of its spread.
    """
    count = len(parts)
    value = sum(part.value for part in parts) / count
    low = value - sqrt(sum((part.value - part.low) ** 2 for part in parts)) / count
    high = value + sqrt(sum((part.high - part.value) ** 2 for part in parts)) / count
    degrees = [part.freedom for part in parts]
    freedom = sum(degrees) if all(degrees) else 0
    return Interval(value, min(low, value), max(high, value), freedom)


def question_means(values: Samples) -> tuple[Floats, int]:
    """Means [questions] over each question's samples, and the number of samples in all."""
    if isinstance(values, np.ndarray):
        present = ~np.isnan(values)
        counts = present.sum(axis=1)
        means = np.where(present, values, 0).sum(axis=1, dtype=np.float64) / counts
    else:
        counts = np.array([len(row) for row in values])
        means = np.array([np.mean(row) for row in values], dtype=np.float64)
    return means, int(counts.sum())


def share_interval(means: Floats, replies: int, quantile: float) -> Interval:
    """Wilson's interval on the effective number of questions, from their means [questions].

    The effective number is count x p (1 - p) / the variance of the means, and `count` at least.
    The variance is taken no smaller than if all `replies` were independent.
    """
    count, value = len(means), float(np.mean(means))
    if count == 1 or value in (0, 1):
        return wilson(value, count, quantile)
    weight = count + 2 * PRIOR_WEIGHT
    centre = (means.sum() + PRIOR_WEIGHT) / weight
    squares = float(((means - centre) ** 2).sum()) + PRIOR_WEIGHT * (centre**2 + (1 - centre) ** 2)
    binary = float(centre * (1 - centre))
    variance = max(squares / (weight - 1), binary * count / replies)
    return wilson(value, max(count, count * binary / variance), quantile)


def t_quantile(count: int) -> float:
    """Student's quantile for that many questions; the normal's for one question, which shows no
    spread."""
    return _student(count) if count > 1 else Z


@lru_cache(maxsize=64)
def _student(count: int) -> float:
    return float(special.stdtrit(count - 1, (1 + LEVEL) / 2))


def _hall_inverse(quantile: float, skew: float, count: int) -> float:
    """The value that Hall's cubic transformation takes to `quantile`."""
    if abs(skew) < 1e-6:
        return quantile
    root = sqrt(count)
    return 3 * root / skew * float(np.cbrt(1 + skew / root * (quantile - skew / root / 6)) - 1)
