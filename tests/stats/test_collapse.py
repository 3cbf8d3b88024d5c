"""Collapse points are where they should be."""

from __future__ import annotations

import numpy as np

from lrm.stats import bootstrap
from lrm.stats.collapse import collapse_level


def test_collapse_is_the_first_level_below_half() -> None:
    dense, half, gone = [1.0] * 40, [1.0] * 20 + [0.0] * 20, [1.0] * 5 + [0.0] * 35
    at, low, high = collapse_level({0.0: dense, 0.5: half, 0.6: gone})
    assert at == 0.6  # exactly half is not below half
    assert low == 0.5
    assert high == 0.6


def test_no_collapse_is_none() -> None:
    assert collapse_level({0.0: [1.0] * 9, 0.5: [1.0] * 9}) == (None, None, None)


def test_a_model_that_is_always_wrong_does_not_collapse() -> None:
    assert collapse_level({0.0: [0.0] * 9, 0.5: [0.0] * 9})[0] is None


def test_collapse_at_other_thresholds_and_downwards() -> None:
    bits = {16.0: [1.0] * 40, 4.0: [1.0] * 30 + [0.0] * 10, 3.0: [0.0] * 40}
    assert collapse_level(bits, falling=True) == (3.0, 3.0, 3.0)
    assert collapse_level(bits, falling=True, threshold=0.9)[0] == 4.0


def test_collapse_of_many_levels_is_the_plain_one() -> None:
    """Against the definition, resample by resample."""
    rng = np.random.default_rng(9)
    scores = {level / 10: (rng.random(30) > level / 10).astype(float) for level in range(10)}
    at, low, high = collapse_level(scores, draws=400)
    table = np.array(list(scores.values()))
    firsts = []
    for weights in bootstrap.resamples(30, 400)[1:].astype(float):
        means = table @ weights
        below = [i for i, mean in enumerate(means) if mean < 0.5 * means[0] - 1e-6]
        firsts.append(min(below, default=len(means)))
    firsts.sort()
    assert (low, high) == (firsts[10] / 10, firsts[389] / 10)
    assert low <= at <= high
