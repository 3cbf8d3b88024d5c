"""Intervals of shares and means cover what they claim to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lrm.records.point import Interval
from lrm.stats import intervals
from lrm.tables import amount, percent
from tests.stats.simulated import QUESTIONS, STUDIES, covered, difficulties, sampled


@pytest.mark.parametrize(
    ("truth", "samples"),
    [(t, k) for t in (0.5, 0.8, 0.9) for k in (1, 4, 16) if (t, k) != (0.9, 1)],
)
def test_accuracy_intervals_cover_at_thirty_questions(truth: float, samples: int) -> None:
    rng = np.random.default_rng(1)
    scores = sampled(rng, difficulties(rng, [truth], 0)[0], samples)
    assert 0.93 <= covered(lambda i: intervals.accuracy(scores[i]), truth) <= 0.97


def test_single_samples_cover_on_average() -> None:
    """Exactly, over true accuracies: one cannot do better at each, since thirty answers have only
    31 outcomes (97.4% at 90%, from 92.4% to 97.8% between 5% and 95%)."""
    outcomes = [intervals.wilson(right / QUESTIONS, QUESTIONS) for right in range(QUESTIONS + 1)]
    truths = np.linspace(0.05, 0.95, 181)
    held = [
        sum(
            stats.binom.pmf(right, QUESTIONS, truth)
            for right, interval in enumerate(outcomes)
            if interval.low <= truth <= interval.high
        )
        for truth in truths
    ]
    assert 0.945 <= np.mean(held) <= 0.96
    assert min(held) > 0.92


@pytest.mark.parametrize("spread", [0.3, 0.5, 0.8])
def test_token_means_cover_though_lengths_are_skewed(spread: float) -> None:
    """Log-normal lengths; plain t intervals cover 91.8% at 0.8. At a spread of 1 these cover 92.5%:
    thirty questions say too little of so long a tail."""
    rng = np.random.default_rng(4)
    lengths = rng.lognormal(0, spread, (STUDIES, QUESTIONS, 1))
    assert 0.93 <= covered(lambda i: intervals.mean(lengths[i]), np.exp(spread**2 / 2)) <= 0.97


def test_token_means_cover_where_some_replies_loop_to_the_cap() -> None:
    rng = np.random.default_rng(5)
    shape = (STUDIES, QUESTIONS, 1)
    lengths = np.where(rng.random(shape) < 0.1, 12, rng.lognormal(0, 0.5, shape))
    truth = 0.9 * np.exp(0.125) + 1.2
    assert 0.93 <= covered(lambda i: intervals.mean(lengths[i]), truth) <= 0.97


def test_missing_samples_are_left_out() -> None:
    ragged = [[1.0, 0.0, 1.0], [0.0], [1.0, 1.0]]
    padded = np.full((3, 3), np.nan)
    for row, values in zip(padded, ragged, strict=True):
        row[: len(values)] = values
    assert intervals.accuracy(padded) == intervals.accuracy(ragged)
    assert intervals.mean(padded) == intervals.mean(ragged)


def test_samples_of_one_question_are_not_independent() -> None:
    clustered = intervals.accuracy([[1.0] * 8] * 15 + [[0.0] * 8] * 15)
    single = intervals.accuracy([[1.0]] * 15 + [[0.0]] * 15)
    spread = intervals.accuracy([[1.0, 0.0] * 4] * 30)
    assert clustered.high - clustered.low == pytest.approx(single.high - single.low, rel=0.05)
    assert spread.high - spread.low < single.high - single.low


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_still_uncertain(value: float) -> None:
    interval = intervals.accuracy([[value]] * 40)
    assert interval.value == value
    assert interval.high - interval.low == pytest.approx(0.0876, abs=0.001)  # Wilson, n = 40


def test_wilson_by_hand() -> None:
    interval = intervals.accuracy([[1.0]] * 8 + [[0.0]] * 2)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_token_mean_by_hand() -> None:
    interval = intervals.mean([[10.0], [20.0], [30.0]])
    assert interval.value == 20
    assert interval.high - 20 == pytest.approx(4.3027 * 10 / 3**0.5, rel=1e-4)
    assert intervals.mean([[5.0, 7.0]]) == Interval(6.0, 6.0, 6.0)


def test_average_narrows_and_keeps_skew() -> None:
    part = Interval(1.0, 0.9, 1.0)
    assert intervals.average([part]) == part
    both = intervals.average([part, part])
    assert both.high == 1.0
    assert both.low == pytest.approx(1 - 0.1 / 2**0.5)


@pytest.mark.parametrize(
    ("count", "share", "length"),
    [
        (1, "0.0%", "71.0"),
        (2, "50.0%", "72.0"),
        (3, "33.3% [6, 79]", "73.0 [68.0, 78.0]"),
    ],
)
def test_one_or_two_questions_show_no_interval(count: int, share: str, length: str) -> None:
    right, tokens = [[0.0], [1.0], [0.0]][:count], [[71.0], [73.0], [75.0]][:count]
    assert percent(intervals.accuracy(right)) == share
    assert amount(intervals.mean(tokens)) == length
    # Samples of a question are no further questions.
    assert (intervals.mean([[71.0, 73.0]] * count).shown == (None, None)) == (count < 3)


@pytest.mark.parametrize(
    ("counts", "shown"),
    [([2, 2], True), ([1, 2], False), ([1, 1, 1, 1], False), ([3, 1], False), ([2], False)],
)
def test_an_average_shows_its_interval_where_its_parts_tell_their_spread(
    counts: list[int], shown: bool
) -> None:
    tokens = [[71.0], [73.0], [75.0]]
    average = intervals.average([intervals.mean(tokens[:count]) for count in counts])
    assert average.shown == ((average.low, average.high) if shown else (None, None))
