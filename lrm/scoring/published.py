"""The figures that "When Reasoning Meets Compression" (arXiv 2504.02010) reports, beside ours.

Shares are fractions in [0, 1]. What the paper's tables do not report is absent, never filled in: a
benchmark without a figure has no entry, and None stands for an unknown average, F1 or number of
runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lrm import registry
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.stats.intervals import wilson
from lrm.stats.paired import difference
from lrm.tables import Table, percent, signed

ARXIV = "2504.02010"
QUESTIONS = {"aime": 30, "folio": 203, "temporal": 250, "musique": 100}
"""Questions per benchmark in the paper, by our names."""

Verdict = Literal["compatible", "higher", "lower"]


@dataclass(frozen=True, slots=True)
class Published:
    """One row of the paper's results.

    `accuracy` is by our benchmark names; for musique it is the exact match and `f1` its F1.
    `average` is the paper's Avg: the mean of aime, folio and temporal, without musique. `runs` is
    how many runs the figures are a mean of.
    """

    model: str
    compression: str
    runs: int | None
    accuracy: Mapping[str, float]
    f1: float | None = None
    average: float | None = None

    @property
    def name(self) -> str:
        """What a person types, for example "r1-distill-llama-8b/awq-4bit"."""
        return f"{_slug(self.model)}/{_slug(self.compression)}"


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", words.lower().replace("-bit", "bit")).strip("-")


def _row(
    model: str,
    compression: str,
    runs: int | None,
    percents: Sequence[float | None] = (),
    average: float | None = None,
    f1: float | None = None,
) -> Published:
    """A row from the paper's percentages; `percents` are in the order of QUESTIONS."""
    scores = dict(zip(QUESTIONS, percents, strict=False))
    accuracy = {name: round(x / 100, 4) for name, x in scores.items() if x is not None}
    f1, average = (None if x is None else round(x / 100, 4) for x in (f1, average))
    return Published(model, compression, runs, accuracy, f1, average)


R1 = "DeepSeek-R1"
LLAMA_70B = "R1-Distill-Llama-70B"
QWEN_32B = "R1-Distill-Qwen-32B"
LLAMA_8B = "R1-Distill-Llama-8B"

TABLE: tuple[Published, ...] = (
    _row(R1, "none", 1, (73.3, 76.4, 99.6, 17.0), 83.1, 27.51),
    _row(R1, "2.51-bit", 1, (76.7, 77.8, 100.0, 17.0), 84.8, 24.43),
    _row(R1, "1.73-bit", 1, average=81.5),
    _row(R1, "1.58-bit", 1, (66.7, 75.4, 94.0, 14.0), 78.7, 22.34),
    _row(LLAMA_70B, "none", 3, (65.6, 79.8, 99.9, 13.3), 81.8, 21.57),
    _row(LLAMA_70B, "SparseGPT 50%", 3, (23.3, 71.6, 97.6, 6.7), 64.2, 13.49),
    _row(QWEN_32B, "none", 3, (64.4, 82.3, 99.9, 2.7), 82.2, 10.95),
    _row(LLAMA_8B, "none", 3, (42.2, 71.9, 81.5, 0.0), 65.2, 4.43),
    _row(LLAMA_8B, "AWQ 4-bit", 3, (47.8, 68.0, 84.0, 0.3), 66.6),
    _row(LLAMA_8B, "ANY4", 3, average=66.1),
    _row(LLAMA_8B, "AWQ 3-bit", 1, (10.0, 59.6, 68.4), 46.0),
    _row(LLAMA_8B, "GPTQ 3-bit", 3, (11.1, 65.0, 67.3, 0.0), 47.8),
    _row(LLAMA_8B, "ANY3", None, average=29.4),
    _row(LLAMA_8B, "AWQ 3-bit, final-layer MLP kept at 16 bit", 1, (16.7, 67.0, 74.0), 52.57),
    _row(LLAMA_8B, "only the final up projection at 3 bit", 1, (20.0, 63.1, 63.6), 48.9),
    _row(LLAMA_70B, "SparseGPT 0% (sweep)", 1, (63.3, 78.8, None, 13.0)),
    _row(LLAMA_70B, "SparseGPT 30% (sweep)", 1, (63.3, 79.3)),
    _row(LLAMA_70B, "SparseGPT 40% (sweep)", 1, (56.7, 73.9, None, 6.0)),
    _row(LLAMA_70B, "SparseGPT 50% (sweep)", 1, (26.7, 70.9)),
    _row(LLAMA_70B, "SparseGPT 60% (sweep)", 1, (0.0, 65.0)),
    _row(LLAMA_70B, "SparseGPT 70% (sweep)", 1, (0.0, 49.8)),
)
"""The sweep has one run a level. Its 0% is the dense model; its 50% is a run besides the three
above."""


