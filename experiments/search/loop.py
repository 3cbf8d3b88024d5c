"""The search: asks the study for a level, measures it, records it, tells every budget.

Several workers may run the same search at once. Each measures what no other is at, and reads the
replies that others have decoded, so that all of them end with the same findings.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.cli.progress import Progress, say
from experiments.cli.settings import SearchSettings
from experiments.coordination.leases import LeaseLost
from experiments.reporting import report_run
from experiments.reporting.variants import of_study
from experiments.search.engine_cache import EngineCache
from experiments.search.findings import Findings
from experiments.search.job import SearchAxis, prepare
from experiments.search.level import Level
from experiments.search.level_evaluator import LevelEvaluator
from experiments.search.run_recorder import RunRecorder
from experiments.search.study import SharedStudy
from lrm.records import LevelKey, level_label
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
    lab: LevelEvaluator
    store: Store
    page: str


def run(settings: SearchSettings, axis: SearchAxis, root: Path | None = None) -> SearchOutcome:
    """Runs, continues or joins one search, as `job.prepare` says."""
    job = prepare(settings, axis, root)
    store = job.store()
    config = {**asdict(settings), "identity": job.identity}
    with ExitStack() as stack:
        search = stack.enter_context(job.search(store))
        with search.membership.leases.hold("record", "opens the study's run"):
            opened = store.study(job.name, job.params, job.tags, config)
            study = stack.enter_context(opened)
        warm = stack.enter_context(EngineCache(job.engine))
        replies = sum(map(len, job.questions.values())) * settings.samples
        progress = Progress(replies * max(job.wanted, len(search.levels())))
        lab = job.lab(warm, progress)
        try:
            if job.first:
                lab = job.first.applied(lab)
            scribe = RunRecorder(study, job.params, lab.method_params, job.identity)
            levels, measured = explore(search, lab, scribe, job.wanted)
        finally:
            progress.close()
        points = [scribe.points[level.key, b] for level in levels for b in settings.budgets]
        findings = axis.findings(levels, points, settings.budgets)
        page = conclude(search, study, store, findings)
    return SearchOutcome(job.name, study.id, findings, len(levels) - measured, lab, store, page)


def conclude(search: SharedStudy, study: StudyRun, store: Store, findings: Findings) -> str:
    """Writes the study's front and its report, unless another worker has; returns where the report
    lies."""
    told = [level_label(level.key) for level in findings.levels]
    with search.membership.concluding(levels=told, store=redact(store.uri)) as (due, new):
        selection = of_study(store, study.name)
        if not due:
            assert selection.study, "a study's selection has its run"
            return selection.study.location(PAGE)
        report = report_run.made(selection)
        front = {"frontier/front.png": report.files["figures/frontier.png"]}
        for path, data in {**findings.files(), **front}.items():
            study.artifact(path, data)
        if new:
            study.log_curve(findings.curves())
        return report_run.keep(store, selection, report)


def explore(
    search: SharedStudy, lab: LevelEvaluator, scribe: RunRecorder, wanted: int
) -> tuple[list[Level], int]:
    """Measures until `wanted` levels are known; returns them all, in their order, and how many of
    them were measured here.

    What the study knows already is recorded too, where this record lacks it (another store, say).
    """
    levels: dict[LevelKey, Level] = {}
    measured = 0
    while True:
        for key in sorted(search.levels() - set(levels), key=search.keys.index):
            levels[key] = lab.measure(key)
            with search.hold(key):
                record_known(search, scribe, levels[key])
        if len(levels) >= wanted:
            return [levels[key] for key in search.keys if key in levels], measured
        with search.claimed(wanted) as claim:
            if claim is None:
                lab.progress.stage("waiting for other workers")
                search.wait()
                continue
            asked, key = claim
            try:
                levels[key] = measure(search, lab, key)
            except LeaseLost as lost:
                say(f"{lost}; going on with what is left.")
                continue
            measured += 1
            level_run_id = record_known(search, scribe, levels[key])
            for trial in search.trials(asked):
                budget = trial.params["budget"]
                search.tell(trial, scribe.trial(levels[key], level_run_id, budget, trial.number))
        volume = hypervolume(list(scribe.points.values()), lab.decoding.max_tokens)
        scribe.study.log_metrics({"hypervolume": volume}, step=asked.number)


def measure(search: SharedStudy, lab: LevelEvaluator, key: LevelKey) -> Level:
    """Measures a level that this worker has claimed; raises LeaseLost if it has lost it since."""
    start, before = time.perf_counter(), lab.counts()
    level = lab.measure(key, lambda: search.check(key))
    search.check(key)
    cost = {name: value - before[name] for name, value in lab.counts().items()}
    seconds = round(time.perf_counter() - start, 1)
    search.membership.log({"level": key, **cost, "seconds": seconds})
    return level


def record_known(search: SharedStudy, scribe: RunRecorder, level: Level) -> str:
    """Records a level and its points that the study knows; returns the level's run id."""
    level_run_id = scribe.level(level)
    for (key, budget), trial in search.measured().items():
        if key == level.key:
            scribe.trial(level, level_run_id, budget, trial.number)
    return level_run_id
