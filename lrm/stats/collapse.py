"""The level of compression at which accuracy collapses, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lrm.stats.bootstrap import DRAWS, LEVEL, SEED, Floats, resampled

HALF = 0.5
"""A model has collapsed where it keeps less than this share of the dense model's accuracy."""


def collapse_level(
    scores: Mapping[float, Sequence[float] | NDArray[np.floating]],
    *,
    threshold: float = HALF,
    falling: bool = False,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[float | None, float | None, float | None]:
    """First level at which accuracy falls below a `threshold` share of the dense one's.

    `scores` maps a level to one score in [0, 1] per question, the same questions in the same order.
    Levels (say, sparsities) run from the lowest, which is the dense one, up; with `falling` (say,
    bits per weight) from the highest down. Returns the level and both ends of its 95% interval, by
    paired bootstrap over questions (fixed seed). None stands for "not within the levels measured".
    """
    levels = sorted(scores, reverse=falling)
    table = np.array([scores[level] for level in levels], dtype=np.float32)
    exact = table.mean(axis=1, dtype=np.float64, keepdims=True)
    estimate = int(_first_below(exact, threshold)[0])
    drawn = np.sort(_first_below(resampled(table, draws, seed)[:, 1:], threshold))
    low, high = (int(drawn[round(q * (draws - 1))]) for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    ends = [*levels, None]
    return ends[estimate], ends[min(low, estimate)], ends[max(high, estimate)]


def _first_below(accuracies: Floats, threshold: float) -> NDArray[np.int64]:
    """Row index [columns] of the first accuracy [levels, columns] below that share of row 0's."""
    below = accuracies < threshold * accuracies[0] - 1e-6
    return np.where(below.any(axis=0), below.argmax(axis=0), len(below))
