"""What a report's sections are: a figure with its table, or a sentence why there is none."""

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
PIXELS_A_POINT = 2.0


@dataclass(frozen=True)
class Panel:
    """One chart of a figure."""

    title: str
    chart: Chart


@dataclass(frozen=True)
class Figure:
    """Charts, what they say and how they are to be read, and their numbers."""

    says: Sequence[str]
    panels: Sequence[Panel]
    tables: Sequence[Table]

    def png(self) -> bytes:
        """All panels as one picture, two in a row."""
        whole = {
            "$schema": alt.SCHEMA_URL,
            "concat": [
                {**panel.chart, "width": PANEL_WIDTH, "title": panel.title} for panel in self.panels
            ],
            "columns": 2,
            "resolve": {"scale": {"color": "independent"}},
        }
        return vl_convert.vegalite_to_png(json.dumps(whole), scale=PIXELS_A_POINT, config=PAPER)


@dataclass(frozen=True)
class Section:
    """A figure under its heading, or the sentence why there is none. `name` is that of its file."""

    name: str
    heading: str
    figure: Figure | None
    why: str = ""
