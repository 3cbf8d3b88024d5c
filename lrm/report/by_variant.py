"""A chart of one kind of number for every variant and benchmark, in the form that fits the
variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.report.charts import Chart, ChartAxis, Dot, curves, intervals
from lrm.report.data import ReportData

LEVEL_AXES = {
    "sparsity": ChartAxis("sparsity of the blocks' linear layers", "percent"),
    "bits": ChartAxis("bits per weight, log scale", "log"),
}


@dataclass(frozen=True)
class VariantValue:
    """A number of one variant on one benchmark (or kind of question), and its `text` in a table.

    `details` is more to show on hovering.
    """

    variant: Variant
    series: str
    value: Interval
    text: str
    details: dict[str, str] = field(default_factory=dict)

    def hover(self, quantity: str) -> dict[str, str]:
        """What hovering shows, the number itself under the name of its `quantity`."""
        values = {"variant": self.variant.name, "of": self.series, quantity: self.text}
        return {**values, **self.details, "run": self.variant.run_id}


def by_variant(
    data: ReportData, values: Sequence[VariantValue], axis: ChartAxis, mark: float | None = None
) -> Chart:
    """Curves over the levels, if the variants are levels of one model; else intervals in rows.

    There is a group of rows for each series, or where there are many variants a group for each of
    those. Numbers without a finite interval are for the table alone. Raises BadInput where none has
    one.
    """
    order = list(dict.fromkeys(value.series for value in values))
    finite = [item for item in values if isfinite(item.value.low) and isfinite(item.value.high)]
    if not finite:
        raise BadInput("no interval is known: too few questions were asked.")
    shown = sorted(finite, key=lambda item: order.index(item.series))
    quantity = axis.title.partition(",")[0]
    if data.level_axis:
        dots = [
            Dot(item.series, data.level(item.variant), item.value, item.hover(quantity))
            for item in shown
        ]
        return curves(dots, LEVEL_AXES[data.level_axis], axis, mark=mark)
    dots = []
    for item in shown:
        series, row = item.variant.name, item.series
        if data.crowded:
            series, row = row, series
        dots.append(Dot(series, row, item.value, item.hover(quantity)))
    return intervals(dots, axis, mark=mark)
