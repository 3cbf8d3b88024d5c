"""Length and accuracy: short against long replies, inflation, endings, efficiency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from lrm.analysis.compare import Setting, aligned, compare
from lrm.analysis.efficiency import efficiency
from lrm.analysis.lengths import ACROSS, SHARE, WITHIN, Endings, Split, across, endings, within
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.report import charts
from lrm.report.by_variant import VariantValue, by_variant
from lrm.report.charts import ChartAxis
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.report.spots import CUT_OPEN
from lrm.tables import Table, amount, percent, signed, times

LONGEST = f"All replies here are the longest generations, with no budget. {CUT_OPEN}"


def short_against_long(data: ReportData) -> Figure:
    """The split across questions and the split within them, side by side."""
    axis = ChartAxis("accuracy of the shortest minus the longest", "percent", (-1.02, 1.02))
    kinds = {"across questions": across, "within questions": within}
    panels, rows, lacking = [], [], []
    findings: list[str] = []
    for title, split_by in kinds.items():
        splits = [
            (variant, name, split)
            for variant in data.variants
            for name in data.benchmarks
            if (split := split_by(variant.grid(name, None))) is not None
        ]
        if not splits:
            lacking.append(LACKING[title])
            continue
        values = [
            VariantValue(variant, name, split.difference, signed(split.difference), _sides(split))
            for variant, name, split in splits
        ]
        panels.append(Panel(title, by_variant(data, values, axis, mark=0)))
        for variant, name, split in splits:
            difference = signed(split.difference)
            sides = _sides(split).values()
            rows.append((title, variant.name, name, *sides, difference, split.verdict))
        findings += _findings(title, splits)
    if not panels:
        raise BadInput(" ".join(lacking))
    header = ("split", "variant", "benchmark", "shortest", "longest", "difference", "verdict")
    return Figure(
        text=(
            f"The shortest {SHARE:.0%} against the longest {SHARE:.0%}: of the questions by the "
            "mean length of their replies, and of the replies to each question. Above 0, the "
            f"shorter ones are correct more often. {LONGEST}",
            ACROSS,
            WITHIN,
            *lacking,
            *findings,
        ),
        panels=panels,
        tables=[Table("Shortest against longest", header, rows)],
    )


LACKING = {
    "across questions": "Across questions there is nothing to compare: one question was asked.",
    "within questions": "Within questions there is nothing to compare: each has one reply.",
}


def _findings(title: str, splits: Sequence[tuple[Variant, str, Split]]) -> Iterator[str]:
    """The splits that differ significantly, and how many do not."""
    significant = [
        item for item in splits if not item[2].difference.low <= 0 <= item[2].difference.high
    ]
    for variant, name, split in significant:
        yield (
            f"{name}, {variant.name}, {title}: {split.verdict} (shortest {percent(split.short)}, "
            f"longest {percent(split.long)})."
        )
    if rest := len(splits) - len(significant):
        count = f"{rest} of {len(splits)} splits"
        yield f"{title.capitalize()}, {count} show no significant difference."


def _sides(split: Split) -> dict[str, str]:
    return {"shortest": percent(split.short), "longest": percent(split.long)}


def inflation(data: ReportData) -> Figure:
    """Length of each compressed model over its own base's, paired by question."""
    ratios = []
    for variant, base in data.based:
        for name in data.benchmarks:
            ratio = compare(Setting(variant, None), Setting(base, None), [name]).tokens
            ratios.append(VariantValue(variant, name, ratio, times(ratio)))
    rows = [(item.variant.name, item.series, item.text) for item in ratios]
    axis = ChartAxis(f"{data.unit} over the dense model's")
    return Figure(
        text=(
            "The mean length of replies, divided by that of the dense model's replies to the same "
            f"questions. {LONGEST}",
        ),
        panels=[Panel("", by_variant(data, ratios, axis, mark=1))],
        tables=[Table("Length inflation", ("variant", "benchmark", "ratio"), rows)],
    )


