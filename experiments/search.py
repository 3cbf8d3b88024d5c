"""The search: asks the study for a sparsity, measures it, records it, tells every budget."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments import reporting
from experiments.engines import parse_engine
from experiments.findings import Findings
from experiments.lab import Lab
from experiments.levels import Level
from experiments.methods import MethodChoice, parse_method
from experiments.models import Model
from experiments.progress import Progress
from experiments.runnable import find_runnable
from experiments.scribe import Scribe
from experiments.settings import Settings
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
from tracking.store import Store, open_store


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


def run(settings: Settings, root: Path | None = None) -> Outcome:
    """Runs or continues one search; keeps everything in mlruns/ under `root`, the project's folder.

    All input is checked before anything is written.
    """
    root = root or project_root()
    folder = root / "mlruns"
    engine = parse_engine(settings.engine)
    model = find_runnable(settings.model, engine, settings.sparsity).open()
    if settings.track == "chat" and not model.has_chat_template:
        raise BadInput(f"{model.name} has no chat template: ask with --track paper.")
    method = parse_method(settings.method, settings.sparsity)
    if any(settings.sparsity):
        method.check(model.checkpoint)
    questions = load_questions(settings)
    decoding = Decoding(
        max_tokens=max(settings.budgets) + model.answer_tokens,
        answer_tokens=model.answer_tokens,
        seed=settings.seed,
        samples=settings.samples,
    )
    identity = identity_of(settings, model, questions, engine.made(model.checkpoint).identity)
    name = settings.study or f"{model.name}-{method.name}-{of_json(identity)[:6]}"
    storage = settings.storage or f"sqlite:///{folder / 'optuna.db'}"
    record = open_store(settings.tracking_uri, root)
    params = params_of(settings, model, method, decoding, identity)
    search_at = (name, storage, folder / "studies", identity)
    with (
        open_search(*search_at, settings.sparsity, settings.budgets, settings.seed) as search,
        record.study(
            name, params, {"model": model.name}, {**asdict(settings), "identity": identity}
        ) as study,
        Warm(engine) as warm,
    ):
        wanted = max(min(settings.trials or len(settings.sparsity), len(settings.sparsity)), 1)
        replies = sum(map(len, questions.values())) * settings.samples
        progress = Progress(replies * max(wanted, len(search.levels())))
        lab = Lab(
            folder=folder,
            model=model,
            method=method,
            engine=warm,
            questions=questions,
            decoding=decoding,
            track=settings.track,
            closing=settings.closing,
            sparsity=settings.sparsity,
            budgets=settings.budgets,
            progress=progress,
        )
        scribe = Scribe(study, params, lab.method_params, identity)
        found = sorted(search.levels())
        try:
            levels = explore(search, lab, scribe, wanted)
        finally:
            progress.close()
        points = [scribe.points[place] for place in sorted(scribe.points)]
        findings = Findings(levels, points, settings.budgets)
        if len(levels) > len(found):
            study.log_curve(findings.curves())
        selection = of_study(record, name)
        report = reporting.made(selection)
        front = {"frontier/front.png": report.files["figures/frontier.png"]}
        for path, data in {**findings.files(), **front}.items():
            study.artifact(path, data)
        page = reporting.keep(record, selection, report)
    return Outcome(name, study.id, findings, len(found), lab, record, page)


def explore(search: Search, lab: Lab, scribe: Scribe, wanted: int) -> list[Level]:
    """Measures until `wanted` sparsities are known; returns them all, the densest first.

    What the study knows already is recorded too, where this record lacks it (another store, say).
    """
    levels: dict[float, Level] = {}
    for sparsity in sorted(search.levels()):
        levels[sparsity] = lab.measure(sparsity)
        record_known(search, scribe, levels[sparsity])
    while len(levels) < wanted:
        asked, sparsity = search.ask()
        level = levels[sparsity] = lab.measure(sparsity)
        level_run_id = record_known(search, scribe, level)
        for trial in search.trials(asked):
            budget = trial.params["budget"]
            search.tell(trial, scribe.trial(level, level_run_id, budget, trial.number))
        volume = hypervolume(list(scribe.points.values()), lab.decoding.max_tokens)
        scribe.study.log_metrics({"hypervolume": volume}, step=asked.number)
    return [levels[sparsity] for sparsity in sorted(levels)]


def record_known(search: Search, scribe: Scribe, level: Level) -> str:
    """Records a level and its points that the study knows; returns the level's run id."""
    level_run_id = scribe.level(level)
    for (sparsity, budget), trial in search.measured().items():
        if sparsity == level.sparsity:
            scribe.trial(level, level_run_id, budget, trial.number)
    return level_run_id


def load_questions(settings: Settings) -> dict[Benchmark, list[Question]]:
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
    settings: Settings, model: Model, questions: dict[Benchmark, list[Question]], engine: str
) -> dict[str, Any]:
    """What all points of a study share, by the name of the flag that sets it."""
    return {
        "model": model.checkpoint.revision,
        "benchmarks": {
            benchmark.name: [benchmark.version, of_json([asdict(question) for question in asked])]
            for benchmark, asked in questions.items()
        },
        "sparsity": list(settings.sparsity),
        "budgets": list(settings.budgets),
        "track": settings.track,
        "closing": settings.closing,
        "questions": settings.questions,
        "samples": settings.samples,
        "engine": engine,
        "method": settings.method,
        "seed": settings.seed,
    }


def params_of(
    settings: Settings,
    model: Model,
    method: MethodChoice,
    decoding: Decoding,
    identity: dict[str, Any],
) -> dict[str, object]:
    """Parameters that every run of a study logs."""
    return {
        "model": model.name,
        "model_revision": model.checkpoint.revision,
        "model_format": model.checkpoint.format,
        "method": method.name,
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
