"""Figures as PNG bytes. Colours are safe for the colour-blind (Okabe and Ito 2008)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from lrm.records import Interval, Point

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
DPI = 140


def frontier(points: Sequence[Point], front: Sequence[Point], title: str) -> bytes:
    """Accuracy against tokens per question: a line per sparsity, the Pareto front on top."""
    figure, axes = _figure(9, 5.6)
    levels = sorted({point.sparsity for point in points})
    shades = matplotlib.colormaps["viridis"]
    for place, level in enumerate(levels):
        line = sorted((p for p in points if p.sparsity == level), key=lambda p: p.budget.tokens)
        axes.errorbar(
            [p.tokens.value for p in line],
            [p.accuracy.value for p in line],
            yerr=_ends([p.accuracy for p in line]),
            color=shades(0.92 * place / max(len(levels) - 1, 1)),
            label=f"{level:.0%} sparse",
            marker="o",
            markersize=4,
            linewidth=1.2,
            elinewidth=0.6,
            alpha=0.85,
        )
    axes.step(
        [p.tokens.value for p in front],
        [p.accuracy.value for p in front],
        where="post",
        color="#D55E00",
        linewidth=2.2,
        label="Pareto front",
        zorder=5,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.tick_params(axis="x", which="both", labelsize=9)
    axes.grid(which="minor", axis="x", alpha=0.25)
    axes.set_xlabel("tokens per question (log scale)")
    _percent(axes, "accuracy, mean over benchmarks (bars: 95% interval)")
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _png(figure)


def by_sparsity(lines: Mapping[str, Mapping[float, Interval]], title: str) -> bytes:
    """Accuracy of each benchmark against sparsity, at one budget."""
    figure, axes = _figure(9, 5)
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        levels = sorted(line)
        axes.errorbar(
            levels,
            [line[level].value for level in levels],
            yerr=_ends([line[level] for level in levels]),
            color=colour,
            label=name,
            marker="o",
            markersize=5,
            capsize=2,
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("sparsity of the blocks' linear layers")
    _percent(axes, "accuracy (bars: 95% interval)")
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return _png(figure)


def by_benchmark(series: Mapping[str, Mapping[str, Interval]], title: str) -> bytes:
    """Accuracy by benchmark, the series (each a name to its intervals) side by side."""
    names = list(dict.fromkeys(name for line in series.values() for name in line))
    figure, axes = _figure(max(6.5, 2.2 + 1.6 * len(names)), 4.6)
    for place, (colour, (label, line)) in enumerate(zip(COLOURS, series.items(), strict=False)):
        shift = 0.7 * ((place + 0.5) / len(series) - 0.5)
        shown = [name for name in names if name in line]
        axes.errorbar(
            [names.index(name) + shift for name in shown],
            [line[name].value for name in shown],
            yerr=_ends([line[name] for name in shown]),
            color=colour,
            label=label,
            linestyle="none",
            marker="o",
            markersize=6,
            capsize=3,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    _percent(axes, "accuracy (bars: 95% interval)")
    axes.set_title(title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False, ncols=2)
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _percent(axes: Axes, label: str) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(-0.02, 1.04)
    axes.set_ylabel(label)


def _ends(intervals: Sequence[Interval]) -> list[list[float]]:
    return [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
