"""How a level is made and measured: the model, its calibration, its questions, their replies."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from experiments.cli.calibration_source import CalibrationSource
from experiments.cli.method_choice import Choice
from experiments.cli.progress import Progress, say
from experiments.coordination.leases import Leases
from experiments.models.conversion import runnable
from experiments.models.resolve import Model
from experiments.search.calibrating import Calibrating
from experiments.search.engine_cache import EngineCache
from experiments.search.level import Level
from experiments.search.level_files import LevelFiles
from experiments.search.text_quality import TextQuality, TextQualityMeter
from lrm.compression.checkpoint.receipt import is_complete
from lrm.compression.streaming.load import device
from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import Engine
from lrm.digests import of_json
from lrm.errors import DamagedModel
from lrm.generation import calibration
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Calibration, Checkpoint, LevelKey, level_label
from lrm.records.question import Question, Track
from lrm.records.reply import Decoding
from lrm.report.reading import read
from lrm.scoring.grading import graded_replies


@dataclass
class WorkDone:
    """What a search did: replies found in the store and decoded, and checkpoints made, by the name
    of their method."""

    reused: int = 0
    decoded: int = 0
    made: Counter[str] = field(default_factory=Counter)


Opened = TypeVar("Opened")


@dataclass
class LevelEvaluator:
    """Measures one level after the other; what it makes is kept in `checkpoints` and `folder`.

    Checkpoints are found again by what they are made from, replies by what was asked, so a second
    evaluator over the same folder repeats nothing, nor does one that works there at the same time:
    what both need is made under a lease of `heartbeat` seconds. `first` names what was done to the
    model before, if anything was. `windows` is on how many of each text perplexity is measured (see
    `SearchSettings`). `done` counts for this evaluator and all that are made of it with
    `dataclasses.replace`.
    """

    folder: Path
    checkpoints: Path
    model: Model
    method: Choice
    engine_cache: EngineCache
    questions: Mapping[Benchmark, Sequence[Question]]
    decoding: Decoding
    track: Track
    closing: str
    keys: Sequence[LevelKey]
    budgets: Sequence[int]
    progress: Progress
    first: str = ""
    system: str | None = None
    windows: int | None = 0
    heartbeat: float = 30.0
    done: WorkDone = field(default_factory=WorkDone)
    _calibrations: dict[CalibrationSource, Calibration] = field(default_factory=dict, init=False)

    def measure(
        self,
        key: LevelKey,
        files: LevelFiles | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Level:
        """Compresses to a level if need be, and answers all questions at all budgets.

        Every reply is read and graded once, and goes to `files`, if given, on its way. `check` is
        called after each reply, and may end it by an exception.
        """
        # 1) The checkpoint, in a format that the engine runs.
        checkpoint, runnable_checkpoint = self._intact(key, self._opened_and_runnable)
        quality = self._quality(key, checkpoint)
        asked = sum(map(len, self.questions.values())) * self.decoding.samples
        self.progress.stage(f"{self.method.axis} {level_label(key):>4}", asked)
        engine = self.engine_cache.on(runnable_checkpoint)

        def arrived(tokens: int, forced: bool) -> None:
            self.progress.reply(tokens, forced)
            check()

        with self._reply_cache("generations", runnable_checkpoint, engine) as cache:
            # 2) The replies, each decoded unless the cache has it.
            try:
                evaluations = evaluate(
                    self.questions,
                    self.decoding,
                    self.budgets,
                    cache,
                    engine,
                    arrived,
                    self.track,
                    self.closing,
                    self.system,
                    self.progress.writing,
                )
            finally:
                self.done.reused += cache.reused
                self.done.decoded += cache.decoded
            # 3) One pass over them, in order: what a run stores, and what stays in memory.
            readings = {}
            for evaluation in evaluations:
                name, replies = evaluation.benchmark.name, graded_replies(evaluation)
                readings[name] = read(files.written(name, replies) if files else replies, "tokens")
        loaded_as = runnable_checkpoint.format
        return Level(key, checkpoint, readings, self.budgets, loaded_as, quality)

    def _quality(self, key: LevelKey, checkpoint: Checkpoint) -> TextQuality:
        """What running text says of a level; an embedded model knows no such text."""
        if self.model.embedded or self.windows == 0:
            return TextQuality()
        self.progress.stage(f"perplexity {level_label(key):>4}")
        rows = None if key == self.method.untouched else self.calibration(key)
        return self._meter.measured(checkpoint, rows)

    @cached_property
    def _meter(self) -> TextQualityMeter:
        def make_room() -> None:
            if device() == "cuda":
                self.engine_cache.rest()

        folder, dense = self.folder / "perplexity", self.model.checkpoint
        return TextQualityMeter(folder, dense, make_room, self.windows)

    def counts(self) -> dict[str, int]:
        """What was done so far: replies, tokens and checkpoints."""
        counted = {"reused": self.done.reused, "decoded": self.done.decoded}
        return counted | {"pruned": self.done.made.total(), "tokens": self.progress.decoded}

    def checkpoint(self, key: LevelKey) -> Checkpoint:
        """The model at a level, which may be the model itself. All levels are made in one pass."""
        return self._intact(key, self._opened)

    def _intact(self, key: LevelKey, opened: Callable[[LevelKey], Opened]) -> Opened:
        """What `opened` makes of a level whose checkpoint is there, made again if it is damaged.

        The model itself is not ours to make again.
        """
        path = None if key == self.method.untouched else self._folder_of(key)
        if path and not is_complete(path):
            with self._lease(self.checkpoints, "compresses the model"):
                self._compress()
        try:
            return opened(key)
        except DamagedModel as error:
            if path is None:
                raise
            damage = str(error)
        with self._lease(self.checkpoints, "compresses the model"):
            with suppress(DamagedModel):
                return opened(key)  # another worker has made it again
            say(f"{damage} This is one of the search's own, so it is made again.")
            discarded = path.with_name(f".{path.name}.damaged")
            shutil.rmtree(discarded, ignore_errors=True)
            path.rename(discarded)
            shutil.rmtree(discarded)
            self._compress()
        return opened(key)

    def _opened(self, key: LevelKey) -> Checkpoint:
        if key == self.method.untouched:
            return self.model.checkpoint
        return self.method.open(self._folder_of(key))

    def _opened_and_runnable(self, key: LevelKey) -> tuple[Checkpoint, Checkpoint]:
        """A level's checkpoint, and what the engine runs of it."""
        checkpoint = self._opened(key)
        return checkpoint, self._runnable(checkpoint)

    def _compress(self) -> None:
        """Makes the levels that are missing."""
        self.progress.stage("compressing all levels")
        wanted = [level for level in self.keys if level != self.method.untouched]
        missing = [level for level in wanted if not is_complete(self._folder_of(level))]
        by_source = sorted(missing, key=lambda level: str(self.method.source(level)))
        for _, levels in groupby(by_source, key=self.method.source):
            outs = {level: self._folder_of(level) for level in levels}
            rows = self.calibration(next(iter(outs)))
            if device() == "cuda":
                self.engine_cache.rest()
            self.method.apply(self.model.checkpoint, rows, outs, self.progress.module)
            self.done.made[self.method.name] += len(outs)

    def calibration(self, key: LevelKey) -> Calibration | None:
        """What the method is calibrated on at a level, or None if on nothing."""
        source = self.method.source(key)
        if source is None:
            return None
        if source not in self._calibrations:
            self._calibrations[source] = self._calibrated_on(source)
        return self._calibrations[source]

    def _calibrated_on(self, source: CalibrationSource) -> Calibration:
        if not source.reasons:
            return self._calibrating.read(source)
        self.progress.stage("own reasoning for calibration")
        with self.dense() as (engine, cache):
            return calibration.own_reasoning(
                self.model.checkpoint,
                self._calibrating.size(source),
                self._calibrating.asked(source),
                self.decoding,
                cache,
                engine,
                self.progress.reply,
            )

    @property
    def practice_twins(self) -> list[Benchmark]:
        """Whose practice questions an embedded model reasons on for calibration."""
        return self._calibrating.twins

    @property
    def _calibrating(self) -> Calibrating:
        return Calibrating(self.model, self.questions, self.decoding, self.track, self.system)

    @contextmanager
    def dense(self) -> Iterator[tuple[Engine, ReplyCache]]:
        """The engine on the model itself, and its replies to what no benchmark asks."""
        checkpoint = self._runnable(self.model.checkpoint)
        engine = self.engine_cache.on(checkpoint)
        with (
            self._lease(self.folder / "calibration", "decodes replies to calibrate on"),
            self._reply_cache("calibration", checkpoint, engine) as cache,
        ):
            yield engine, cache

    def method_params(self, key: LevelKey) -> Mapping[str, object]:
        """The method's parameters at a level; the model itself had none applied, or the `first`."""
        begun = {"first_revision": self.model.checkpoint.revision} if self.first else {}
        if key == self.method.untouched:
            return {"method": self.first or "none", self.method.axis: key, **begun}
        rows = self.calibration(key)
        size = {} if rows is None else {"calibration_rows": len(rows.rows)}
        return {**self.method.params(key, rows), **size, **begun}

    def _folder_of(self, key: LevelKey) -> Path:
        identity = {
            "parent": self.model.checkpoint.revision,
            "method": self.method.params(key, self.calibration(key)),
        }
        return self.checkpoints / of_json(identity)[:24]

    def _runnable(self, checkpoint: Checkpoint) -> Checkpoint:
        return runnable(checkpoint, self.engine_cache.choice, self.folder / "gguf", self.heartbeat)

    def _lease(self, folder: Path, does: str) -> AbstractContextManager[None]:
        """Holds what is made of the model in a folder."""
        return Leases(folder, self.heartbeat).hold(f".{self.model.checkpoint.revision[:24]}", does)

    def _reply_cache(self, folder: str, checkpoint: Checkpoint, engine: Engine) -> ReplyCache:
        return ReplyCache(self.folder / folder, checkpoint, self.decoding, engine.identity)
