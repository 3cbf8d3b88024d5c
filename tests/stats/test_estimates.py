"""Intervals cover what they claim to; collapse points are where they should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lrm.records import Interval
from lrm.stats import bootstrap, estimates
from lrm.stats.estimates import Difference

QUESTIONS = 30
STUDIES = 2000


def covered(interval: Callable[[int], Interval | Difference], truth: float) -> float:
    """How often the interval of a simulated study holds the truth."""
    return float(
        np.mean([found.low <= truth <= found.high for found in map(interval, range(STUDIES))])
    )


def difficulties(
    rng: np.random.Generator, truths: Sequence[float], alike: float
) -> list[NDArray[np.float64]]:
    """Chances [studies, questions] that each of two models is right, with these means (beta), which
    go along with one another as far as `alike` says."""
    shared = rng.standard_normal((STUDIES, QUESTIONS))
    found = []
    for truth in truths:
        own = rng.standard_normal(shared.shape)
        ranks = stats.norm.cdf(np.sqrt(alike) * shared + np.sqrt(1 - alike) * own)
        found.append(stats.beta.ppf(ranks, 2 * truth, 2 * (1 - truth)))
    return found


def sampled(
    rng: np.random.Generator, chances: NDArray[np.float64], samples: int
) -> NDArray[np.float64]:
    """Scores [studies, questions, samples]."""
    return (rng.random((*chances.shape, samples)) < chances[..., None]).astype(float)


@pytest.mark.parametrize(
    ("truth", "samples"),
    [(t, k) for t in (0.5, 0.8, 0.9) for k in (1, 4, 16) if (t, k) != (0.9, 1)],
)
def test_accuracy_intervals_cover_at_thirty_questions(truth: float, samples: int) -> None:
    rng = np.random.default_rng(1)
    scores = sampled(rng, difficulties(rng, [truth], 0)[0], samples)
    assert 0.93 <= covered(lambda i: estimates.accuracy(scores[i]), truth) <= 0.97


def test_single_samples_cover_on_average() -> None:
    """Exactly, over true accuracies: one cannot do better at each, since thirty answers have only
    31 outcomes (97.4% at 90%, from 92.4% to 97.8% between 5% and 95%)."""
    intervals = [estimates.wilson(right / QUESTIONS, QUESTIONS) for right in range(QUESTIONS + 1)]
    truths = np.linspace(0.05, 0.95, 181)
    held = [
        sum(
            stats.binom.pmf(right, QUESTIONS, truth)
            for right, found in enumerate(intervals)
            if found.low <= truth <= found.high
        )
        for truth in truths
    ]
    assert 0.945 <= np.mean(held) <= 0.96
    assert min(held) > 0.92


@pytest.mark.parametrize("samples", [1, 4, 16])
@pytest.mark.parametrize("truths", [(0.5, 0.5), (0.8, 0.5), (0.3, 0.1)])
def test_paired_differences_cover(truths: tuple[float, float], samples: int) -> None:
    rng = np.random.default_rng(2)
    one, other = (sampled(rng, chances, samples) for chances in difficulties(rng, truths, 0.6))
    found = covered(lambda i: estimates.paired_difference(one[i], other[i]), truths[0] - truths[1])
    assert 0.93 <= found <= 0.97


def test_pairing_pays() -> None:
    rng = np.random.default_rng(3)
    one, other = (sampled(rng, c, 8)[0] for c in difficulties(rng, (0.6, 0.5), 0.9))
    paired = estimates.paired_difference(one, other)
    apart = estimates.difference(estimates.accuracy(one), estimates.accuracy(other))
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.7 * (apart.high - apart.low)


@pytest.mark.parametrize("spread", [0.3, 0.5, 0.8])
def test_token_means_cover_though_lengths_are_skewed(spread: float) -> None:
    """Log-normal lengths; plain t intervals cover 91.8% at 0.8. At a spread of 1 these cover 92.5%:
    thirty questions say too little of so long a tail."""
    rng = np.random.default_rng(4)
    lengths = rng.lognormal(0, spread, (STUDIES, QUESTIONS, 1))
    assert 0.93 <= covered(lambda i: estimates.mean(lengths[i]), np.exp(spread**2 / 2)) <= 0.97


def test_token_means_cover_where_some_replies_loop_to_the_cap() -> None:
    rng = np.random.default_rng(5)
    shape = (STUDIES, QUESTIONS, 1)
    lengths = np.where(rng.random(shape) < 0.1, 12, rng.lognormal(0, 0.5, shape))
    truth = 0.9 * np.exp(0.125) + 1.2
    assert 0.93 <= covered(lambda i: estimates.mean(lengths[i]), truth) <= 0.97


@pytest.mark.parametrize(("between", "own"), [(0.5, 0.3), (0.8, 0.4), (0.5, 0.1)])
def test_token_ratios_cover(between: float, own: float) -> None:
    rng = np.random.default_rng(6)
    question = rng.normal(0, between, (STUDIES, QUESTIONS, 1))
    base, longer = (
        np.exp(question + rng.normal(shift, own, (STUDIES, QUESTIONS, 2))) for shift in (0, 0.2)
    )
    found = covered(lambda i: estimates.paired_ratio(longer[i], base[i]), np.exp(0.2))
    assert 0.93 <= found <= 0.97


@pytest.mark.parametrize("truths", [(0.6, 0.8), (0.4, 0.9), (0.1, 0.5)])
def test_shares_that_were_kept_cover(truths: tuple[float, float]) -> None:
    rng = np.random.default_rng(7)
    one, other = (sampled(rng, chances, 2) for chances in difficulties(rng, truths, 0.5))

    def kept(i: int) -> Interval:
        correlated = estimates.correlation(one[i].mean(axis=1), other[i].mean(axis=1))
        parts = estimates.accuracy(one[i]), estimates.accuracy(other[i])
        return estimates.kept(*parts, correlated) or Interval(0, 0, np.inf)

    assert 0.93 <= covered(kept, truths[0] / truths[1]) <= 0.97


def test_a_share_of_nothing_is_not_known() -> None:
    never = estimates.accuracy([[0.0]] * 30)
    assert estimates.kept(estimates.accuracy([[1.0]] * 30), never, 0.0) is None


def test_verdicts_are_plain() -> None:
    right, wrong = np.ones((30, 1)), np.zeros((30, 1))
    same = estimates.paired_difference(right, right)
    assert (same.value, same.verdict) == (0, "no significant difference")
    assert same.low < -0.05 < 0.05 < same.high  # all right says little of thirty questions
    assert estimates.paired_difference(right, wrong).verdict == "higher"
    assert estimates.paired_difference(wrong, right).verdict == "lower"
    one = estimates.paired_difference(np.ones((1, 4)), np.zeros((1, 4)))
    assert (one.value, one.questions, one.verdict) == (1, 1, "no significant difference")


def test_unequal_questions_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="30 against 29"):
        estimates.paired_difference(np.ones((30, 1)), np.ones((29, 1)))
    with pytest.raises(ValueError, match="30 against 29"):
        estimates.paired_ratio(np.ones((30, 1)), np.ones((29, 1)))


def test_ratios_at_the_edge() -> None:
    lengths = np.array([[10.0], [20.0], [60.0]])
    assert estimates.paired_ratio(lengths, lengths) == Interval(1, 1, 1)
    doubled = estimates.paired_ratio(2 * lengths, lengths)
    assert (doubled.value, doubled.low, doubled.high) == pytest.approx((2, 2, 2))
    assert estimates.paired_ratio(lengths[:1], lengths[1:2]) == Interval(0.5, 0, np.inf)
    two = estimates.paired_ratio(lengths[:2], lengths[1:])
    assert two == Interval(two.value, 0, np.inf)  # two questions say nothing
    with pytest.raises(ValueError, match="all zero"):
        estimates.paired_ratio(lengths, 0 * lengths)


@pytest.mark.parametrize("differ", [1, 2, 3])
def test_a_ratio_goes_no_further_than_the_question_that_differs_most(differ: int) -> None:
    base = np.random.default_rng(3).uniform(50, 200, (50, 1))
    other = base.copy()
    other[:differ] *= 1.5
    found = estimates.paired_ratio(other, base)
    assert 1 < found.value < 1.1
    assert 0.9 < found.low <= found.value
    assert found.high <= 1.5 + 1e-9


def test_missing_samples_are_left_out() -> None:
    ragged = [[1.0, 0.0, 1.0], [0.0], [1.0, 1.0]]
    padded = np.full((3, 3), np.nan)
    for row, values in zip(padded, ragged, strict=True):
        row[: len(values)] = values
    assert estimates.accuracy(padded) == estimates.accuracy(ragged)
    assert estimates.mean(padded) == estimates.mean(ragged)


def test_resamples_are_the_same_each_time_and_paired() -> None:
    weights = bootstrap.resamples(7, 50, 3)
    assert weights.shape == (51, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(weights, bootstrap.resamples.__wrapped__(7, 50, 3))
    assert (weights != bootstrap.resamples(7, 50, 4)).any()
    values = np.arange(7.0)
    both = bootstrap.resampled(np.array([values, 2 * values]))
    np.testing.assert_allclose(2 * both[0], both[1], rtol=1e-6)
    assert both[0, 0] == 3


def test_percentiles_agree_with_the_t_interval_where_nothing_is_skewed() -> None:
    values = np.random.default_rng(8).normal(10, 1, 400)
    found = bootstrap.percentile(bootstrap.resampled(values[None])[0])
    expected = estimates.mean(values[:, None])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert bootstrap.percentile(np.array([np.nan, 1.0])) is None


def test_samples_of_one_question_are_not_independent() -> None:
    clustered = estimates.accuracy([[1.0] * 8] * 15 + [[0.0] * 8] * 15)
    single = estimates.accuracy([[1.0]] * 15 + [[0.0]] * 15)
    spread = estimates.accuracy([[1.0, 0.0] * 4] * 30)
    assert clustered.high - clustered.low == pytest.approx(single.high - single.low, rel=0.05)
    assert spread.high - spread.low < single.high - single.low


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_still_uncertain(value: float) -> None:
    interval = estimates.accuracy([[value]] * 40)
    assert interval.value == value
    assert interval.high - interval.low == pytest.approx(0.0876, abs=0.001)  # Wilson, n = 40


def test_wilson_by_hand() -> None:
    interval = estimates.accuracy([[1.0]] * 8 + [[0.0]] * 2)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_token_mean_by_hand() -> None:
    interval = estimates.mean([[10.0], [20.0], [30.0]])
    assert interval.value == 20
    assert interval.high - 20 == pytest.approx(4.3027 * 10 / 3**0.5, rel=1e-4)
    assert estimates.mean([[5.0, 7.0]]) == Interval(6.0, 6.0, 6.0)


def test_average_narrows_and_keeps_skew() -> None:
    part = Interval(1.0, 0.9, 1.0)
    assert estimates.average([part]) == part
    both = estimates.average([part, part])
    assert both.high == 1.0
    assert both.low == pytest.approx(1 - 0.1 / 2**0.5)


def test_collapse_is_the_first_level_below_half() -> None:
    dense, half, gone = [1.0] * 40, [1.0] * 20 + [0.0] * 20, [1.0] * 5 + [0.0] * 35
    at, low, high = estimates.collapse({0.0: dense, 0.5: half, 0.6: gone})
    assert at == 0.6  # exactly half is not below half
    assert low == 0.5
    assert high == 0.6


def test_no_collapse_is_none() -> None:
    assert estimates.collapse({0.0: [1.0] * 9, 0.5: [1.0] * 9}) == (None, None, None)


def test_a_model_that_is_always_wrong_does_not_collapse() -> None:
    assert estimates.collapse({0.0: [0.0] * 9, 0.5: [0.0] * 9})[0] is None


def test_collapse_at_other_thresholds_and_downwards() -> None:
    bits = {16.0: [1.0] * 40, 4.0: [1.0] * 30 + [0.0] * 10, 3.0: [0.0] * 40}
    assert estimates.collapse(bits, falling=True) == (3.0, 3.0, 3.0)
    assert estimates.collapse(bits, falling=True, threshold=0.9)[0] == 4.0


def test_collapse_of_many_levels_is_the_plain_one() -> None:
    """Against the definition, resample by resample."""
    rng = np.random.default_rng(9)
    scores = {level / 10: (rng.random(30) > level / 10).astype(float) for level in range(10)}
    at, low, high = estimates.collapse(scores, draws=400)
    table = np.array(list(scores.values()))
    firsts = []
    for weights in bootstrap.resamples(30, 400)[1:].astype(float):
        means = table @ weights
        below = [i for i, mean in enumerate(means) if mean < 0.5 * means[0] - 1e-6]
        firsts.append(min(below, default=len(means)))
    firsts.sort()
    assert (low, high) == (firsts[10] / 10, firsts[389] / 10)
    assert low <= at <= high
