"""The outcome of an import, as text for a terminal and as the files of its run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.external.grading import GradedTraces
from lrm.analysis.compare import PAPER
from lrm.records.point import Interval, Unit
from lrm.report.reading import BenchmarkReading
from lrm.scoring import published
from lrm.scoring.replies import Replies
from lrm.scoring.sample_table import Row
from lrm.scoring.scores import Score
from lrm.scoring.truncation import TRUNCATION
from lrm.stats import intervals
from lrm.tables import Table, amount, percent
from tracking.store import Store


@dataclass(frozen=True)
class ImportOutcome:
    """What was graded, its scores by benchmark, and the run that holds it.

    `repeated` says that the same import had been recorded before and no second run was made; `page`
    is the report's place.
    """

    name: str
    run_id: str
    repeated: bool
    unit: Unit
    traces: Mapping[str, GradedTraces]
    readings: Mapping[str, BenchmarkReading]
    samples: Sequence[Row]
    scores: Mapping[str, Score]
    characters: Mapping[str, Interval]
    params: Mapping[str, object]
    against: published.Published | None
    comparisons: Sequence[published.PublishedComparison]
    store: Store
    page: str


def text(outcome: ImportOutcome) -> str:
    """Everything that score_traces prints at its end."""
    shown = [table.text() for table in tables(outcome)]
    return "\n\n".join((head(outcome), *shown, look_further(outcome)))


def head(outcome: ImportOutcome) -> str:
    params = outcome.params
    return (
        f"{outcome.name}  (model: {params['model']}; method: {params['method']}; prompts: "
        f"{params['track']}; intervals: 95%)"
    )


def tables(outcome: ImportOutcome) -> list[Table]:
    shown = [accuracies(outcome), endings(outcome), lengths(outcome)]
    if outcome.against:
        shown.append(published.table(outcome.comparisons, outcome.against))
    return shown


READINGS = {
    "lenient": "lenient/truncated-is-wrong",
    "lenient, as is": "lenient/grade-what-is-there",
    "strict": "strict/truncated-is-wrong",
    "strict, as is": "strict/grade-what-is-there",
}


def accuracies(outcome: ImportOutcome) -> Table:
    """The headline, and beside it each extraction rule under each truncation policy."""
    rows = [
        (
            name,
            f"{len(scored.per_question)} of {len(outcome.traces[name].questions)}",
            _samples(outcome.readings[name].replies),
            percent(scored.accuracy),
            *(percent(scored.readings[reading]) for reading in READINGS.values()),
        )
        for name, scored in outcome.scores.items()
    ]
    notes = [
        f"Headline: {TRUNCATION}, by the lenient rule of extraction, for musique the strict one.",
        "As is: grade-what-is-there.",
        *_further(outcome.scores),
    ]
    header = ("benchmark", "questions", "samples", "headline", *READINGS)
    return Table("Accuracy", header, rows, " ".join(notes))


def endings(outcome: ImportOutcome) -> Table:
    """How the replies ended, in counts of replies."""
    rows = []
    for name, reading in outcome.readings.items():
        columns = {column: reading.replies.column(column) for column in reading.replies.columns}
        counts = (
            columns["truncated"] == 1,
            columns["looped"] == 1,
            columns["closed"] == 0,
            columns["strict/answered"] == 0,
            columns["lenient/answered"] == 0,
            columns["stop_guessed"] == 1,
        )
        total = len(reading.replies.keys)
        rows.append((name, str(total), *(str(int(flags.sum())) for flags in counts)))
    header = (
        "benchmark", "replies", "truncated", "looping", "unclosed", "unanswered, strict",
        "unanswered, lenient", "ending guessed",
    )  # fmt: skip
    return Table(
        "How the replies ended",
        header,
        rows,
        "Unclosed but finished is not truncated. Guessed: read off its text whether it was cut.",
    )


def lengths(outcome: ImportOutcome) -> Table:
    unit = outcome.unit
    rows = [
        (
            name,
            amount(scored.tokens),
            f"{scored.metrics[f'{unit}/p50']:,.0f}",
            f"{scored.metrics[f'{unit}/p95']:,.0f}",
            amount(outcome.characters[name]),
        )
        for name, scored in outcome.scores.items()
    ]
    header = ("benchmark", f"{unit} a reply", "median", "95th percentile", "characters a reply")
    counted = {
        "tokens": f"Tokens: {outcome.params['tokenizer']}.",
        "words": "Tokens are not known: words and characters. --tokenizer NAME counts them.",
    }
    return Table("Length", header, rows, counted[unit])


def files(outcome: ImportOutcome) -> dict[str, bytes]:
    """The comparison with the published figures, if one was asked for, by path."""
    if not outcome.against:
        return {}
    rows = published.rows(outcome.comparisons, outcome.against)
    return {"published.json": json.dumps(rows, indent=1).encode()}


def look_further(outcome: ImportOutcome) -> str:
    store = outcome.store
    recorded = "Recorded before from the same files, as" if outcome.repeated else "Recorded as"
    left_out = sum(graded.left_out for graded in outcome.traces.values())
    return "\n".join(
        (
            *([f"Left out: {left_out} forced answers under a budget."] if left_out else []),
            f"{recorded} run {outcome.run_id}.",
            f"Look further: {store.ui_command()}",
            f"  {store.ui}{store.pages.run('import', outcome.run_id)}  report, samples",
            f"  {outcome.page}  the report, for any browser",
        )
    )


def _samples(replies: Replies) -> str:
    """Replies per question: "1", or "2 to 3" where it differs."""
    counts = replies.present.sum(axis=1)
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _further(scores: Mapping[str, Score]) -> list[str]:
    """The paper's average, F1, and what repeated samples give, where they can be said."""
    notes = []
    if all(name in scores for name in PAPER):
        average = intervals.average([scores[name].accuracy for name in PAPER])
        notes.append(f"Average of {', '.join(PAPER)}: {percent(average)}.")
    for name, scored in scores.items():
        metrics = [
            f"{metric.replace('_at_', '@')} {value:.1%}"
            for metric, value in scored.metrics.items()
            if metric == "f1" or "_at_" in metric
        ]
        if metrics:
            notes.append(f"{name}: {', '.join(metrics)}.")
    return notes
