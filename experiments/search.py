"""The search: asks the study for a level, measures it, records it, tells every budget."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments import reporting
from experiments.chain import First, parse_first
from experiments.engines import EngineChoice, parse_engine
from experiments.findings import Findings
from experiments.lab import Lab
from experiments.levels import Key, Level
from experiments.methods import Choice, parse_method
from experiments.models import Model
from experiments.progress import Progress
from experiments.runnable import find_runnable
from experiments.scribe import Scribe
from experiments.settings import SearchSettings, Settings
from experiments.study import Search, open_search
from experiments.variants import of_study
from experiments.warm import Warm
from lrm import registry
from lrm.contracts import Benchmark
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.frontier import hypervolume
from lrm.judging import TRUNCATION
from lrm.records import Decoding, Question
from tracking.address import project_root
from tracking.runs import StudyRun
from tracking.store import Store, open_store


@dataclass(frozen=True)
class Axis:
    """What a search varies beside the budget: the levels of a method, in their order. `text` is the
    method as it was named, `objectives` how many of Optuna's there are."""

    method: Choice
    text: str
    keys: Sequence[Key]
    objectives: int = 2
    findings: type[Findings] = Findings

    @property
    def compresses(self) -> bool:
        """Whether any level is not the model itself."""
        return any(key != self.method.untouched for key in self.keys)


def sparsity_axis(settings: Settings) -> Axis:
    method = parse_method(settings.method, settings.sparsity)
    return Axis(method, settings.method, settings.sparsity)


@dataclass(frozen=True)
class Outcome:
    """A search's findings, what they cost, where they are kept, and where the report lies."""

    study: str
    run_id: str
    findings: Findings
    levels_found: int
    lab: Lab
    record: Store
    page: str


def run(settings: SearchSettings, axis: Axis, root: Path | None = None) -> Outcome:
    """Runs or continues one search; keeps everything in mlruns/ under `root`, the project's folder.

    All input is checked before anything is written.
    """
    root = root or project_root()
    folder = root / "mlruns"
    engine = parse_engine(settings.engine)
    first = parse_first(settings.first) if settings.first else None
    method = axis.method
    model = open_model(settings, axis, engine, first)
    questions = load_questions(settings)
    decoding = Decoding(
        max_tokens=max(settings.budgets) + model.answer_tokens,
        answer_tokens=model.answer_tokens,
        seed=settings.seed,
        samples=settings.samples,
    )
    identity = identity_of(settings, axis, model, questions, engine.made(model.checkpoint).identity)
    name = settings.study or default_name(model, first, method, identity)
    storage = settings.storage or f"sqlite:///{folder / 'optuna.db'}"
    record = open_store(settings.tracking_uri, root, team=settings.team)
    params = params_of(settings, model, method, decoding, identity)
    search_at = (name, storage, folder / "studies", identity)
    with (
        open_search(
            *search_at,
            axis.keys,
            settings.budgets,
            settings.seed,
            method.axis,
            axis.objectives,
        ) as search,
        record.study(
            name, params, tags_of(settings, model), {**asdict(settings), "identity": identity}
        ) as study,
        Warm(engine) as warm,
    ):
        wanted = max(min(settings.trials or len(axis.keys), len(axis.keys)), 1)
        replies = sum(map(len, questions.values())) * settings.samples
        progress = Progress(replies * max(wanted, len(search.levels())))
        lab = Lab(
            folder=folder,
            checkpoints=settings.checkpoints or folder / "checkpoints",
            model=model,
            method=method,
            engine=warm,
            questions=questions,
            decoding=decoding,
            track=settings.track,
            closing=settings.closing,
            keys=axis.keys,
            budgets=settings.budgets,
            progress=progress,
        )
        known = search.levels()
        try:
            if first:
                lab = first.applied(lab)
            scribe = Scribe(study, params, lab.method_params, identity)
            levels = explore(search, lab, scribe, wanted)
        finally:
            progress.close()
        points = [scribe.points[level.key, b] for level in levels for b in settings.budgets]
        findings = axis.findings(levels, points, settings.budgets)
        if len(levels) > len(known):
            study.log_curve(findings.curves())
        page = conclude(study, record, findings)
    return Outcome(name, study.id, findings, len(known), lab, record, page)


def conclude(study: StudyRun, record: Store, findings: Findings) -> str:
    """Writes the study's front and its report; returns where the report lies."""
    selection = of_study(record, study.name)
    report = reporting.made(selection)
    front = {"frontier/front.png": report.files["figures/frontier.png"]}
    for path, data in {**findings.files(), **front}.items():
        study.artifact(path, data)
    return reporting.keep(record, selection, report)


