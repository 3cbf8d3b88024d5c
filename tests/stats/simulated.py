"""Simulated studies: how often an interval holds the truth that it was drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lrm.records.point import Interval
from lrm.stats.paired import Difference

QUESTIONS = 30
STUDIES = 2000


def covered(interval: Callable[[int], Interval | Difference], truth: float) -> float:
    """How often the interval of a simulated study holds the truth."""
    return float(
        np.mean(
            [estimate.low <= truth <= estimate.high for estimate in map(interval, range(STUDIES))]
        )
    )


def difficulties(
    rng: np.random.Generator, truths: Sequence[float], alike: float
) -> list[NDArray[np.float64]]:
    """Chances [studies, questions] that each of two models is right, with these means (beta), which
    go along with one another as far as `alike` says."""
    shared = rng.standard_normal((STUDIES, QUESTIONS))
    chances = []
    for truth in truths:
        own = rng.standard_normal(shared.shape)
        ranks = stats.norm.cdf(np.sqrt(alike) * shared + np.sqrt(1 - alike) * own)
        chances.append(stats.beta.ppf(ranks, 2 * truth, 2 * (1 - truth)))
    return chances


def sampled(
    rng: np.random.Generator, chances: NDArray[np.float64], samples: int
) -> NDArray[np.float64]:
    """Scores [studies, questions, samples]."""
    return (rng.random((*chances.shape, samples)) < chances[..., None]).astype(float)