def reply_endings(data: ReportData) -> Figure:
    """Shares of replies by how they ended. A share that is 0 throughout is named, not drawn."""
    kinds = [item.name for item in fields(Endings)]
    by_kind: dict[str, list[VariantValue]] = {kind: [] for kind in kinds}
    rows, panels, absent = [], [], []
    for variant in data.variants:
        for name in data.benchmarks:
            longest = endings(variant.grid(name, None))
            # Only a budget forces an answer, so that share is taken at the largest one.
            forced = endings(variant.grid(name, data.largest)).forced
            shares = {kind: getattr(longest, kind) for kind in kinds} | {"forced": forced}
            for kind, share in shares.items():
                by_kind[kind].append(VariantValue(variant, name, share, percent(share)))
            rows.append((variant.name, name, *map(percent, shares.values())))
    axis = ChartAxis("replies", "percent", charts.SHARE)
    for kind, values in by_kind.items():
        if any(item.value.value > 0 for item in values):
            title = f"{kind} {data.at_largest}" if kind == "forced" else kind
            panels.append(Panel(title, by_variant(data, values, axis)))
        else:
            absent.append(kind)
    if not panels:
        raise BadInput(f"no reply is {' or '.join(absent)}: all ended as they should.")
    return Figure(
        text=(
            "Unclosed: the thinking was never closed. Looping: the reply repeated itself until it "
            "reached a cap. Truncated: a cap cut the reply. Unanswered: no answer was found in the "
            "text. Forced: the budget ended the thinking, at the largest budget. All other shares "
            f"are of the longest generations, with no budget. {CUT_OPEN}",
            *([f"No reply is {' or '.join(absent)}."] if absent else []),
        ),
        panels=panels,
        tables=[Table("Endings", ("variant", "benchmark", *kinds), rows)],
    )


def first_correct(data: ReportData) -> Figure:
    """How long a reply is when the correct answer first appears in it."""
    values, rows = [], []
    for variant in data.variants:
        for name in data.benchmarks:
            first = data.first_correct.get((variant.name, name))
            if first is None:
                continue
            text = "it appears in none"
            if first.tokens and first.whole:
                text = amount(first.tokens)
                details = {
                    "whole reply": amount(first.whole),
                    "it appears in": percent(first.share),
                }
                values.append(VariantValue(variant, name, first.tokens, text, details))
            whole = amount(first.whole) if first.whole else ""
            rows.append((variant.name, name, percent(first.share), text, whole))
    if not values:
        raise BadInput("the correct answer appears in no reply.")
    axis = ChartAxis(f"{data.unit} until the correct answer")
    header = (
        "variant",
        "benchmark",
        "replies with the correct answer",
        "length until it first appears",
        "whole length of those replies",
    )
    return Figure(
        text=(
            "The length of a reply up to where the gold answer first appears in its text, over the "
            "replies in which it does. It may appear by chance, as a step or as a guess that is "
            "dropped again, so this is the earliest point at which stopping could have been right. "
            f"{LONGEST}",
        ),
        panels=[Panel("", by_variant(data, values, axis))],
        tables=[Table(f"In {data.unit}", header, rows)],
    )


SCORES = {
    "per_thousand": "points per 1,000 tokens",
    "ock_score": "OckScore",
    "aes": "AES",
}
"""The fields of `Efficiency`, and how they are called in the report."""


def efficiency_scores(data: ReportData) -> Figure:
    """Accuracy and length in one number."""
    if data.unit != "tokens":
        raise BadInput("these scores are defined in tokens: count tokens with --tokenizer NAME.")
    by_score: dict[str, list[VariantValue]] = {score: [] for score in SCORES}
    rows = []
    for variant in data.variants:
        base = data.base(variant)
        for name in data.benchmarks:
            grid, base_grid = variant.grid(name, None), None
            if base is not None:
                names = (variant.name, base.name)
                base_grid = aligned(grid, base.grid(name, None), names)[1]
            measured = efficiency(grid, base_grid)
            cells = []
            for score in SCORES:
                value: Interval | None = getattr(measured, score)
                cells.append("" if value is None else amount(value))
                if value is not None:
                    by_score[score].append(VariantValue(variant, name, value, amount(value)))
            rows.append((variant.name, name, *cells))
    marks = {"aes": 0.0}
    return Figure(
        text=(
            "Accuracy per 1,000 tokens is in percentage points. OckScore (OckBench, arXiv "
            "2511.05722): accuracy in percent - 10 ln(tokens / 10,000 + 1). AES (O1-Pruner, arXiv "
            "2501.12570), compared with the dense model: relative shortening + 3 x relative gain "
            "in accuracy, or - 5 x relative loss. Intervals are by bootstrap over questions. "
            f"{LONGEST}",
        ),
        panels=[
            Panel(
                SCORES[score], by_variant(data, values, ChartAxis(SCORES[score]), marks.get(score))
            )
            for score, values in by_score.items()
            if values
        ],
        tables=[Table("Efficiency", ("variant", "benchmark", *SCORES.values()), rows)],
    )