def explore(search: Search, lab: Lab, scribe: Scribe, wanted: int) -> list[Level]:
    """Measures until `wanted` levels are known; returns them all, in their order.

    What the study knows already is recorded too, where this record lacks it (another store, say).
    """
    levels: dict[Key, Level] = {}
    for key in search.levels():
        levels[key] = lab.measure(key)
        record_known(search, scribe, levels[key])
    while len(levels) < wanted:
        asked, key = search.ask()
        level = levels[key] = lab.measure(key)
        level_run_id = record_known(search, scribe, level)
        for trial in search.trials(asked):
            budget = trial.params["budget"]
            search.tell(trial, scribe.trial(level, level_run_id, budget, trial.number))
        volume = hypervolume(list(scribe.points.values()), lab.decoding.max_tokens)
        scribe.study.log_metrics({"hypervolume": volume}, step=asked.number)
    return [levels[key] for key in search.keys if key in levels]


def record_known(search: Search, scribe: Scribe, level: Level) -> str:
    """Records a level and its points that the study knows; returns the level's run id."""
    level_run_id = scribe.level(level)
    for (key, budget), trial in search.measured().items():
        if key == level.key:
            scribe.trial(level, level_run_id, budget, trial.number)
    return level_run_id


def open_model(
    settings: SearchSettings, axis: Axis, engine: EngineChoice, first: First | None
) -> Model:
    """The model. BadInput if what is asked cannot be done with it, where possible before its
    weights are fetched."""
    sparsity = [key for key in axis.keys if not isinstance(key, str)]
    found = find_runnable(settings.model, engine, sparsity)
    if first:
        first.check(found)
    model = found.open()
    if settings.track == "chat" and not model.has_chat_template:
        raise BadInput(f"{model.name} has no chat template: ask with --track paper.")
    if first:
        first.method.check(model.checkpoint)
    if axis.compresses:
        axis.method.check(model.checkpoint)
    return model


def default_name(
    model: Model, first: First | None, method: Choice, identity: dict[str, Any]
) -> str:
    """A study's name from what is done in it: the same flags, the same name."""
    done = [first.label, method.name] if first else [method.name]
    return "-".join([model.name, *done, of_json(identity)[:6]])


def load_questions(settings: SearchSettings) -> dict[Benchmark, list[Question]]:
    """The first questions of each benchmark; says on stderr where a set has fewer."""
    questions = {}
    for name in settings.benchmarks:
        benchmark = registry.benchmark(name)
        questions[benchmark] = benchmark.load(settings.questions)
        if len(questions[benchmark]) < settings.questions:
            print(
                f"{name} has {len(questions[benchmark])} questions; all are asked.", file=sys.stderr
            )
    return questions


def identity_of(
    settings: SearchSettings,
    axis: Axis,
    model: Model,
    questions: dict[Benchmark, list[Question]],
    engine: str,
) -> dict[str, Any]:
    """What all points of a study share, by the name of the flag that sets it."""
    first = {"first": settings.first} if settings.first else {}
    return {
        "model": model.checkpoint.revision,
        "benchmarks": {
            benchmark.name: [benchmark.version, of_json([asdict(question) for question in asked])]
            for benchmark, asked in questions.items()
        },
        axis.method.axis: list(axis.keys),
        "budgets": list(settings.budgets),
        "track": settings.track,
        "closing": settings.closing,
        "questions": settings.questions,
        "samples": settings.samples,
        "engine": engine,
        "method": axis.text,
        "seed": settings.seed,
        **first,
    }


def tags_of(settings: SearchSettings, model: Model) -> dict[str, str]:
    """What the study's run alone is tagged with."""
    note = {"note": settings.note} if settings.note else {}
    return {"model": model.name, **note}


def params_of(
    settings: SearchSettings,
    model: Model,
    method: Choice,
    decoding: Decoding,
    identity: dict[str, Any],
) -> dict[str, object]:
    """Parameters that every run of a study logs."""
    return {
        "model": model.name,
        "model_revision": model.checkpoint.revision,
        "model_format": model.checkpoint.format,
        "method": method.name,
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
        "engine": identity["engine"],
        "closing": settings.closing,
        **{f"rows/{name}": digest for name, (_, digest) in identity["benchmarks"].items()},
    }
