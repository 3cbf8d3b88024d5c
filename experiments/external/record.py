"""Replies made elsewhere: graded file by file, then recorded as one run."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.external import scorecard
from experiments.external.grading import GradedTraces, grade
from experiments.external.scorecard import ImportOutcome
from experiments.external.settings import NOT_GIVEN, ScoreSettings
from experiments.reporting import report_run
from experiments.reporting.variants import of_runs
from lrm.digests import of_file, of_json
from lrm.records import Unit
from lrm.report.page import PAGE
from lrm.scoring import published
from lrm.scoring.scores import Score, interval, logged, score
from lrm.scoring.truncation import TRUNCATION
from lrm.stats import intervals
from tracking.address import project_root
from tracking.store import check_name, open_store

SPLIT = ("tokens/thinking", "tokens/answer")


def run(settings: ScoreSettings, root: Path | None = None) -> ImportOutcome:
    """Grades all files, then records them in one run; what is wrong is found before it is made."""
    root = root or project_root()
    name = settings.name or _name(settings)
    check_name(name, "an import")
    with tempfile.TemporaryDirectory() as scratch:
        piles = grade(settings, Path(scratch))
        everything = [one for pile in piles.values() for one in pile.replies]
        unit: Unit = "words" if any(one.tokens is None for one in everything) else "tokens"
        scores = {name: score(pile.items(unit), unit) for name, pile in piles.items()}
        params = params_of(settings, piles, unit)
        against = published.find(settings.against) if settings.against else None
        outcome = ImportOutcome(
            name=name,
            run_id="",
            repeated=False,
            unit=unit,
            piles=piles,
            scores=scores,
            characters={name: pile.characters() for name, pile in piles.items()},
            params=params,
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
    with store.imported(outcome.name, identity, outcome.params, tags) as level:
        for name, pile in outcome.piles.items():
            level.attach_generations(name, pile.file)
        stored = (row for pile in outcome.piles.values() for row in _stored(pile.file))
        level.log_samples(map(_shown, stored), length="characters")
        for path, data in scorecard.files(outcome).items():
            level.artifact(path, data)
        level.log_metrics(metrics(outcome))
        selection = of_runs(store, [level.id])
        page = report_run.keep(store, selection, report_run.made(selection))
    return replace(outcome, run_id=level.id, page=page)


def metrics(outcome: ImportOutcome) -> dict[str, float]:
    """Everything logged, by name."""
    values = logged(outcome.scores, outcome.unit)
    for name, pile in outcome.piles.items():
        guessed = sum(one.guessed for one in pile.replies)
        values[f"share/stop_guessed/{name}"] = guessed / len(pile.replies)
        values |= interval(f"characters/{name}", outcome.characters[name])
        for reading, found in outcome.scores[name].readings.items():
            values |= interval(f"accuracy/{name}/{reading}", found)
    values["characters/mean"] = intervals.average(list(outcome.characters.values())).value
    if outcome.unit == "tokens" and not _split_known(outcome):
        values = {metric: value for metric, value in values.items() if not metric.startswith(SPLIT)}
    return values


def params_of(
    settings: ScoreSettings, piles: Mapping[str, GradedTraces], unit: Unit
) -> dict[str, object]:
    """What the run is: where its replies come from, and by which rules they were graded."""
    tracks = {name: pile.track() for name, pile in piles.items()}
    same = len(set(tracks.values())) == 1
    told = tracks.values() if same else (f"{name}: {track}" for name, track in tracks.items())
    counted = settings.tokenizer or ("the counts in the files" if unit == "tokens" else NOT_GIVEN)
    shared: dict[str, object] = {
        "model": settings.model,
        "method": settings.method,
        "benchmarks": ",".join(piles),
        "track": settings.track or "; ".join(dict.fromkeys(told)),
        "truncation": TRUNCATION,
        "max_tokens": settings.max_tokens or NOT_GIVEN,
        "lengths": unit,
        "tokenizer": counted,
    }
    for name, pile in piles.items():
        samples = [one.item.question.id for one in pile.replies]
        shared |= {
            f"questions/{name}": len(set(samples)),
            f"replies/{name}": len(samples),
            f"version/{name}": pile.benchmark.version,
            f"rows/{name}": of_json([asdict(question) for question in pile.questions]),
            f"file/{name}": ",".join(of_file(path) for path in pile.paths),
        }
    return shared


def _stored(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("prompt", "gold")} | {
        "gold": row["gold"][0]
    }


def _ours(scores: Mapping[str, Score]) -> dict[str, tuple[float, int]]:
    return {name: (one.accuracy.value, len(one.per_question)) for name, one in scores.items()}


def _split_known(outcome: ImportOutcome) -> bool:
    piles = outcome.piles.values()
    return all(one.thinking_tokens is not None for pile in piles for one in pile.replies)


def _name(settings: ScoreSettings) -> str:
    """What a run is called if nobody says: by letters that the store allows."""
    told = [word for word in (settings.model, settings.method) if word != NOT_GIVEN]
    name = " ".join(told) or settings.files[0].name.partition(".")[0]
    return re.sub(r"[^A-Za-z0-9 ._/:-]", "-", name).lstrip(" ._/:-") or "import"
