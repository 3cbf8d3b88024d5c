"""Paired differences and ratios cover what they claim to."""

from __future__ import annotations

import numpy as np
import pytest

from lrm.records.point import Interval
from lrm.stats import intervals, paired
from tests.stats.simulated import QUESTIONS, STUDIES, covered, difficulties, sampled


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("truths", [(0.5, 0.5), (0.8, 0.5), (0.3, 0.1)])
def test_paired_differences_cover(truths: tuple[float, float], samples: int) -> None:
    rng = np.random.default_rng(2)
    one, other = (sampled(rng, chances, samples) for chances in difficulties(rng, truths, 0.6))
    share = covered(lambda i: paired.paired_difference(one[i], other[i]), truths[0] - truths[1])
    assert 0.93 <= share <= 0.97


def test_pairing_pays() -> None:
    rng = np.random.default_rng(3)
    one, other = (sampled(rng, c, 8)[0] for c in difficulties(rng, (0.6, 0.5), 0.9))
    together = paired.paired_difference(one, other)
    apart = paired.difference(intervals.accuracy(one), intervals.accuracy(other))
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low < 0.7 * (apart.high - apart.low)


@pytest.mark.parametrize(("between", "own"), [(0.5, 0.3), (0.8, 0.4), (0.5, 0.1)])
def test_token_ratios_cover(between: float, own: float) -> None:
    rng = np.random.default_rng(6)
    question = rng.normal(0, between, (STUDIES, QUESTIONS, 1))
    base, longer = (
        np.exp(question + rng.normal(shift, own, (STUDIES, QUESTIONS, 2))) for shift in (0, 0.2)
    )
    share = covered(lambda i: paired.paired_ratio(longer[i], base[i]), np.exp(0.2))
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize("truths", [(0.6, 0.8), (0.4, 0.9), (0.1, 0.5)])
def test_shares_that_were_kept_cover(truths: tuple[float, float]) -> None:
    rng = np.random.default_rng(7)
    one, other = (sampled(rng, chances, 2) for chances in difficulties(rng, truths, 0.5))

    def kept(i: int) -> Interval:
        correlated = paired.correlation(one[i].mean(axis=1), other[i].mean(axis=1))
        parts = intervals.accuracy(one[i]), intervals.accuracy(other[i])
        return paired.retained(*parts, correlated) or Interval(0, 0, np.inf)

    assert 0.93 <= covered(kept, truths[0] / truths[1]) <= 0.97


def test_a_share_of_nothing_is_not_known() -> None:
    never = intervals.accuracy([[0.0]] * 30)
    assert paired.retained(intervals.accuracy([[1.0]] * 30), never, 0.0) is None


def test_verdicts_are_plain() -> None:
    right, wrong = np.ones((30, 1)), np.zeros((30, 1))
    same = paired.paired_difference(right, right)
    assert (same.value, same.verdict) == (0, "no significant difference")
    assert same.low < -0.05 < 0.05 < same.high  # all right says little of thirty questions
    assert paired.paired_difference(right, wrong).verdict == "higher"
    assert paired.paired_difference(wrong, right).verdict == "lower"
    single = paired.paired_difference(np.ones((1, 4)), np.zeros((1, 4)))
    assert (single.value, single.questions, single.verdict) == (1, 1, "no significant difference")


def test_unequal_questions_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="30 against 29"):
        paired.paired_difference(np.ones((30, 1)), np.ones((29, 1)))
    with pytest.raises(ValueError, match="30 against 29"):
        paired.paired_ratio(np.ones((30, 1)), np.ones((29, 1)))


def test_ratios_at_the_edge() -> None:
    lengths = np.array([[10.0], [20.0], [60.0]])
    assert paired.paired_ratio(lengths, lengths) == Interval(1, 1, 1)
    doubled = paired.paired_ratio(2 * lengths, lengths)
    assert (doubled.value, doubled.low, doubled.high) == pytest.approx((2, 2, 2))
    assert paired.paired_ratio(lengths[:1], lengths[1:2]) == Interval(0.5, 0, np.inf)
    two = paired.paired_ratio(lengths[:2], lengths[1:])
    assert two == Interval(two.value, 0, np.inf)  # two questions say nothing
    with pytest.raises(ValueError, match="all zero"):
        paired.paired_ratio(lengths, 0 * lengths)


@pytest.mark.parametrize("differ", [1, 2, 3])
def test_a_ratio_goes_no_further_than_the_question_that_differs_most(differ: int) -> None:
    base = np.random.default_rng(3).uniform(50, 200, (50, 1))
    other = base.copy()
    other[:differ] *= 1.5
    ratio = paired.paired_ratio(other, base)
    assert 1 < ratio.value < 1.1
    assert 0.9 < ratio.low <= ratio.value
    assert ratio.high <= 1.5 + 1e-9
