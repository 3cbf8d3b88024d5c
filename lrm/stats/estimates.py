"""Estimates with their uncertainty. Samples of one question are never taken as independent.

Questions count as drawn at random from those one might ask, so intervals are over questions: what
the samples of one question say is averaged first. `tests/stats/test_estimates.py` measures how
often the intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lrm.records import Interval
from lrm.stats.bootstrap import DRAWS, LEVEL, SEED, resampled

Z = float(special.ndtri((1 + LEVEL) / 2))
HALF = 0.5
"""A model has collapsed where it keeps less than this share of the dense model's accuracy."""

EDGE = 0.06
"""Weight of one right and one wrong question that are added when the spread over questions is
estimated: where few questions are missed, their samples' agreement is hardly seen."""

ENOUGH = 6
"""Questions of which not all lie on one side of the truth, but for one case in twenty."""

Floats = NDArray[np.float64]
Samples = Sequence[Sequence[float]] | NDArray[np.floating]
"""One row a question, one entry a sample; an array has NaN where a question has fewer samples."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference with its 95% interval, over `questions` questions that both answered."""

    value: float
    low: float
    high: float
    questions: int

    @property
    def significant(self) -> bool:
        """Whether the interval leaves zero out."""
        return not self.low <= 0 <= self.high

    @property
    def verdict(self) -> str:
        if not self.significant:
            return "no significant difference"
        return "higher" if self.value > 0 else "lower"

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)


def accuracy(scores: Samples) -> Interval:
    """Mean of scores in [0, 1], one row a question, one entry a sample.

    Wilson's score interval on the effective number of questions: the number of independent
    questions that would vary as much as these means per question do. Where there are several
    samples that number is itself an estimate, so Student's t takes the normal's place.
    """
    means, replies = _per_question(scores)
    single = replies <= len(means)
    return _share(means, replies, Z if single else _t(len(means)))


def wilson(share: float, questions: float, quantile: float = Z) -> Interval:
    """95% score interval (Wilson 1927) of a share of `questions` answered rightly.

    Neither the number of right ones nor that of questions need be whole: a share may be a mean of
    several runs, a number an effective one.
    """
    spread = quantile**2 / questions
    centre = (share + spread / 2) / (1 + spread)
    half = quantile * sqrt(share * (1 - share) / questions + spread / questions / 4) / (1 + spread)
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def difference(one: Interval, other: Interval) -> Interval:
    """95% interval of `one` minus `other`, two independent proportions with Wilson intervals.

    The hybrid score method, number 10 of Newcombe 1998 (Statistics in Medicine 17:873-890).
    """
    return _mover(one, other, 0.0)


def paired_difference(one: Samples, other: Samples) -> Difference:
    """Accuracy of `one` minus that of `other` on the same questions, in the same order.

    The hybrid score method for paired proportions (Newcombe 1998, Statistics in Medicine
    17:2635-2650, without its correction): each accuracy's own interval, and the correlation of the
    two over questions. It stays honest where both are all right or all wrong.
    """
    (means, replies), (means_other, replies_other) = _per_question(one), _per_question(other)
    _same_length(means, means_other)
    quantile = _t(len(means))
    found = _mover(
        _share(means, replies, quantile),
        _share(means_other, replies_other, quantile),
        correlation(means, means_other),
    )
    return Difference(found.value, max(-1.0, found.low), min(1.0, found.high), len(means))


