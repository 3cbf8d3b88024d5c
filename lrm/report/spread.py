"""One kind of number for every variant and benchmark, drawn in the way that fits the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records import Interval
from lrm.report.charts import Chart, ChartAxis, Dot, curves, intervals
from lrm.report.material import Material

LADDERS = {
    "sparsity": ChartAxis("sparsity of the blocks' linear layers", "percent"),
    "bits": ChartAxis("bits per weight, log scale", "log"),
}


@dataclass(frozen=True)
class Found:
    """A number of one variant on one benchmark (or kind of question), as `told` in a table."""

    variant: Variant
    series: str
    value: Interval
    told: str
    further: dict[str, str] = field(default_factory=dict)

    def hover(self, name: str) -> dict[str, str]:
        about = {"variant": self.variant.name, "of": self.series, name: self.told}
        return {**about, **self.further, "run": self.variant.run_id}


def spread(
    material: Material, found: Sequence[Found], axis: ChartAxis, mark: float | None = None
) -> Chart:
    """Curves over the ladder that the variants form, else intervals in rows: a group of rows for
    each kind of question, or where there are many variants for each of those.

    Numbers without a finite interval are for the table alone. Raises BadInput where none has one.
    """
    order = list(dict.fromkeys(one.series for one in found))
    finite = [one for one in found if isfinite(one.value.low) and isfinite(one.value.high)]
    if not finite:
        raise BadInput("no interval is known: too few questions were asked.")
    shown = sorted(finite, key=lambda one: order.index(one.series))
    name = axis.title.partition(",")[0]
    if material.ladder:
        dots = [
            Dot(one.series, material.step(one.variant), one.value, one.hover(name)) for one in shown
        ]
        return curves(dots, LADDERS[material.ladder], axis, mark=mark)
    dots = []
    for one in shown:
        series, place = one.variant.name, one.series
        if material.crowded:
            series, place = place, series
        dots.append(Dot(series, place, one.value, one.hover(name)))
    return intervals(dots, axis, mark=mark)
