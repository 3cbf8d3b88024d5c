"""The job of a search: what is asked of which model, checked before anything is written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cli.calibration_source import CalibrationSource
from experiments.cli.engine_choice import EngineChoice, parse_engine
from experiments.cli.method_choice import Choice, parse_method
from experiments.cli.progress import Progress
from experiments.cli.settings import SearchSettings, Settings
from experiments.models.conversion import find_runnable, made
from experiments.models.decoding import check_system, decoding_of
from experiments.models.resolve import Model
from experiments.search.axis import SearchAxis
from experiments.search.calibrating import Calibrating
from experiments.search.engine_cache import EngineCache
from experiments.search.identity import identity_of
from experiments.search.level_evaluator import LevelEvaluator
from experiments.search.open_study import open_search
from experiments.search.pruning_first import FirstMethod, parse_first
from experiments.search.study import SharedStudy
from lrm import registry
from lrm.contracts.benchmark import Benchmark
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.records.question import Question
from lrm.records.reply import Decoding
from lrm.scoring.truncation import TRUNCATION
from tracking.address import project_root
from tracking.database_files import sqlite_uri
from tracking.names import LONGEST_NAME, allowed_name, check_name
from tracking.store import Store, open_store


def sparsity_axis(settings: Settings) -> SearchAxis:
    method = parse_method(settings.method, settings.sparsity)
    return SearchAxis(method, settings.method, settings.sparsity)


@dataclass(frozen=True)
class Job:
    """One search: its settings, and what they come to. `root` is the project's folder, `folder`
    where replies, checkpoints and leases are."""

    settings: SearchSettings
    axis: SearchAxis
    root: Path
    folder: Path
    engine: EngineChoice
    first: FirstMethod | None
    model: Model
    questions: Mapping[Benchmark, Sequence[Question]]
    decoding: Decoding
    identity: dict[str, Any]
    name: str

    @property
    def wanted(self) -> int:
        """How many levels are to be measured, in all."""
        return min(self.settings.trials or len(self.axis.keys), len(self.axis.keys))

    @property
    def params(self) -> dict[str, object]:
        """Parameters that every run of the study logs."""
        settings, decoding = self.settings, self.decoding
        return {
            "model": self.model.name,
            "model_revision": self.model.checkpoint.revision,
            "model_format": self.model.checkpoint.format,
            "method": self.axis.method.name,
            **({"first": settings.first} if settings.first else {}),
            "benchmarks": ",".join(settings.benchmarks),
            "track": settings.track,
            "truncation": TRUNCATION,
            "questions": settings.questions,
            "samples": settings.samples,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "max_tokens": decoding.max_tokens,
            "answer_tokens": decoding.answer_tokens,
            "seed": settings.seed,
            "engine": self.identity["engine"],
            "closing": settings.closing,
            **({} if settings.system is None else {"system": settings.system or "(empty)"}),
            **{f"rows/{name}": digest for name, (_, digest) in self.identity["benchmarks"].items()},
        }

    @property
    def tags(self) -> dict[str, str]:
        """What the study's run alone is tagged with."""
        note = {"note": self.settings.note} if self.settings.note else {}
        return {"model": self.model.name, **note}

    def store(self) -> Store:
        """The store of its runs."""
        return open_store(self.settings.tracking_uri, self.root, team=self.settings.team)

    def search(self, store: Store) -> AbstractContextManager[SharedStudy]:
        """Its study in Optuna, which other workers may be on."""
        storage = self.settings.storage or sqlite_uri(self.root / "mlruns" / "optuna.db")
        return open_search(
            self.name,
            storage,
            self.folder / "studies",
            self.identity,
            self.axis.keys,
            self.settings.budgets,
            self.settings.seed,
            self.axis.method.axis,
            self.axis.objectives,
            self.settings.heartbeat,
            one_host=any(address.startswith("sqlite") for address in (storage, store.uri)),
        )

    def evaluator(self, engine_cache: EngineCache, progress: Progress) -> LevelEvaluator:
        """What makes and measures its levels."""
        return LevelEvaluator(
            folder=self.folder,
            checkpoints=self.settings.checkpoints or self.folder / "checkpoints",
            model=self.model,
            method=self.axis.method,
            engine_cache=engine_cache,
            questions=self.questions,
            decoding=self.decoding,
            track=self.settings.track,
            closing=self.settings.closing,
            system=self.settings.system,
            windows=self.settings.windows,
            keys=self.axis.keys,
            budgets=self.settings.budgets,
            progress=progress,
            heartbeat=self.settings.heartbeat,
        )


def prepare(settings: SearchSettings, axis: SearchAxis, root: Path | None = None) -> Job:
    """The job, of which everything is kept in mlruns/ under `root`, the project's folder, unless
    the settings say otherwise. Raises BadInput if it cannot be done."""
    root = root or project_root()
    engine = parse_engine(settings.engine)
    first = parse_first(settings.first) if settings.first else None
    model = open_model(settings, axis, engine, first)
    decoding = decoding_of(settings, model)
    questions = load_questions(settings)
    calibrating = Calibrating(model, questions, decoding, settings.track, settings.system)
    sources = sources_of(axis, first)
    for source in sources:
        calibrating.check(source)
    run_by = made(engine, model.checkpoint).identity
    identity = identity_of(settings, axis, calibrating, sources, run_by)
    name = settings.study or default_name(model, first, axis.method, identity)
    check_name(name, "a study")
    return Job(
        settings=settings,
        axis=axis,
        root=root,
        folder=settings.folder or root / "mlruns",
        engine=engine,
        first=first,
        model=model,
        questions=questions,
        decoding=decoding,
        identity=identity,
        name=name,
    )


def sources_of(axis: SearchAxis, first: FirstMethod | None) -> set[CalibrationSource]:
    """What the levels are calibrated on, and the model before them."""
    method = axis.method
    sources = {method.source(key) for key in axis.keys if key != method.untouched}
    if first:
        sources.add(first.method.source(first.sparsity))
    return {source for source in sources if source is not None}


def open_model(
    settings: SearchSettings, axis: SearchAxis, engine: EngineChoice, first: FirstMethod | None
) -> Model:
    """The model. BadInput if what is asked cannot be done with it, where possible before its
    weights are fetched."""
    sparsity = [key for key in axis.keys if not isinstance(key, str)]
    located = find_runnable(settings.model, engine, sparsity)
    if first:
        first.check(located)
    model = located.open()
    if settings.track == "chat" and not model.has_chat_template:
        raise BadInput(f"{model.name} has no chat template: ask with --track paper.")
    check_system(settings, model)
    if first:
        first.method.check(model.checkpoint)
    if axis.compresses:
        axis.method.check(model.checkpoint)
    return model


def default_name(
    model: Model, first: FirstMethod | None, method: Choice, identity: dict[str, Any]
) -> str:
    """A study's name from what is done in it: the same flags, the same name.

    Of the model's name it has what a study's may have.
    """
    done = [first.label, method.name] if first else [method.name]
    ending = "-".join(["", *done, of_json(identity)[:6]])
    return allowed_name(model.name, "model", LONGEST_NAME - len(ending)) + ending


def load_questions(settings: SearchSettings) -> dict[Benchmark, list[Question]]:
    """The first questions of each benchmark; says on stderr where a set has fewer."""
    questions = {}
    for name in settings.benchmarks:
        benchmark = registry.benchmark(name)
        questions[benchmark] = benchmark.load(settings.questions)
        if len(questions[benchmark]) < settings.questions:
            print(
                f"{benchmark.name} has {len(questions[benchmark])} questions; all are asked.",
                file=sys.stderr,
            )
    return questions
