"""Results as one HTML page: no network, no scripts, everything escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from lrm.tables import Table

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #8884;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; background: white; border-radius: 6px; }
p { max-width: 75ch; }
.facts td { text-align: left; }
</style></head><body>
<h1>{{ title }}</h1>
{% for name, image in figures.items() %}
<h2>{{ name }}</h2>
<img alt="{{ name }}" src="data:image/png;base64,{{ image }}">
{% endfor %}
{% for table in tables %}
<h2>{{ table.heading }}</h2>
{% if table.note %}<p>{{ table.note }}</p>{% endif %}
<div class="wide"><table>
<tr>{% for cell in table.header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}
<h2>How it was made</h2>
<div class="wide"><table class="facts">
{% for name, value in params.items() %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}</table></div>
</body></html>
"""


COLLAPSE = (
    "The first sparsity at which a benchmark keeps less than half of the densest level's accuracy, "
    "at the largest budget; in brackets its 95% interval by paired bootstrap over questions."
)
POINT = (
    "sparsity", "measured", "budget", "policy", "accuracy", "95% interval", "tokens per question",
    "95% interval", "run",
)  # fmt: skip


def render(
    *,
    title: str,
    params: Mapping[str, object],
    figures: Mapping[str, bytes],
    front: Sequence[Mapping[str, Any]],
    points: Sequence[Mapping[str, Any]],
    collapses: Mapping[str, str],
) -> str:
    """A search's page. `figures`: PNG bytes by heading; rows of `front` and `points` are flat."""
    tables = (
        Table("Collapse", ("benchmark", "collapse"), list(collapses.items()), COLLAPSE),
        Table("Pareto front", POINT, [_cells(row) for row in front]),
        Table("All points", POINT, [_cells(row) for row in points]),
    )
    return page(title=title, params=params, figures=figures, tables=tables)


def page(
    *,
    title: str,
    params: Mapping[str, object],
    figures: Mapping[str, bytes],
    tables: Sequence[Table],
) -> str:
    """Figures (PNG bytes by heading), tables and parameters, as one page."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        PAGE
    )
    return template.render(
        title=title,
        params=params,
        figures={name: base64.b64encode(data).decode() for name, data in figures.items()},
        tables=tables,
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['sparsity']:.0%}",
        "not measured" if row["sparsity_achieved"] is None else f"{row['sparsity_achieved']:.2%}",
        str(row["budget"]),
        row["policy"],
        f"{row['accuracy']:.1%}",
        f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}",
        f"{row['tokens_mean']:.1f}",
        f"{row['tokens_low']:.1f} to {row['tokens_high']:.1f}",
        row["run_id"],
    )
