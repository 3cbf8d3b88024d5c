"""The search: asks the study for a level, measures it, records it, tells every budget.

Several workers may run the same search at once. Each measures what no other is at, and reads the
replies that others have decoded, so that all of them end with the same findings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.cli.progress import Progress, say
from experiments.cli.settings import SearchSettings
from experiments.coordination.leases import LeaseLost
from experiments.reporting import report_run
from experiments.reporting.variants import Readings, of_study
from experiments.search.axis import SearchAxis
from experiments.search.engine_cache import EngineCache
from experiments.search.findings import Findings
from experiments.search.job import prepare
from experiments.search.level import Level
from experiments.search.level_evaluator import LevelEvaluator
from experiments.search.level_files import LevelFiles
from experiments.search.run_recorder import RunRecorder
from experiments.search.study import SharedStudy
from lrm.records.model import LevelKey, level_label
from lrm.report.page import PAGE
from lrm.stats.frontier import hypervolume
from tracking.provenance import redact
from tracking.runs import StudyRun
from tracking.store import Store


@dataclass(frozen=True)
class SearchOutcome:
    """A search's findings, what they cost, where they are kept, and where the report lies.

    `levels_found` counts those that this process did not measure.
    """

    study: str
    run_id: str
    findings: Findings
    levels_found: int
    evaluator: LevelEvaluator
    store: Store
    page: str


def run(settings: SearchSettings, axis: SearchAxis, root: Path | None = None) -> SearchOutcome:
    """Runs, continues or joins one search, as `job.prepare` says."""
    job = prepare(settings, axis, root)
    store = job.store()
    config = {**asdict(settings), "identity": job.identity}
    with ExitStack() as stack:
        # 1) Join the study in Optuna, and its run in MLflow.
        search = stack.enter_context(job.search(store))
        with search.membership.leases.hold("record", "opens the study's run"):
            opened = store.study(job.name, job.params, job.tags, config)
            study = stack.enter_context(opened)
        engine_cache = stack.enter_context(EngineCache(job.engine))
        replies = sum(map(len, job.questions.values())) * settings.samples
        progress = Progress(replies * max(job.wanted, len(search.levels())))
        evaluator = job.evaluator(engine_cache, progress)
        try:
            # 2) Make the model that the search works on, if something is applied first.
            if job.first:
                evaluator = job.first.applied(evaluator)
            # 3) Measure and record levels until enough are known.
            recorder = RunRecorder(study, job.params, evaluator.method_params, job.identity)
            levels, measured = explore(search, evaluator, recorder, job.wanted)
        finally:
            progress.close()
        # 4) Conclude: the front, and the report.
        points = [recorder.points[level.key, b] for level in levels for b in settings.budgets]
        findings = axis.findings(levels, points, settings.budgets)
        page = conclude(search, study, store, findings, recorder.written)
    known = len(levels) - measured
    return SearchOutcome(job.name, study.id, findings, known, evaluator, store, page)


def conclude(
    search: SharedStudy,
    study: StudyRun,
    store: Store,
    findings: Findings,
    written: Mapping[str, Readings],
) -> str:
    """Writes the study's front and its report, unless another worker has; returns where the report
    lies. Generations of levels `written` by this process, by run id, are not read again."""
    labels = [level_label(level.key) for level in findings.levels]
    with search.membership.concluding(levels=labels, store=redact(store.uri)) as (due, new):
        selection = of_study(store, study.name)
        if not due:
            assert selection.study, "a study's selection has its run"
            return selection.study.location(PAGE)
        report = report_run.made(selection, written)
        front = {"frontier/front.png": report.files["figures/frontier.png"]}
        for path, data in {**findings.files(), **front}.items():
            study.artifact(path, data)
        if new:
            study.log_curve(findings.curves())
        return report_run.keep(store, selection, report)


def explore(
    search: SharedStudy, evaluator: LevelEvaluator, recorder: RunRecorder, wanted: int
) -> tuple[list[Level], int]:
    """Measures until `wanted` levels are known; returns them all, in their order, and how many of
    them were measured here.

    What the study knows already is recorded too, where this store lacks it.
    """
    levels: dict[LevelKey, Level] = {}
    measured, largest = 0, max(search.budgets)
    while True:
        # 1) Read the levels that are known by now: from an earlier call, or from other workers.
        for key in sorted(search.levels() - set(levels), key=search.keys.index):
            with recorder.files(key, largest) as files:
                levels[key] = evaluator.measure(key, files)
                with search.hold(key):
                    record_known(search, recorder, levels[key], files)
        # 2) Stop when there are enough.
        if len(levels) >= wanted:
            return [levels[key] for key in search.keys if key in levels], measured
        # 3) Claim the next level; wait if other workers are at all that is left.
        with search.claimed(wanted) as claim:
            if claim is None:
                evaluator.progress.stage("waiting for other workers")
                search.wait()
                continue
            asked, key = claim
            with recorder.files(key, largest) as files:
                # 4) Measure it at every budget.
                try:
                    level = measure(search, evaluator, key, files)
                except LeaseLost as lost:
                    say(f"{lost}; going on with what is left.")
                    continue
                levels[key] = level
                measured += 1
                # 5) Record it, and tell the study every budget.
                level_run_id = record_known(search, recorder, level, files)
            for trial in search.trials(asked):
                point = recorder.trial(level, level_run_id, trial.params["budget"], trial.number)
                search.tell(trial, point)
        # 6) Log what all points together cover by now.
        volume = hypervolume(list(recorder.points.values()), evaluator.decoding.max_tokens)
        recorder.study.log_metrics({"hypervolume": volume}, step=asked.number)


def measure(
    search: SharedStudy, evaluator: LevelEvaluator, key: LevelKey, files: LevelFiles | None
) -> Level:
    """Measures a level that this worker has claimed; raises LeaseLost if it has lost it since."""
    start, before = time.perf_counter(), evaluator.counts()
    level = evaluator.measure(key, files, lambda: search.check(key))
    search.check(key)
    cost = {name: value - before[name] for name, value in evaluator.counts().items()}
    seconds = round(time.perf_counter() - start, 1)
    search.membership.log({"level": key, **cost, "seconds": seconds})
    return level


def record_known(
    search: SharedStudy, recorder: RunRecorder, level: Level, files: LevelFiles | None
) -> str:
    """Records a level and its points that the study knows; returns the level's run id."""
    level_run_id = recorder.level(level, files)
    for (key, budget), trial in search.measured().items():
        if key == level.key:
            recorder.trial(level, level_run_id, budget, trial.number)
    return level_run_id
