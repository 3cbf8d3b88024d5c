"""The two kinds of chart that a report is made of: curves, and intervals side by side.

Charts are Altair's, drawn by Vega in a browser and by vl-convert as PNG. Colours are left to the
theme (`lrm.report.theme`), so that one chart serves light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import altair as alt

from lrm.records.point import Interval

Scale = Literal["percent", "number", "log"]
Chart = dict[str, object]
"""A Vega-Lite specification without its width."""

HEIGHT = 280
"""Pixels of a chart of curves."""

TICKS = 8
"""The approximate number of an axis' ticks; those whose labels would touch are left out."""

ROW = 15
"""Pixels of a row of intervals, one for each series."""


@dataclass(frozen=True)
class ChartAxis:
    """What an axis shows. `domain` is taken from the data if left out."""

    title: str
    scale: Scale = "number"
    domain: tuple[float, float] | None = None
    number_format: str = ",~r"
    """In the language of d3-format. A percent axis has its own."""

    def x(self, column: str) -> alt.X:
        """The axis as the x of a chart's `column`."""
        return alt.X(column, title=self.title, axis=self._ticks(), scale=self._scale())

    def y(self, column: str) -> alt.Y:
        """The axis as the y of a chart's `column`."""
        return alt.Y(column, title=self.title, axis=self._ticks(), scale=self._scale())

    def _ticks(self) -> alt.Axis:
        return alt.Axis(
            format="~%" if self.scale == "percent" else self.number_format,
            labelOverlap="greedy",
            labelSeparation=6,
            labelFlush=False,
            tickCount=TICKS,
        )

    def _scale(self) -> alt.Scale:
        if self.scale == "log":
            return alt.Scale(type="log", nice=False, padding=12)
        if self.domain:
            return alt.Scale(type="linear", domain=list(self.domain), nice=False)
        if self.scale == "number":
            return alt.Scale(type="linear", zero=False)
        return alt.Scale(type="linear")


SHARE = (-0.02, 1.02)
"""The domain of a share, with room for the marks at its ends."""


@dataclass(frozen=True)
class Dot:
    """One estimate in a chart.

    `position` is where it lies on the other axis, and `position_interval` the interval of that,
    where the position is an estimate too. `hover` is the text shown on hovering, by its label.
    Lines join the dots of one series and part.
    """

    series: str
    position: float | str
    value: Interval
    hover: Mapping[str, str] = field(default_factory=dict)
    position_interval: Interval | None = None
    part: str = ""

    def row(self, labels: Sequence[str]) -> dict[str, object]:
        """As Vega's data. Columns of `hover` are numbered, so that `labels` may hold any text."""
        left, right = (self.position_interval or Interval(0, 0, 0)).shown
        low, high = self.value.shown
        hover = {
            f"hover{i}": self.hover[label] for i, label in enumerate(labels) if label in self.hover
        }
        return {
            "series": self.series,
            "part": self.part,
            "position": self.position,
            "value": self.value.value,
            "low": low,
            "high": high,
            "left": left,
            "right": right,
            **hover,
        }


def curves(
    dots: Sequence[Dot],
    x: ChartAxis,
    y: ChartAxis,
    *,
    ordered: bool = False,
    front: Sequence[tuple[float, float]] = (),
    mark: float | None = None,
) -> Chart:
    """A line for each series with its intervals; `front` is drawn as a step line over them.

    `ordered` series, such as sparsities, get colours of one scale; `mark` draws a line at a value.
    """
    base = _base().encode(
        x=x.x("position:Q"), color=_colour(dots, "ordinal" if ordered else "nominal")
    )
    value = y.y("value:Q")
    layers: list[alt.Chart] = [
        base.mark_rule(opacity=0.55).encode(y=y.y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=1.8).encode(y=value, detail="part:N"),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=value, tooltip=_tooltips(dots)),
    ]
    if any(dot.position_interval for dot in dots):
        layers.insert(0, base.mark_rule(opacity=0.4).encode(x="left:Q", x2="right:Q", y=value))
    if front:
        steps = alt.InlineData(
            [{"position": x_value, "value": height} for x_value, height in front]
        )
        layers.append(
            alt.Chart(steps)
            .mark_line(interpolate="step-after", strokeWidth=2.4, strokeDash=[6, 3], style="front")
            .encode(x="position:Q", y="value:Q")
        )
    if mark is not None:
        layers.insert(0, _reference_line().encode(y=alt.datum(mark)))
    return _assembled(dots, layers, HEIGHT)


def intervals(
    dots: Sequence[Dot], x: ChartAxis, *, mark: float | None = None, legend: bool = True
) -> Chart:
    """Rows of estimates with their intervals; `mark` draws a line at one value, such as 0.

    Without a `legend` each row has one series, named by the row itself.
    """
    series, rows = _series(dots), list(dict.fromkeys(str(dot.position) for dot in dots))
    base = _base().encode(
        y=alt.Y("position:N", sort=rows, title=None, axis=alt.Axis(labelLimit=160, ticks=False)),
        color=_colour(dots, "nominal", legend=legend),
    )
    if legend:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.7).encode(x=x.x("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=54, opacity=1).encode(
            x="value:Q", tooltip=_tooltips(dots)
        ),
    ]
    if mark is not None:
        layers.insert(0, _reference_line().encode(x=alt.datum(mark)))
    return _assembled(dots, layers, len(rows) * max(len(series) if legend else 1, 1.4) * ROW)


def _reference_line() -> alt.Chart:
    chart: alt.Chart = alt.Chart(alt.InlineData([{}])).mark_rule(strokeDash=[3, 3])
    return chart


def _assembled(dots: Sequence[Dot], layers: Sequence[alt.Chart], height: float) -> Chart:
    """The layers over the dots' data, which is put in last: Altair copies all that it is given."""
    chart = alt.layer(*layers).to_dict()
    for layer in chart["layer"]:
        source = layer.pop("data", {"name": DOTS})["name"]
        if source != DOTS:
            layer["data"] = {"values": chart["datasets"][source]}
    labels = _hover_labels(dots)
    data = {"values": [dot.row(labels) for dot in dots]}
    return {"layer": chart["layer"], "data": data, "height": height}


DOTS = "dots"
"""The name that stands in a layer for the dots until they are put in."""


def _base() -> alt.Chart:
    return alt.Chart(alt.NamedData(DOTS))


def _series(dots: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(dot.series for dot in dots))


def _tooltips(dots: Sequence[Dot]) -> list[alt.Tooltip]:
    labels = _hover_labels(dots)
    return [alt.Tooltip(f"hover{i}:N", title=label) for i, label in enumerate(labels)]


def _hover_labels(dots: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(label for dot in dots for label in dot.hover))


def _colour(
    dots: Sequence[Dot], kind: Literal["ordinal", "nominal"], legend: bool = True
) -> alt.Color:
    """The series' colours, and a legend below with as many columns as fit a narrow screen."""
    series = _series(dots)
    columns = max(1, min(len(series), 42 // (max(map(len, series)) + 4)))
    below = alt.Legend(orient="bottom", title=None, columns=columns, labelLimit=300)
    shown = below if legend and len(series) > 1 else None
    return alt.Color("series", type=kind, sort=series, legend=shown)
