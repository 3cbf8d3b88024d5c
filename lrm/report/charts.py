"""The two kinds of chart that a report is made of: curves, and intervals side by side.

Charts are Altair's, drawn by Vega in a browser and by vl-convert as PNG. Colours are left to the
theme (`lrm.report.theme`), so that one chart serves light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt

from lrm.records import Interval

Scale = Literal["percent", "number", "log"]
Chart = dict[str, Any]
"""A Vega-Lite specification without its width."""

HEIGHT = 280
TICKS = 8
"""Of an axis, about; those whose labels would touch are left out."""

ROW = 15
"""Pixels of a row of intervals, one for each series."""


@dataclass(frozen=True)
class ChartAxis:
    """What an axis shows. `domain` is taken from the data if left out."""

    title: str
    scale: Scale = "number"
    domain: tuple[float, float] | None = None
    form: str = ",~r"
    """How its numbers are written, in the language of d3-format."""

    def encoded(self) -> dict[str, Any]:
        """As Altair's x or y takes it."""
        scale: dict[str, Any] = {"type": "log" if self.scale == "log" else "linear"}
        if self.scale == "log":
            scale |= {"nice": False, "padding": 12}
        elif self.domain:
            scale |= {"domain": list(self.domain), "nice": False}
        elif self.scale == "number":
            scale["zero"] = False
        ticks = alt.Axis(
            format="~%" if self.scale == "percent" else self.form,
            labelOverlap="greedy",
            labelSeparation=6,
            labelFlush=False,
            tickCount=TICKS,
        )
        return {"title": self.title, "axis": ticks, "scale": alt.Scale(**scale)}


SHARE = (-0.02, 1.02)
"""The domain of a share, with room for the marks at its ends."""


@dataclass(frozen=True)
class Dot:
    """One estimate. `place` is where it stands on the other axis; `told` is what hovering tells."""

    series: str
    place: float | str
    value: Interval
    told: Mapping[str, str] = field(default_factory=dict)
    across: Interval | None = None
    """The place's own interval, where it is an estimate too."""
    part: str = ""
    """Lines join the dots of one series and part."""

    def row(self, names: Sequence[str]) -> dict[str, object]:
        """As Vega's data; what hovering tells goes by number, so that any `names` will do."""
        across = self.across or Interval(0, 0, 0)
        told = {f"told{i}": self.told[name] for i, name in enumerate(names) if name in self.told}
        return {
            "series": self.series,
            "part": self.part,
            "place": self.place,
            "value": self.value.value,
            "low": self.value.low,
            "high": self.value.high,
            "left": across.low,
            "right": across.high,
            **told,
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
        x=alt.X("place:Q", **x.encoded()),
        color=_colour(dots, "ordinal" if ordered else "nominal"),
    )
    axis = alt.Y("value:Q", **y.encoded())
    layers: list[alt.Chart] = [
        base.mark_rule(opacity=0.55).encode(y=alt.Y("low:Q", **y.encoded()), y2="high:Q"),
        base.mark_line(strokeWidth=1.8).encode(y=axis, detail="part:N"),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=axis, tooltip=_told(dots)),
    ]
    if any(dot.across for dot in dots):
        layers.insert(0, base.mark_rule(opacity=0.4).encode(x="left:Q", x2="right:Q", y=axis))
    if front:
        steps = alt.InlineData([{"place": at, "value": height} for at, height in front])
        layers.append(
            alt.Chart(steps)
            .mark_line(interpolate="step-after", strokeWidth=2.4, strokeDash=[6, 3], style="front")
            .encode(x="place:Q", y="value:Q")
        )
    if mark is not None:
        layers.insert(0, _mark().encode(y=alt.datum(mark)))
    return _drawn(dots, layers, HEIGHT)


def intervals(
    dots: Sequence[Dot], x: ChartAxis, *, mark: float | None = None, legend: bool = True
) -> Chart:
    """Rows of estimates with their intervals; `mark` draws a line at one value, such as 0.

    Without a `legend` each place has one series, told by its name.
    """
    series, places = _series(dots), list(dict.fromkeys(str(dot.place) for dot in dots))
    base = _base().encode(
        y=alt.Y("place:N", sort=places, title=None, axis=alt.Axis(labelLimit=160, ticks=False)),
        color=_colour(dots, "nominal", legend=legend),
    )
    if legend:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    layers = [
        base.mark_rule(strokeWidth=2, opacity=0.7).encode(
            x=alt.X("low:Q", **x.encoded()), x2="high:Q"
        ),
        base.mark_point(filled=True, size=54, opacity=1).encode(x="value:Q", tooltip=_told(dots)),
    ]
    if mark is not None:
        layers.insert(0, _mark().encode(x=alt.datum(mark)))
    return _drawn(dots, layers, len(places) * max(len(series) if legend else 1, 1.4) * ROW)


def _mark() -> alt.Chart:
    chart: alt.Chart = alt.Chart(alt.InlineData([{}])).mark_rule(strokeDash=[3, 3])
    return chart


def _drawn(dots: Sequence[Dot], layers: Sequence[alt.Chart], height: float) -> Chart:
    """The layers over the dots' data, which is put in last: Altair copies all that it is given."""
    drawn = alt.layer(*layers).to_dict()
    for layer in drawn["layer"]:
        own = layer.pop("data", {"name": DOTS})["name"]
        if own != DOTS:
            layer["data"] = {"values": drawn["datasets"][own]}
    data = {"values": [dot.row(_names(dots)) for dot in dots]}
    return {"layer": drawn["layer"], "data": data, "height": height}


DOTS = "dots"
"""The name that stands in a layer for the dots until they are put in."""


def _base() -> alt.Chart:
    return alt.Chart(alt.NamedData(DOTS))


def _series(dots: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(dot.series for dot in dots))


def _told(dots: Sequence[Dot]) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"told{i}:N", title=name) for i, name in enumerate(_names(dots))]


def _names(dots: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(name for dot in dots for name in dot.told))


def _colour(
    dots: Sequence[Dot], kind: Literal["ordinal", "nominal"], legend: bool = True
) -> alt.Color:
    """The series' colours, and a legend below with as many columns as fit a narrow screen."""
    series = _series(dots)
    columns = max(1, min(len(series), 42 // (max(map(len, series)) + 4)))
    below = alt.Legend(orient="bottom", title=None, columns=columns, labelLimit=300)
    shown = below if legend and len(series) > 1 else None
    return alt.Color("series", type=kind, sort=series, legend=shown)
