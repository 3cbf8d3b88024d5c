"""Two estimates compared: their difference or ratio, paired by question or independent."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, sqrt

import numpy as np

from lrm.records.point import Interval
from lrm.stats.bootstrap import LEVEL, Floats, resampled
from lrm.stats.intervals import Samples, question_means, share_interval, t_quantile

ENOUGH = 6
"""The fewest questions of which all lie on one side of the truth in less than one case of twenty
(2 / 2**6)."""


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


def difference(first: Interval, second: Interval) -> Interval:
    """95% interval of `first` minus `second`, two independent proportions with Wilson intervals.

    The hybrid score method, number 10 of Newcombe 1998 (Statistics in Medicine 17:873-890).
    """
    return _mover(first, second, 0.0)


def paired_difference(first: Samples, second: Samples) -> Difference:
    """Accuracy of `first` minus that of `second` on the same questions, in the same order.

    The hybrid score method for paired proportions (Newcombe 1998, Statistics in Medicine
    17:2635-2650, without its correction): each accuracy's own interval, and the correlation of the
    two over questions. It stays honest where both are all right or all wrong. Raises ValueError
    where the numbers of questions differ.
    """
    means, replies = question_means(first)
    means_second, replies_second = question_means(second)
    _check_same_length(means, means_second)
    quantile = t_quantile(len(means))
    interval = _mover(
        share_interval(means, replies, quantile),
        share_interval(means_second, replies_second, quantile),
        correlation(means, means_second),
    )
    return Difference(interval.value, max(-1.0, interval.low), min(1.0, interval.high), len(means))


def paired_ratio(first: Samples, second: Samples) -> Interval:
    """Mean amount of `first` over that of `second` (say, tokens) on the same questions.

    Bootstrap-t over questions on the logarithm (Efron and Tibshirani 1993, chapter 12; fixed
    seed), which allows for the skew of lengths. Where few questions differ it has no end, since
    resamples without them have no spread; beyond the plain t interval it therefore goes no further
    than the question that differs most, for a ratio of means lies between the questions' own. Of
    very few questions nothing is known: the interval may then end at 0 or inf. Raises ValueError
    where `second` is zero throughout, or the numbers of questions differ.
    """
    (means, _), (means_second, _) = question_means(first), question_means(second)
    _check_same_length(means, means_second)
    top, bottom = float(means.mean()), float(means_second.mean())
    if bottom == 0:
        raise ValueError("a ratio to amounts that are all zero is not defined")
    if len(means) < 2 or top == 0:
        return Interval(top / bottom, 0.0, inf)
    base = means_second / bottom
    excess = means / top - base
    error = float(np.std(excess, ddof=1)) / sqrt(len(means))
    if error < 1e-9:
        return Interval(top / bottom, top / bottom, top / bottom)
    studentised = _studentised(excess, base)
    low, high = np.quantile(studentised, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    plain = error * t_quantile(len(means))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ends = (top / bottom * np.exp(error * np.array([-high, -low]))).tolist()
        ratios = means / means_second
    if len(means) >= ENOUGH:
        ends[0] = max(ends[0], min(top / bottom * exp(-plain), float(np.nanmin(ratios))))
        ends[1] = min(ends[1], max(top / bottom * exp(plain), float(np.nanmax(ratios))))
    return Interval(top / bottom, min(ends[0], top / bottom), max(ends[1], top / bottom))


def retained(accuracy: Interval, base: Interval, correlated: float) -> Interval | None:
    """`accuracy` as a share of `base`, from both intervals and their correlation.

    MOVER for ratios (Donner and Zou 2012, Statistical Methods in Medical Research 21:347-359).
    None where `base` may be zero or so small that the data bound no share of it.
    """
    low, high = base.low, base.high
    if low <= 0 or high >= 2 * base.value:
        return None
    product = accuracy.value * base.value

    def end(top: float, bottom: float, sign: int) -> float:
        both = product - correlated * (top - accuracy.value) * (base.value - bottom)
        root = both**2 - top * bottom * (2 * accuracy.value - top) * (2 * base.value - bottom)
        return (both + sign * sqrt(max(0.0, root))) / (bottom * (2 * base.value - bottom))

    value = accuracy.value / base.value
    bounds = end(accuracy.low, high, -1), end(accuracy.high, low, 1)
    return Interval(value, max(0.0, min(bounds[0], value)), max(bounds[1], value))


def correlation(first: Floats, second: Floats) -> float:
    """Pearson's correlation of two values a question, both [questions]; 0 where one of the two does
    not vary."""
    deviations, deviations_second = first - first.mean(), second - second.mean()
    spreads = sqrt((deviations**2).mean()) * sqrt((deviations_second**2).mean())
    if spreads == 0:
        return 0.0
    return max(-1.0, min(1.0, float((deviations * deviations_second).mean()) / spreads))


def _mover(first: Interval, second: Interval, correlated: float) -> Interval:
    """The difference of two estimates from their own intervals and their correlation (MOVER)."""
    value = first.value - second.value

    def reach(distance: float, distance_second: float) -> float:
        cross = 2 * correlated * distance * distance_second
        return sqrt(max(0.0, distance**2 - cross + distance_second**2))

    down = reach(first.value - first.low, second.high - second.value)
    up = reach(first.high - first.value, second.value - second.low)
    return Interval(value, value - down, value + up)


def _studentised(excess: Floats, base: Floats) -> Floats:
    """The logarithm of a ratio of means over its standard error, on each resample.

    Both amounts are [questions] in units of their means: `base` is the denominator's, `excess` what
    the numerator's has more. So the logarithm is 0 on the questions as they are. It is written so
    that nothing large cancels where the two are nearly equal.
    """
    rows = np.array([base, excess, excess**2, excess * base, base**2])
    low, more, squares, products, lows = resampled(rows)[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse, shift = 1 / (low + more), -more / ((low + more) * low)
        variance = inverse**2 * squares + 2 * inverse * shift * products + shift**2 * lows
        error = np.sqrt(np.maximum(variance, 0) / len(excess))
        scores = np.log1p(more / low) / error
    return np.asarray(scores[~np.isnan(scores)])


def _check_same_length(first: Floats, second: Floats) -> None:
    if len(first) != len(second):
        raise ValueError(f"paired questions must be the same: {len(first)} against {len(second)}")
