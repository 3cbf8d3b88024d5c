"""What a search found: the points, the front, where each benchmark collapses; as files too."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experiments.search.level import HEADLINE, Level
from lrm.analysis.collapse import Collapse, collapse_of
from lrm.analysis.unsolved import empty_front, unsolved
from lrm.records.point import Budget, Interval, Point
from lrm.stats import frontier


@dataclass(frozen=True)
class Findings:
    """All levels of a study, the densest first, and their points, each with its run."""

    levels: Sequence[Level]
    points: Sequence[Point]
    budgets: Sequence[int]

    @cached_property
    def front(self) -> list[Point]:
        return frontier.pareto(self.points)

    @cached_property
    def accuracies(self) -> dict[str, dict[float, Interval]]:
        """Accuracy at the largest budget, by benchmark and sparsity."""
        largest = Budget(max(self.budgets), HEADLINE)
        accuracies: dict[str, dict[float, Interval]] = {}
        for level in self.levels:
            for name, score in level.scores(largest).items():
                accuracies.setdefault(name, {})[level.sparsity] = score.accuracy
        return accuracies

    @cached_property
    def collapses(self) -> list[Collapse]:
        """Where each benchmark falls below half of the densest level, at the largest budget."""
        largest = Budget(max(self.budgets), HEADLINE)
        return [
            collapse_of(
                {level.sparsity: level.scores(largest)[name].per_question for level in self.levels},
                name,
                largest.tokens,
                unsolved=self.unsolved.get(name, ""),
            )
            for name in self.accuracies
        ]

    @cached_property
    def unsolved(self) -> dict[str, str]:
        """The benchmarks that the densest level does not solve at the largest budget, each with
        what is to be said of it."""
        largest = Budget(max(self.budgets), HEADLINE)
        reasons = {
            name: unsolved(reading.replies.grid(largest), reading.replies.grid())
            for name, reading in self.levels[0].readings.items()
        }
        return {name: reason for name, reason in reasons.items() if reason}

    @property
    def front_note(self) -> str:
        """What is to be said of the front, if anything."""
        return empty_front([point.accuracy for point in self.front])

    def curves(self) -> dict[str, dict[int, float]]:
        """The front as metrics over its rank; its most accurate point, and its knee if any."""
        accuracy = [point.accuracy.value for point in self.front]
        tokens = [point.tokens.value for point in self.front]
        marked = {"best": len(self.front) - 1, "knee": frontier.knee(accuracy, tokens)}
        return {
            "pareto/accuracy": dict(enumerate(accuracy)),
            "pareto/tokens": dict(enumerate(tokens)),
            **{
                f"{name}/{metric}": {0: value}
                for name, at in marked.items()
                if at is not None
                for metric, value in (
                    ("accuracy", accuracy[at]),
                    ("tokens", tokens[at]),
                    ("budget", float(self.front[at].budget.tokens)),
                )
            },
        }

    def files(self) -> dict[str, bytes]:
        """The study's points and front as artifacts, by path."""
        front = [self.row(point) for point in self.front]
        return {
            "frontier/front.json": json.dumps(front, indent=1).encode(),
            "frontier/front.csv": as_csv(front),
            "frontier/points.csv": as_csv([self.row(point) for point in self.points]),
        }

    def row(self, point: Point) -> dict[str, Any]:
        """A point as one flat record."""
        return {
            "sparsity": point.sparsity,
            "sparsity_achieved": point.sparsity_achieved,
            "budget": point.budget.tokens,
            "policy": point.budget.policy,
            "accuracy": point.accuracy.value,
            "accuracy_low": point.accuracy.shown[0],
            "accuracy_high": point.accuracy.shown[1],
            "tokens_mean": point.tokens.value,
            "tokens_low": point.tokens.shown[0],
            "tokens_high": point.tokens.shown[1],
            "run_id": point.run_id,
        }


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
