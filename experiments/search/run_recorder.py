"""What a search writes into MLflow: a run per level, a run per point."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.reporting.variants import Readings
from experiments.search.level import HEADLINE, Level, objectives
from experiments.search.level_files import LevelFiles
from lrm.digests import of_json
from lrm.records.model import LevelKey, level_label
from lrm.records.point import Budget, Point
from tracking.runs import LevelRun, StudyRun


@dataclass(frozen=True)
class RunRecorder:
    """Writes levels and points of one study; what is there already is not written again.

    `points` holds those written or found, by level and budget; `written` what is in memory of the
    levels that this process wrote, by run id. `shared` are the parameters of all runs, `method`
    gives those of the method at a level, `identity` is what tells this study's runs from others.
    """

    study: StudyRun
    shared: Mapping[str, object]
    method: Callable[[LevelKey], Mapping[str, object]]
    identity: Mapping[str, Any]
    points: dict[tuple[LevelKey, int], Point] = field(default_factory=dict)
    written: dict[str, Readings] = field(default_factory=dict)

    @contextmanager
    def files(self, key: LevelKey, budget: int) -> Iterator[LevelFiles | None]:
        """Where a level's replies are written until `level` takes them; None where its run is there
        already, with its artifacts. `budget` is the largest."""
        known = self.study.find("level", self._identity(key))
        if known and self.study.is_whole(known):
            yield None
            return
        with tempfile.TemporaryDirectory() as folder:
            yield LevelFiles(Path(folder), budget)

    def level(self, level: Level, files: LevelFiles | None) -> str:
        """Writes a level's generations, curves and measurements; returns its run id. Artifacts that
        a finished run has lost are written again."""
        identity = self._identity(level.key)
        if known := self.study.find("level", identity):
            if files and not self.study.is_whole(known):
                self._attach(self.study.finished_level(known), level, files)
            return known
        assert files, "only a level that is recorded already has no files"
        params = self._params(level)
        name = f"{params['model']} {self._names(level)[0]}"
        with self.study.level(identity, name, params) as run:
            self._attach(run, level, files)
            run.log_curve(level.curves())
            run.log_metrics(level.summary)
        return run.id

    def _attach(self, run: LevelRun, level: Level, files: LevelFiles) -> None:
        for benchmark, path in files.generations.items():
            run.attach_generations(benchmark, path)
        run.log_samples(files.samples)
        self.written[run.id] = level.readings

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
        own = {**self.method(level.key), **level.quality.params, "loaded_as": level.loaded_as}
        return {**self.shared, **own}

    def _identity(self, *point: LevelKey) -> str:
        return of_json([dict(self.identity), *point])
