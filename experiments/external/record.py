"""Replies made elsewhere: graded file by file, then recorded as one run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from experiments.external import scorecard
from experiments.external.grading import GradedTraces, grade
from experiments.external.scorecard import ImportOutcome
from experiments.external.settings import NOT_GIVEN, ScoreSettings
from experiments.reporting import report_run
from experiments.reporting.variants import of_runs
from lrm.digests import of_json
from lrm.records.point import Interval, Unit
from lrm.report.page import PAGE
from lrm.report.reading import BenchmarkReading, read
from lrm.scoring import published
from lrm.scoring.sample_table import SampleTable
from lrm.scoring.scores import Score, interval, logged, score
from lrm.scoring.truncation import TRUNCATION
from lrm.stats import intervals
from tracking.address import project_root
from tracking.names import allowed_name, check_name
from tracking.store import open_store

SPLIT = ("tokens/thinking", "tokens/answer")


def run(settings: ScoreSettings, root: Path | None = None) -> ImportOutcome:
    """Grades all files, then records them in one run; what is wrong is found before it is made."""
    root = root or project_root()
    name = settings.name or _name(settings)
    check_name(name, "an import")
    with tempfile.TemporaryDirectory() as scratch:
        traces = grade(settings, Path(scratch))
        # Only now is it known whether every reply has its tokens, and with it what to count in.
        unit: Unit = "tokens" if all(graded.tokens_known for graded in traces.values()) else "words"
        table = SampleTable()
        readings = {
            name: read(table.noted(graded.stored()), unit) for name, graded in traces.items()
        }
        against = published.find(settings.against) if settings.against else None
        scores = {name: _score(traces[name], readings[name], unit) for name in traces}
        outcome = ImportOutcome(
            name=name,
            run_id="",
            repeated=False,
            unit=unit,
            traces=traces,
            readings=readings,
            samples=table.rows(),
            scores=scores,
            characters={name: _characters(reading) for name, reading in readings.items()},
            params=params_of(settings, traces, readings, unit),
            against=against,
            comparisons=published.compare(against, _ours(scores)) if against else (),
            store=open_store(settings.tracking_uri, root),
            page="",
        )
        return record(outcome, settings)


def record(outcome: ImportOutcome, settings: ScoreSettings) -> ImportOutcome:
    """Writes the run, or finds the one that an earlier call with the same files and flags wrote."""
    identity = of_json([dict(outcome.params), settings.team])
    store = outcome.store
    if known := store.find_imported(outcome.name, identity):
        page = store.runs([known])[0].location(PAGE)
        return replace(outcome, run_id=known, repeated=True, page=page)
    tags = {"model": settings.model} | ({"team": settings.team} if settings.team else {})
    with store.imported(outcome.name, identity, outcome.params, tags) as run:
        for name, graded in outcome.traces.items():
            run.attach_generations(name, graded.file)
        run.log_samples(outcome.samples)
        digests = {name: graded.digests for name, graded in outcome.traces.items()}
        run.artifact("files.json", json.dumps(digests, indent=1).encode())
        for path, data in scorecard.files(outcome).items():
            run.artifact(path, data)
        run.log_metrics(metrics(outcome))
        selection = of_runs(store, [run.id])
        report = report_run.made(selection, {run.id: outcome.readings})
        page = report_run.keep(store, selection, report)
    return replace(outcome, run_id=run.id, page=page)


def metrics(outcome: ImportOutcome) -> dict[str, float]:
    """Everything logged, by name."""
    values = logged(outcome.scores, outcome.unit)
    for name, reading in outcome.readings.items():
        values[f"share/stop_guessed/{name}"] = float(reading.replies.column("stop_guessed").mean())
        values |= interval(f"characters/{name}", outcome.characters[name])
        for reading_name, accuracy in outcome.scores[name].readings.items():
            values |= interval(f"accuracy/{name}/{reading_name}", accuracy)
    values["characters/mean"] = intervals.average(list(outcome.characters.values())).value
    if outcome.unit == "tokens" and not all(
        graded.split_known for graded in outcome.traces.values()
    ):
        values = {metric: value for metric, value in values.items() if not metric.startswith(SPLIT)}
    return values


def params_of(
    settings: ScoreSettings,
    traces: Mapping[str, GradedTraces],
    readings: Mapping[str, BenchmarkReading],
    unit: Unit,
) -> dict[str, object]:
    """What the run is: where its replies come from, and by which rules they were graded."""
    tracks = {name: graded.track() for name, graded in traces.items()}
    same = len(set(tracks.values())) == 1
    shown = tracks.values() if same else (f"{name}: {track}" for name, track in tracks.items())
    counted = settings.tokenizer or ("the counts in the files" if unit == "tokens" else NOT_GIVEN)
    shared: dict[str, object] = {
        "model": settings.model,
        "method": settings.method,
        "benchmarks": ",".join(traces),
        "track": settings.track or "; ".join(dict.fromkeys(shown)),
        "truncation": TRUNCATION,
        "max_tokens": settings.max_tokens or NOT_GIVEN,
        "lengths": unit,
        "tokenizer": counted,
    }
    for name, graded in traces.items():
        shared |= {
            f"questions/{name}": len(readings[name].replies.questions),
            f"replies/{name}": graded.replies,
            f"version/{name}": graded.benchmark.version,
            f"rows/{name}": of_json([asdict(question) for question in graded.questions]),
            f"file/{name}": ",".join(graded.digests.values()),
        }
    return shared


def _score(graded: GradedTraces, reading: BenchmarkReading, unit: Unit) -> Score:
    """The score, over questions in the benchmark's order, in whatever order they were given."""
    ordered = reading.replies.in_order(question.id for question in graded.questions)
    return score(ordered, unit=unit)


def _characters(reading: BenchmarkReading) -> Interval:
    """Characters per reply."""
    return intervals.mean(reading.replies.tables()["characters"])


def _ours(scores: Mapping[str, Score]) -> dict[str, tuple[float, int]]:
    return {
        name: (scored.accuracy.value, len(scored.per_question)) for name, scored in scores.items()
    }


def _name(settings: ScoreSettings) -> str:
    """What a run is called if nobody says: by letters that the store allows."""
    given = [word for word in (settings.model, settings.method) if word != NOT_GIVEN]
    name = " ".join(given) or settings.files[0].name.partition(".")[0]
    return allowed_name(name, "import")
