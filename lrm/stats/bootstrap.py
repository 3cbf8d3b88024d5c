"""The bootstrap over questions, with a fixed seed: for what has no interval in closed form.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 and 13.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray

from lrm.records.point import Interval

LEVEL = 0.95
"""Of every interval in this project."""

DRAWS = 2000
SEED = 0

Floats = NDArray[np.float64]


@lru_cache(maxsize=4)
def resamples(questions: int, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.float32]:
    """Weights [draws + 1, questions] of a bootstrap over questions, each row summing to 1.

    The first row is no resample but the questions as they are. The weights are the same for the
    same arguments, so everything resampled with them is paired.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((draws + 1, questions), np.float32)
    weights[0] = 1
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(questions, size=questions), minlength=questions)
    weights /= questions
    weights.setflags(write=False)
    return weights


def resampled(values: NDArray[np.floating], draws: int = DRAWS, seed: int = SEED) -> Floats:
    """Means [quantities, draws + 1] of `values` [quantities, questions] over each resample of the
    questions (`resamples`); the first column is of the questions as they are."""
    weights = resamples(values.shape[1], draws, seed)
    means = (values.astype(np.float32) @ weights.T).astype(np.float64)
    # The product is in float32; the estimate itself is kept exact.
    means[:, 0] = values.mean(axis=1, dtype=np.float64)
    return means


def percentile(values: Floats, freedom: float = inf) -> Interval | None:
    """95% percentile interval of a statistic from its values [draws + 1] on `resampled` means.

    The first value is the estimate. Draws on which the statistic is not defined (NaN) are left out.
    None if the estimate is NaN. `freedom` as in `Interval`.
    """
    estimate = float(values[0])
    if np.isnan(estimate):
        return None
    defined = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), freedom)
