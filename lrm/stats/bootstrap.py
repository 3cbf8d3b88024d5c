"""The bootstrap over questions, with a fixed seed: for what has no interval in closed form."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lrm.records import Interval

LEVEL = 0.95
DRAWS = 2000
SEED = 0

Floats = NDArray[np.float64]


@lru_cache(maxsize=4)
def resamples(questions: int, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.float32]:
    """Weights [draws, questions] of a bootstrap over questions, each row of them summing to 1.

    The first row is no resample but the questions as they are. The same for the same arguments, so
    that everything resampled with it is paired.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((draws + 1, questions), np.float32)
    weights[0] = 1
    for row in weights[1:]:
        row[:] = np.bincount(rng.integers(questions, size=questions), minlength=questions)
    weights /= questions
    weights.setflags(write=False)
    return weights


def resampled(means: NDArray[np.floating], draws: int = DRAWS, seed: int = SEED) -> Floats:
    """Means [quantities, draws + 1] of `means` [quantities, questions] over each resample of the
    questions (`resamples`); the first column is of the questions as they are."""
    weights = resamples(means.shape[1], draws, seed)
    found = (means.astype(np.float32) @ weights.T).astype(np.float64)
    found[:, 0] = means.mean(axis=1, dtype=np.float64)
    return found


def percentile(values: Floats) -> Interval | None:
    """95% interval of a statistic from its values on `resampled` means, the first of which is the
    estimate. Draws on which it is not defined (NaN) are left out; None if the estimate is NaN."""
    value = float(values[0])
    if np.isnan(value):
        return None
    found = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))
