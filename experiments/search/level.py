"""One level of compression, measured: its checkpoint, its replies, and the numbers logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from experiments.search.text_quality import TextQuality
from lrm.records.model import Checkpoint, Format, LevelKey
from lrm.records.point import Budget, Point, Policy
from lrm.report.reading import BenchmarkReading
from lrm.scoring.scores import Score, interval, logged, score
from lrm.stats import intervals

HEADLINE: Policy = "force"


@dataclass(frozen=True)
class Level:
    """A checkpoint at one level, with every benchmark's replies and all budgets in them.

    `readings` has what stays in memory of the replies, by benchmark. `loaded_as` is how its weights
    were stored when the engine loaded them: converted, or unpacked, where the engine does not run
    them as they are. `quality` is what running text says of a real model.
    """

    key: LevelKey
    checkpoint: Checkpoint
    readings: Mapping[str, BenchmarkReading]
    budgets: Sequence[int]
    loaded_as: Format = "dense"
    quality: TextQuality = field(default_factory=TextQuality)
    _scores: dict[Budget, dict[str, Score]] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """The sparsity asked for: none where the levels are recipes."""
        return 0.0 if isinstance(self.key, str) else self.key

    @property
    def achieved(self) -> float | None:
        """The share of zeros that was measured; None where weights are packed, or not here."""
        return self.checkpoint.measured.get("sparsity/achieved")

    @property
    def questions(self) -> dict[str, int]:
        """How many were asked, by benchmark."""
        return {name: len(reading.replies.questions) for name, reading in self.readings.items()}

    def scores(self, budget: Budget) -> Mapping[str, Score]:
        """Scores by benchmark."""
        if budget not in self._scores:
            self._scores[budget] = {
                name: score(reading.replies, budget) for name, reading in self.readings.items()
            }
        return self._scores[budget]

    def point(self, budget: Budget) -> Point:
        """The mean over benchmarks, as one point of the plane, not yet recorded in a run."""
        scores = self.scores(budget).values()
        return Point(
            sparsity=self.sparsity,
            sparsity_achieved=self.achieved,
            budget=budget,
            accuracy=intervals.average([score.accuracy for score in scores]),
            tokens=intervals.average([score.tokens for score in scores]),
            run_id="",
            level=self.key if isinstance(self.key, str) else "",
            weights_bytes=self.checkpoint.measured.get("weights/bytes"),
        )

    def curves(self) -> dict[str, dict[int, float]]:
        """Every metric over the budgets: the headline policy's by plain name, the other's under
        its own."""
        curves: dict[str, dict[int, float]] = {}
        for policy in get_args(Policy):
            prefix = "" if policy == HEADLINE else f"{policy}/"
            for tokens in self.budgets:
                for name, value in self.metrics(Budget(tokens, policy)).items():
                    curves.setdefault(prefix + name, {})[tokens] = value
        return curves

    def metrics(self, budget: Budget) -> dict[str, float]:
        """One budget's numbers, over all benchmarks and for each."""
        return logged(self.scores(budget))

    @property
    def summary(self) -> dict[str, float]:
        """What does not depend on the budget."""
        measured = {**self.checkpoint.measured, **self.quality.metrics}
        return {**measured, "config/sparsity": self.sparsity}


def objectives(point: Point) -> dict[str, float]:
    """A point's numbers under the names they are logged by."""
    return interval("accuracy", point.accuracy) | {
        "tokens/mean": point.tokens.value,
        "tokens/low": point.tokens.low,
        "tokens/high": point.tokens.high,
    }
