"""Accuracy and length in one number, as the literature defines it.

* **Accuracy per 1,000 tokens**: the mean accuracy over the mean tokens, in percentage points.
* **OckScore** (OckBench, arXiv 2511.05722): accuracy in percent - 10 log(tokens / 10,000 + 1), the
  logarithm being natural as in the authors' code (github.com/OckBench/OckBench,
  `src/core/scoring.py`); an earlier leaderboard on their site was computed with the decimal one.
* **AES** (O1-Pruner, arXiv 2501.12570): against the base model, relative shortening + 3 times the
  relative gain in accuracy, or - 5 times the relative loss.

Intervals are by bootstrap over questions. Where every reply is correct (or wrong), they know of the
lengths alone, and are too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrm.records.point import Interval
from lrm.scoring.grid import Grid
from lrm.stats import bootstrap
from lrm.stats.bootstrap import Floats

GAIN, LOSS = 3.0, 5.0
"""AES: how much more a relative gain or loss of accuracy counts than relative shortening."""


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Scores of one setting on one benchmark.

    A score is None where it is not defined: there is nothing to divide by, no base, or a base that
    is never correct.
    """

    per_thousand: Interval | None
    ock_score: Interval | None
    aes: Interval | None


def efficiency(grid: Grid, base: Grid | None = None) -> Efficiency:
    """Scores of a grid whose lengths are in tokens. `base` is the base model's grid on the same
    questions in the same order (`lrm.analysis.compare.aligned`)."""
    quantities = [grid.per_question(values) for values in (grid.score, grid.tokens)]
    if base is not None:
        quantities += [base.per_question(values) for values in (base.score, base.tokens)]
    means = bootstrap.resampled(np.array(quantities))
    freedom = len(grid.questions) - 1
    return Efficiency(
        per_thousand=bootstrap.percentile(per_thousand(means[0], means[1]), freedom),
        ock_score=bootstrap.percentile(ock_score(means[0], means[1]), freedom),
        aes=None if base is None else bootstrap.percentile(aes(*means), freedom),
    )


def per_thousand(accuracy: Floats, tokens: Floats) -> Floats:
    """Percentage points of accuracy per 1,000 tokens, each [draws + 1]; NaN where there are no
    tokens."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(tokens > 0, 1e5 * accuracy / tokens, np.nan)


def ock_score(accuracy: Floats, tokens: Floats) -> Floats:
    """`accuracy` in [0, 1], `tokens` per question; at most 100."""
    return np.asarray(100 * accuracy - 10 * np.log(tokens / 10_000 + 1))


def aes(accuracy: Floats, tokens: Floats, base_accuracy: Floats, base_tokens: Floats) -> Floats:
    """0 for the base itself, higher is better; NaN where the base has nothing to lose."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shorter = (base_tokens - tokens) / base_tokens
        better = (accuracy - base_accuracy) / base_accuracy
    score = shorter + np.where(better >= 0, GAIN, LOSS) * better
    return np.where(np.isfinite(score), score, np.nan)
