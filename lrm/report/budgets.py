"""Accuracy by budget."""

from __future__ import annotations

from lrm.errors import BadInput
from lrm.report.charts import ChartAxis, Dot, curves
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.report.spots import ACCURACY, INTERVALS, budget_text, hover
from lrm.tables import Table, percent


def by_budget(data: ReportData) -> Figure:
    """A line for each variant, a panel for each benchmark."""
    if data.largest is None:
        raise BadInput("no budgets were set when these replies were made.")
    if len(data.budgets) == 1:
        raise BadInput("only one budget was measured.")
    axis = ChartAxis("budget, thinking tokens, log scale", "log")
    panels, rows = [], []
    for name in data.benchmarks:
        dots = []
        for spot in data.spots([name]):
            variant, budget = spot.setting.variant, spot.setting.budget
            dots.append(
                Dot(data.label(variant), budget or 0, spot.accuracy, hover(spot), part=variant.name)
            )
            rows.append((name, variant.name, budget_text(budget), percent(spot.accuracy)))
        chart = curves(dots, axis, ACCURACY, ordered=data.level_axis is not None)
        panels.append(Panel(name, chart))
    line = "sparsity" if data.level_axis == "sparsity" else "variant"
    return Figure(
        text=(
            "A reply whose thinking has not ended at the budget is cut there and forced to answer. "
            f"There is one line for each {line}. {INTERVALS}",
        ),
        panels=panels,
        tables=[Table("Accuracy", ("benchmark", "variant", "budget", "accuracy"), rows)],
    )
