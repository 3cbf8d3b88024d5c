"""The bootstrap is the same each time, and agrees with closed forms where there are some."""

from __future__ import annotations

import numpy as np
import pytest

from lrm.stats import bootstrap, intervals


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
    interval = bootstrap.percentile(bootstrap.resampled(values[None])[0])
    expected = intervals.mean(values[:, None])
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert bootstrap.percentile(np.array([np.nan, 1.0])) is None
