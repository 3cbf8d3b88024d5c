"""The two kinds of chart that a report is made of: curves, and intervals side by side.

Charts are Altair's, drawn by Vega in a browser and by vl-convert as PNG. Colours are left to the
theme (`lrm.report.theme`), so that one chart serves light and dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import altair as alt

from lrm.records import Interval

Scale = Literal["percent", "number", "log"]
Chart = alt.LayerChart
HEIGHT = 280
ROW = 15
"""Pixels of a row of intervals, one for each series."""


@dataclass(frozen=True)
class Axis:
    """What an axis shows. `domain` is taken from the data if left out."""

    title: str
    scale: Scale = "number"
    domain: tuple[float, float] | None = None

    @property
    def format(self) -> str:
        return "~%" if self.scale == "percent" else "~s"

    def encoded(self) -> dict[str, object]:
        """As Altair's x or y takes it."""
        scale = {"type": "log" if self.scale == "log" else "linear", "nice": self.scale != "log"}
        if self.domain:
            scale |= {"domain": list(self.domain), "nice": False}
        elif self.scale != "percent":
            scale["zero"] = False
        return {
            "title": self.title,
            "axis": alt.Axis(format=self.format, labelOverlap="greedy"),
            "scale": alt.Scale(**scale),  # type: ignore[arg-type]
        }


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

    def row(self) -> dict[str, object]:
        across = self.across or Interval(0, 0, 0)
        return {
            "series": self.series,
            "place": self.place,
            "value": self.value.value,
            "low": self.value.low,
            "high": self.value.high,
            "left": across.low,
            "right": across.high,
            **self.told,
        }


def curves(
    dots: Sequence[Dot],
    x: Axis,
    y: Axis,
    *,
    ordered: bool = False,
    front: Sequence[tuple[float, float]] = (),
) -> Chart:
    """A line for each series with its intervals; `front` is drawn as a step line over them.

    `ordered` series, such as sparsities, get colours of one scale.
    """
    base = _base(dots).encode(
        x=alt.X("place:Q", **x.encoded()), color=_colour(dots, "ordinal" if ordered else "nominal")
    )
    axis = alt.Y("value:Q", **y.encoded())
    layers: list[alt.Chart] = [
        base.mark_rule(opacity=0.55).encode(y=alt.Y("low:Q", **y.encoded()), y2="high:Q"),
        base.mark_line(strokeWidth=1.8).encode(y=axis),
        base.mark_point(filled=True, size=46, opacity=1).encode(y=axis, tooltip=_told(dots)),
    ]
    if any(dot.across for dot in dots):
        layers.insert(0, base.mark_rule(opacity=0.4).encode(x="left:Q", x2="right:Q", y=axis))
    if front:
        steps = alt.Data(values=[{"place": at, "value": height} for at, height in front])
        layers.append(
            alt.Chart(steps)
            .mark_line(interpolate="step-after", strokeWidth=2.4, strokeDash=[6, 3], style="front")
            .encode(x="place:Q", y="value:Q")
        )
    return alt.layer(*layers).properties(height=HEIGHT)


def intervals(
    dots: Sequence[Dot], x: Axis, *, mark: float | None = None, legend: bool = True
) -> Chart:
    """Rows of estimates with their intervals; `mark` draws a line at one value, such as 0.

    Without a `legend` each place has one series, told by its name.
    """
    series, places = _series(dots), list(dict.fromkeys(str(dot.place) for dot in dots))
    base = _base(dots).encode(
        y=alt.Y("place:N", sort=places, title=None, axis=alt.Axis(labelLimit=130, ticks=False)),
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
        line = alt.Chart(alt.Data(values=[{"at": mark}])).mark_rule(strokeDash=[3, 3])
        layers.insert(0, line.encode(x="at:Q"))
    return alt.layer(*layers).properties(
        height=len(places) * max(len(series) if legend else 1, 1.4) * ROW
    )


def _base(dots: Sequence[Dot]) -> alt.Chart:
    return alt.Chart(alt.Data(values=[dot.row() for dot in dots]))


def _series(dots: Sequence[Dot]) -> list[str]:
    return list(dict.fromkeys(dot.series for dot in dots))


def _told(dots: Sequence[Dot]) -> list[alt.Tooltip]:
    names = dict.fromkeys(name for dot in dots for name in dot.told)
    return [alt.Tooltip(f"{name}:N", title=name) for name in names]


def _colour(
    dots: Sequence[Dot], kind: Literal["ordinal", "nominal"], legend: bool = True
) -> alt.Color:
    """The series' colours, and a legend below with as many columns as fit a narrow screen."""
    series = _series(dots)
    columns = max(1, min(len(series), 42 // (max(map(len, series)) + 4)))
    below = alt.Legend(orient="bottom", title=None, columns=columns, labelLimit=300)
    shown = below if legend and len(series) > 1 else None
    return alt.Color("series", type=kind, sort=series, legend=shown)
