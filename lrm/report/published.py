"""The published figures compared with ours."""

from __future__ import annotations

from collections.abc import Sequence

from lrm.errors import BadInput
from lrm.report.charts import SHARE, ChartAxis, Dot, intervals
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.scoring import published as paper
from lrm.tables import percent


def published(data: ReportData) -> Figure:
    """Ours and the paper's, for every variant that the paper has too."""
    panels, tables = [], []
    for variant in data.variants:
        row = data.published.get(variant.name)
        if row is None:
            continue
        grids = {name: variant.grid(name, None) for name in variant.grids}
        ours = {
            name: (float(grid.per_question(grid.score).mean()), len(grid.questions))
            for name, grid in grids.items()
        }
        comparisons = paper.compare(row, ours)
        tables.append(paper.table(comparisons, row))
        if comparisons:
            dots = _dots(comparisons, f"ours: {variant.name}", f"paper: {row.compression}")
            axis = ChartAxis("accuracy", "percent", SHARE)
            panels.append(Panel(row.model, intervals(dots, axis)))
    if not panels:
        raise BadInput("the paper has no figures for these models on these benchmarks.")
    return Figure(
        text=(
            f"The figures of arXiv {paper.ARXIV} and ours, each with the binomial interval for its "
            "number of questions. Compatible: the interval of the difference contains 0.",
        ),
        panels=panels,
        tables=tables,
    )


def _dots(comparisons: Sequence[paper.PublishedComparison], ours: str, theirs: str) -> list[Dot]:
    return [
        Dot(series, item.benchmark, value, {series: percent(value), "verdict": item.verdict})
        for item in comparisons
        for series, value in ((ours, item.ours), (theirs, item.theirs))
    ]
