"""Accuracy and length by level of compression, and where accuracy collapses."""

from __future__ import annotations

from collections.abc import Sequence

from lrm.analysis.collapse import Collapse, CollapseAxis, collapse
from lrm.records.point import Interval
from lrm.report.by_variant import LEVEL_AXES
from lrm.report.charts import ChartAxis, Dot, curves, intervals
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.report.spots import ACCURACY, CUT_OPEN, INTERVALS, budget_text, hover
from lrm.scoring.scores import accuracy, tokens
from lrm.tables import Table, amount, percent


def by_level(data: ReportData) -> Figure:
    """Accuracy at the largest budget, and where it falls below half."""
    axis = data.required_level_axis
    dots, rows = [], []
    for name in data.benchmarks:
        for spot in data.spots([name]):
            variant = spot.setting.variant
            if spot.setting.budget == data.largest:
                dots.append(Dot(name, data.level(variant), spot.accuracy, hover(spot)))
                rows.append((name, data.label(variant), percent(spot.accuracy)))
    collapses = [
        collapse(data.variants, name, budget, axis=axis)
        for name in data.benchmarks
        for budget in data.budgets
    ]
    at_largest = [item for item in collapses if item.budget == data.largest]
    panels = [
        Panel(f"accuracy {data.at_largest}", curves(dots, LEVEL_AXES[axis], ACCURACY)),
        *_collapse_panel(data, at_largest, axis),
    ]
    header = ("benchmark", "budget", "first level below half of the dense accuracy")
    sentences = [(item.benchmark, budget_text(item.budget), item.sentence) for item in collapses]
    return Figure(
        text=(
            f"{INTERVALS} A benchmark collapses at the first level with less than half of the "
            "dense model's accuracy. The interval of that level is by paired bootstrap over "
            "questions, and its ends are levels that were measured.",
            " ".join(item.sentence for item in at_largest),
        ),
        panels=panels,
        tables=[
            Table("Accuracy", ("benchmark", axis, "accuracy"), rows),
            Table("Collapse", header, sentences),
        ],
    )


def _collapse_panel(
    data: ReportData, collapses: Sequence[Collapse], axis: CollapseAxis
) -> list[Panel]:
    """The level at which each benchmark collapses, if one does."""
    dots = [_collapse_dot(item) for item in collapses if item.at is not None]
    if not dots:
        return []
    highest = max(data.level(variant) for variant in data.variants)
    sparsity = ChartAxis("sparsity", "percent", (0, min(1.0, highest + 0.05)))
    levels = sparsity if axis == "sparsity" else LEVEL_AXES[axis]
    return [Panel("collapses at", intervals(dots, levels, legend=False))]


def _collapse_dot(item: Collapse) -> Dot:
    """A collapse point with its interval. An end beyond the levels measured is drawn at their
    end."""
    assert item.at is not None
    mildest, hardest = item.levels[0], item.levels[-1]
    ends = [item.at, item.low or mildest, hardest if item.high is None else item.high]
    interval = Interval(item.at, min(ends), max(ends))
    return Dot(item.benchmark, item.benchmark, interval, {"collapse": item.sentence})


def tokens_by_level(data: ReportData) -> Figure:
    """Lengths of the longest generations."""
    axis = data.required_level_axis
    dots, rows = [], []
    for name in data.benchmarks:
        for variant in data.variants:
            length = tokens(variant.grid(name, None))
            correct = accuracy(variant.grid(name, None))
            details = {
                "variant": variant.name,
                "benchmark": name,
                "length": amount(length),
                "accuracy": percent(correct),
                "run": variant.run_id,
            }
            dots.append(Dot(name, data.level(variant), length, details))
            rows.append((name, data.label(variant), amount(length), percent(correct)))
    header = ("benchmark", axis, f"{data.unit} per question", "accuracy")
    lengths = ChartAxis(f"{data.unit} per question")
    return Figure(
        text=(
            f"These are the longest generations, with no budget. {CUT_OPEN} Length alone does not "
            f"show quality: a broken model may ramble or stop at once. {INTERVALS}",
        ),
        panels=[Panel("", curves(dots, LEVEL_AXES[axis], lengths))],
        tables=[Table("Length", header, rows)],
    )
