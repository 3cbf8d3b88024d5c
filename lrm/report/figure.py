"""What a report's sections are: a figure with its tables, or a sentence why there is none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import vl_convert

from lrm.report.charts import Chart
from lrm.report.theme import PAPER
from lrm.tables import Table

PANEL_WIDTH = 420
"""Pixels, as Vega counts them."""

PNG_SCALE = 2.0
"""Pixels of a PNG file for each of Vega's."""


@dataclass(frozen=True)
class Panel:
    """One chart of a figure."""

    title: str
    chart: Chart


@dataclass(frozen=True)
class Figure:
    """Charts, the paragraphs `text` that say how to read them and what they show, and their
    numbers as tables."""

    text: Sequence[str]
    panels: Sequence[Panel]
    tables: Sequence[Table]

    def png(self) -> bytes:
        """All panels as one picture, two in a row."""
        picture = {
            "$schema": alt.SCHEMA_URL,
            "concat": [
                {**panel.chart, "width": PANEL_WIDTH, "title": panel.title} for panel in self.panels
            ],
            "columns": 2,
            "resolve": {"scale": {"color": "independent"}},
        }
        return vl_convert.vegalite_to_png(json.dumps(picture), scale=PNG_SCALE, config=PAPER)


@dataclass(frozen=True)
class Section:
    """A figure under its heading, or the `reason` why there is none. `name` is that of its file."""

    name: str
    heading: str
    figure: Figure | None
    reason: str = ""
