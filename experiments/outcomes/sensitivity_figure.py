"""The figure of a sensitivity study: what each part costs in perplexity and in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt

from lrm.analysis.compare import pooled
from lrm.records.point import Interval
from lrm.report.charts import Chart, ChartAxis, Dot, intervals
from lrm.report.figure import Figure, Panel
from lrm.stats.paired import Difference

ROW = 21
"""Pixels of a bar, as of an interval beside it."""

CELL = 26
"""Pixels of a row of a heat map."""

PALE = 0.01
"""The darkest cell of a map stands for this share at least, so that noise stays pale."""

ONE = "part"
"""The only series of the rows, so that all have one colour."""

DATA = "parts"
"""The name that stands in a chart for its data until they are put in."""


@dataclass(frozen=True)
class Harm:
    """What quantizing one part does: its share of the weights, reconstruction error and perplexity,
    None where not measured; accuracy by benchmark and their mean; `each`, accuracy less the model's
    own by benchmark."""

    part: str
    share: float | None
    error: float | None
    perplexity: float | None
    accuracy: Mapping[str, Interval]
    mean: Interval
    each: Mapping[str, Difference]

    @cached_property
    def apart(self) -> Difference:
        """The mean accuracy less the model's own."""
        return pooled(list(self.each.values()))

    @property
    def position(self) -> tuple[str, str] | None:
        """The block and the kind of a single layer; None for any other part."""
        block, dot, inner = self.part.removeprefix("layers.").partition(".")
        return (block, inner.rpartition(".")[2]) if dot else None


def figure(harms: Sequence[Harm], dense: float | None) -> Figure:
    """Two panels on the parts of a model: perplexity, where it was measured, against `dense`, the
    model's own; and accuracy. Single layers are drawn as a map of blocks and kinds, other parts as
    rows."""
    panels = _maps(harms, dense) if harms[0].position else _rows(harms, dense)
    return Figure(text=(), panels=panels, tables=())


def _rows(harms: Sequence[Harm], dense: float | None) -> list[Panel]:
    dots = [Dot(ONE, harm.part, harm.apart.interval) for harm in harms]
    points = ChartAxis("accuracy less the model's own", "percent")
    panels = [Panel("Accuracy, with 95% intervals", intervals(dots, points, mark=0, legend=False))]
    rises = _rises(harms, dense)
    return [Panel("Perplexity", _bars(rises)), *panels] if rises else panels


def _maps(harms: Sequence[Harm], dense: float | None) -> list[Panel]:
    lost = [(harm, -harm.apart.value) for harm in harms]
    rises = _rises(harms, dense)
    panels = [Panel("Accuracy lost (*: significant)", _map(lost, "z.1%", stars=True))]
    return (
        [Panel("Perplexity, above the model's own", _map(rises, "z.2%")), *panels]
        if rises
        else panels
    )


def _rises(harms: Sequence[Harm], dense: float | None) -> list[tuple[Harm, float]]:
    """By what share each part raises perplexity; empty where it was not measured."""
    if dense is None or any(harm.perplexity is None for harm in harms):
        return []
    return [(harm, (harm.perplexity or 0) / dense - 1) for harm in harms]


def _bars(values: Sequence[tuple[Harm, float]]) -> Chart:
    parts = [harm.part for harm, _ in values]
    chart = (
        alt.Chart(alt.NamedData(DATA))
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="above the model's own", axis=alt.Axis(format="~%")),
            y=alt.Y("part:N", sort=parts, title=None, axis=alt.Axis(labelLimit=130, ticks=False)),
        )
    )
    rows = [{"part": harm.part, "value": value} for harm, value in values]
    return _drawn(chart, rows, ROW * len(rows))


def _map(values: Sequence[tuple[Harm, float]], form: str, stars: bool = False) -> Chart:
    rows = []
    for harm, value in values:
        block, kind = harm.position or ("", "")
        label = format(value, form) + ("*" if stars and harm.apart.significant else "")
        rows.append({"block": int(block), "kind": kind, "value": value, "told": label})
    base = alt.Chart(alt.NamedData(DATA)).encode(
        x=alt.X("kind:N", title=None, axis=alt.Axis(labelAngle=-40, ticks=False)),
        y=alt.Y("block:O", title="block"),
    )
    top = max(PALE, *(value for _, value in values))
    words = base.mark_text(fontSize=10).encode(
        text="told:N",
        color=alt.condition(alt.datum.value > top / 2, alt.value("white"), alt.value("#333")),
    )
    scale = alt.Scale(scheme="oranges", domain=[0, top], clamp=True)
    shade = alt.Color("value:Q", legend=None, scale=scale)
    cells = base.mark_rect().encode(color=shade)
    return _drawn(cells + words, rows, CELL * len({row["block"] for row in rows}))


def _drawn(chart: Any, rows: Sequence[Mapping[str, Any]], height: float) -> Chart:
    """A chart's specification, its data inside, without settings of its own."""
    specification: Chart = chart.to_dict()
    plain = {key: value for key, value in specification.items() if key not in ("$schema", "config")}
    return plain | {"data": {"values": list(rows)}, "height": height}
