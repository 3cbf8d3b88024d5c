"""What a search writes into MLflow: a run per level, a run per point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.search.level import HEADLINE, Level, generation_rows, objectives, sample_row
from lrm.digests import of_json
from lrm.records import Budget, LevelKey, Point, level_label
from tracking.runs import StudyRun


@dataclass(frozen=True)
class RunRecorder:
    """Writes levels and points of one study; what is there already is not written again.

    `points` holds those written or found, by level and budget. `shared` are the parameters of
    all runs, `method` gives those of the method at a level, `identity` is what tells this
    study's runs from others.
    """

    study: StudyRun
    shared: Mapping[str, object]
    method: Callable[[LevelKey], Mapping[str, object]]
    identity: Mapping[str, Any]
    points: dict[tuple[LevelKey, int], Point] = field(default_factory=dict)

    def level(self, level: Level) -> str:
        """Writes a level's generations, curves and measurements; returns its run id."""
        identity = self._identity(level.key)
        if known := self.study.find("level", identity):
            return known
        params = self._params(level)
        name = f"{params['model']} {self._names(level)[0]}"
        with self.study.level(identity, name, params) as run:
            for evaluation in level.evaluations:
                run.log_generations(evaluation.benchmark.name, generation_rows(evaluation))
            whole = Budget(max(level.budgets), HEADLINE)
            run.log_samples(
                sample_row(evaluation.benchmark.name, item) | {"gold": item.question.gold[0]}
                for evaluation in level.evaluations
                for item in evaluation.at(whole)
            )
            run.log_curve(level.curves())
            run.log_metrics(level.summary)
        return run.id

    def trial(self, level: Level, level_run_id: str, tokens: int, number: int) -> Point:
        """Writes the run of one point and returns the point with its run id."""
        budget = Budget(tokens, HEADLINE)
        point = level.point(budget)
        run_id = self.study.trial(
            self._identity(level.key, tokens),
            f"{self._names(level)[1]}, {tokens} tokens",
            {
                **self._params(level),
                "budget": tokens,
                "policy": budget.policy,
            },
            {**objectives(point), **level.summary, "config/budget": float(tokens)},
            number=number,
            level_run_id=level_run_id,
        )
        self.points[level.key, tokens] = replace(point, run_id=run_id)
        return self.points[level.key, tokens]

    def _names(self, level: Level) -> tuple[str, str]:
        """What the run of a level, and those of its points, are called behind the model and before
        the budget."""
        method, named = self.method(level.key)["method"], level_label(level.key)
        if isinstance(level.key, str):
            return (named if method == "none" else f"{method} {named}"), named
        return ("dense", "dense") if method == "none" else (f"{method} {named}", f"{named} sparse")

    def _params(self, level: Level) -> dict[str, object]:
        return {**self.shared, **self.method(level.key), "loaded_as": level.loaded_as}

    def _identity(self, *place: LevelKey) -> str:
        return of_json([dict(self.identity), *place])