def find(name: str) -> Published:
    """The row of a `Published.name`, in any case."""
    known = {row.name: row for row in TABLE}
    return known[registry.require("published result", name.lower(), known)]


def match(model: str, method: str, sparsity: float | None = None) -> Published | None:
    """The paper's row of a model and method as a run names them, or None.

    "none" is the dense model; a sparsity of a method is its row "SparseGPT 50%", not the sweep's.
    """
    compression = f"{method} {sparsity:.0%}" if sparsity else method
    for row in TABLE:
        same_model = _slug(model).endswith(_slug(row.model))
        if same_model and _slug(row.compression) == _slug(compression):
            return row
    return None


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """Our accuracy on one benchmark beside the published one, and ours minus theirs."""

    benchmark: str
    ours: Interval
    theirs: Interval
    difference: Interval
    ours_n: int
    theirs_n: int
    runs: int | None

    @property
    def verdict(self) -> Verdict:
        """Ours against theirs. "compatible": the difference's 95% interval contains 0."""
        if self.difference.low > 0:
            return "higher"
        return "lower" if self.difference.high < 0 else "compatible"


def compare(
    published: Published, ours: Mapping[str, tuple[float, int]]
) -> list[PublishedComparison]:
    """Ours, as (accuracy, questions) by benchmark, on the benchmarks that both sides have.

    An interval's n is the number of questions, for means of several runs too: samples of one
    question are not independent, and the paper reports no variance that would show how dependent
    they are. That is conservative. So is taking the two sides as independent although both answered
    the same questions: a real but small difference may come out as "compatible". Raises BadInput
    for an accuracy outside [0, 1] or without questions.
    """
    comparisons = []
    for name in (name for name in published.accuracy if name in ours):
        accuracy, n = ours[name]
        if not (0 <= accuracy <= 1 and n >= 1):
            raise BadInput(
                f"Accuracy {accuracy} on {n} questions of {name} cannot be compared: give a "
                "fraction from 0 to 1 and at least 1 question."
            )
        own, theirs_n = wilson(accuracy, n), QUESTIONS[name]
        theirs = wilson(published.accuracy[name], theirs_n)
        gap = difference(own, theirs)
        comparisons.append(PublishedComparison(name, own, theirs, gap, n, theirs_n, published.runs))
    return comparisons


HEADER = (
    "benchmark", "ours", "questions", "paper", "questions", "runs", "ours - paper", "verdict",
)  # fmt: skip


def table(comparisons: Sequence[PublishedComparison], published: Published) -> Table:
    """The comparison in percent and, for the difference, percentage points."""
    notes = [
        "95% intervals from the number of questions (Wilson). Compatible: the interval of the "
        "difference (Newcombe) contains 0."
    ]
    if not comparisons:
        reported = ", ".join(published.accuracy) or "only the average"
        notes = [f"No benchmark in common: the paper reports {reported}."]
    if published.average is not None:
        notes.append(f"The paper's average of aime, folio, temporal: {published.average:.1%}.")
    if published.f1 is not None:
        notes.append(
            f"The paper's F1 on musique: {published.f1:.1%}, without a verdict, since F1 is not "
            "a share of questions and no variance is reported."
        )
    compression = f"compression: {published.compression}"
    heading = f"Compared with {published.model}, {compression} (arXiv {ARXIV})"
    return Table(heading, HEADER, [_cells(row) for row in comparisons], " ".join(notes))


def _cells(comparison: PublishedComparison) -> tuple[str, ...]:
    return (
        comparison.benchmark,
        percent(comparison.ours),
        str(comparison.ours_n),
        percent(comparison.theirs),
        str(comparison.theirs_n),
        str(comparison.runs or "NR"),
        signed(comparison.difference),
        comparison.verdict,
    )


def rows(
    comparisons: Sequence[PublishedComparison], published: Published
) -> list[dict[str, str | int | float | None]]:
    """One flat record per benchmark, for JSON or CSV; shares and differences are fractions."""
    return [
        {
            "arxiv": ARXIV,
            "published": published.name,
            "model": published.model,
            "compression": published.compression,
            "benchmark": comparison.benchmark,
            **_flat("ours", comparison.ours),
            "ours_n": comparison.ours_n,
            **_flat("theirs", comparison.theirs),
            "theirs_n": comparison.theirs_n,
            "theirs_runs": comparison.runs,
            **_flat("difference", comparison.difference),
            "verdict": comparison.verdict,
        }
        for comparison in comparisons
    ]


def _flat(name: str, interval: Interval) -> dict[str, float | None]:
    low, high = interval.shown
    return {name: interval.value, f"{name}_low": low, f"{name}_high": high}