def paired_ratio(one: Samples, other: Samples) -> Interval:
    """Mean amount of `one` over that of `other` (say, tokens) on the same questions.

    Bootstrap-t over questions on the logarithm (Efron and Tibshirani 1993, chapter 12; fixed
    seed), which allows for the skew of lengths. Where few questions differ it has no end, since
    resamples without them have no spread; beyond the plain t interval it therefore goes no further
    than the question that differs most, for a ratio of means lies between the questions' own. Of
    very few questions nothing is known: the interval may then end at 0 or inf. Raises ValueError
    where `other` is zero throughout.
    """
    (means, _), (means_other, _) = _per_question(one), _per_question(other)
    _same_length(means, means_other)
    top, bottom = float(means.mean()), float(means_other.mean())
    if bottom == 0:
        raise ValueError("a ratio to amounts that are all zero is not defined")
    if len(means) < 2 or top == 0:
        return Interval(top / bottom, 0.0, inf)
    base = means_other / bottom
    apart = means / top - base
    error = float(np.std(apart, ddof=1)) / sqrt(len(means))
    if error < 1e-9:
        return Interval(top / bottom, top / bottom, top / bottom)
    studentised = _studentised(apart, base)
    low, high = np.quantile(studentised, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    plain = error * _t(len(means))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ends = (top / bottom * np.exp(error * np.array([-high, -low]))).tolist()
        each = means / means_other
    if len(means) >= ENOUGH:
        ends[0] = max(ends[0], min(top / bottom * exp(-plain), float(np.nanmin(each))))
        ends[1] = min(ends[1], max(top / bottom * exp(plain), float(np.nanmax(each))))
    return Interval(top / bottom, min(ends[0], top / bottom), max(ends[1], top / bottom))


def kept(one: Interval, other: Interval, correlated: float) -> Interval | None:
    """Accuracy `one` as a share of `other`, from both intervals and their correlation.

    MOVER for ratios (Donner and Zou 2012, Statistical Methods in Medical Research 21:347-359).
    None where `other` may be zero or so small that the data bound no share of it.
    """
    low, high = other.low, other.high
    if low <= 0 or high >= 2 * other.value:
        return None
    product = one.value * other.value

    def end(mine: float, its: float, sign: int) -> float:
        both = product - correlated * (mine - one.value) * (other.value - its)
        root = both**2 - mine * its * (2 * one.value - mine) * (2 * other.value - its)
        return (both + sign * sqrt(max(0.0, root))) / (its * (2 * other.value - its))

    value = one.value / other.value
    bounds = end(one.low, high, -1), end(one.high, low, 1)
    return Interval(value, max(0.0, min(bounds[0], value)), max(bounds[1], value))


def mean(values: Samples) -> Interval:
    """Mean of non-negative amounts (say, tokens), over the questions' own means.

    Student's t after Hall's transformation (Hall 1992, JRSS B 54:221-228), which allows for the
    skew of lengths: where they are not skewed it is the plain t interval. One question has no
    interval: both ends are the value itself. Where a rare length (a loop) was not seen at all, no
    interval can know of it.
    """
    return _amount(_per_question(values)[0])


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
    scores: Mapping[float, Sequence[float] | NDArray[np.floating]],
    *,
    threshold: float = HALF,
    falling: bool = False,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[float | None, float | None, float | None]:
    """First level at which accuracy falls below a `threshold` share of the dense one's.

    `scores` maps a level to one score per question, the same questions in the same order. Levels
    (say, sparsities) are gone through from the lowest, which is the dense one, up; with `falling`
    (say, bits per weight) from the highest down. Returns the level with its 95% interval by paired
    bootstrap over questions (fixed seed); None stands for "not within the levels measured".
    """
    levels = sorted(scores, reverse=falling)
    table = np.array([scores[level] for level in levels], dtype=np.float32)
    exact = table.mean(axis=1, dtype=np.float64, keepdims=True)
    where = int(_first_below(exact, threshold)[0])
    at = np.sort(_first_below(resampled(table, draws, seed)[:, 1:], threshold))
    low, high = (int(at[round(q * (draws - 1))]) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    ends = [*levels, None]
    return ends[where], ends[min(low, where)], ends[max(high, where)]


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's correlation; 0 where one of the two does not vary."""
    apart, others = one - one.mean(), other - other.mean()
    spreads = sqrt((apart**2).mean()) * sqrt((others**2).mean())
    if spreads == 0:
        return 0.0
    return max(-1.0, min(1.0, float((apart * others).mean()) / spreads))


def _per_question(values: Samples) -> tuple[Floats, int]:
    """Means over each question's samples, and the number of samples in all."""
    if isinstance(values, np.ndarray):
        present = ~np.isnan(values)
        counts = present.sum(axis=1)
        means = np.where(present, values, 0).sum(axis=1, dtype=np.float64) / counts
    else:
        counts = np.array([len(row) for row in values])
        means = np.array([np.mean(row) for row in values], dtype=np.float64)
    return means, int(counts.sum())


def _share(means: Floats, replies: int, quantile: float) -> Interval:
    """Wilson's interval on the effective number of questions."""
    count, value = len(means), float(np.mean(means))
    if count == 1 or value in (0, 1):
        return wilson(value, count, quantile)
    weight = count + 2 * EDGE
    centre = (means.sum() + EDGE) / weight
    squares = float(((means - centre) ** 2).sum()) + EDGE * (centre**2 + (1 - centre) ** 2)
    binary = float(centre * (1 - centre))
    spread = max(squares / (weight - 1), binary * count / replies)
    return wilson(value, max(count, count * binary / spread), quantile)


def _amount(means: Floats) -> Interval:
    """Student's t after Hall's transformation, which of very few questions may say anything: beyond
    the plain interval it goes no further than the longest question."""
    count, value = len(means), float(means.mean())
    apart = means - value
    squares = float((apart**2).sum())
    error = sqrt(squares / (count - 1)) / sqrt(count) if count > 1 else 0.0
    if error <= 1e-12 * abs(value):
        return Interval(value, value, value)
    skew = float((apart**3).mean()) / sqrt(squares / count) ** 3
    root = sqrt(count)

    def back(quantile: float) -> float:
        """Hall's cubic, undone."""
        if abs(skew) < 1e-6:
            return quantile
        return 3 * root / skew * float(np.cbrt(1 + skew / root * (quantile - skew / root / 6)) - 1)

    low, high = (value - error * back(sign * _t(count)) for sign in (1, -1))
    plain = value + error * _t(count)
    return Interval(value, max(0.0, min(low, value)), max(plain, min(high, float(means.max()))))


def _mover(one: Interval, other: Interval, correlated: float) -> Interval:
    """The difference of two estimates from their own intervals and their correlation."""
    value = one.value - other.value

    def reach(mine: float, its: float) -> float:
        return sqrt(max(0.0, mine**2 - 2 * correlated * mine * its + its**2))

    down = reach(one.value - one.low, other.high - other.value)
    up = reach(one.high - one.value, other.value - other.low)
    return Interval(value, value - down, value + up)


def _studentised(apart: Floats, base: Floats) -> Floats:
    """The logarithm of a ratio of means over its standard error, on each resample.

    Both amounts are in units of their means, `base` the lower one and `apart` what the upper has
    more; so the logarithm is 0 on the questions as they are. Written so that nothing large cancels
    where the two are nearly equal.
    """
    rows = np.array([base, apart, apart**2, apart * base, base**2])
    low, more, squares, products, lows = resampled(rows)[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse, shift = 1 / (low + more), -more / ((low + more) * low)
        variance = inverse**2 * squares + 2 * inverse * shift * products + shift**2 * lows
        error = np.sqrt(np.maximum(variance, 0) / len(apart))
        found = np.log1p(more / low) / error
    return np.asarray(found[~np.isnan(found)])


def _t(count: int) -> float:
    """Student's quantile for that many questions; the normal's for a single one, where no spread
    is seen."""
    return _student(count) if count > 1 else Z


@lru_cache(maxsize=64)
def _student(count: int) -> float:
    return float(special.stdtrit(count - 1, (1 + LEVEL) / 2))


def _same_length(one: Floats, other: Floats) -> None:
    if len(one) != len(other):
        raise ValueError(f"paired questions must be the same: {len(one)} against {len(other)}")


def _first_below(accuracies: Floats, threshold: float) -> NDArray[np.int64]:
    """Row index [columns] of the first accuracy [levels, columns] below that share of row 0's."""
    below = accuracies < threshold * accuracies[0] - 1e-6
    return np.where(below.any(axis=0), below.argmax(axis=0), len(below))
