"""The frontier of accuracy against tokens, and the hypervolume that a search reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrm.analysis.compare import averages
from lrm.analysis.fronts import Front, Spot, front
from lrm.analysis.unsolved import empty_front
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.report.charts import ChartAxis, Dot, curves
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.report.spots import ACCURACY, INTERVALS, budget_text, log_length, spot_dot
from lrm.tables import Table, amount, percent, signed, times


def frontier(data: ReportData) -> Figure:
    """Every variant at every budget: the averages first, then each benchmark."""
    axis = ChartAxis(f"{data.unit} per question, log scale", "log")
    if len(data.settings()) == 1:
        return _one_point(data, axis)
    fronts = {title: front(data.settings(), names) for title, names in _groups(data).items()}
    panels, rows = [], []
    for title, group in fronts.items():
        best = [group.spots[i] for i in group.front]
        steps = [(log_length(spot.tokens.value), spot.accuracy.value) for spot in best]
        dots = [
            spot_dot(data.label(spot.setting.variant), spot, spot.setting.variant.name)
            for spot in group.spots
        ]
        chart = curves(dots, axis, ACCURACY, ordered=data.level_axis is not None, front=steps)
        panels.append(Panel(_panel_title(title, group.benchmarks), chart))
        rows += [(title, *_cells(spot), "yes" if spot in best else "") for spot in group.spots]
    first = next(iter(fronts.values()))
    return Figure(
        text=(
            "Each point is one model at one budget. The dashed line is the Pareto front: no other "
            f"point beats one of its points in both accuracy and length. {INTERVALS} Hover over a "
            "point to see its run.",
            _summary(first),
        ),
        panels=panels,
        tables=[
            Table("All points", (*_header(data), "on the front"), rows),
            *_neighbours(first),
            *_with_bytes(first),
        ],
    )


def _groups(data: ReportData) -> Mapping[str, Sequence[str]]:
    """The benchmarks of each panel, by its title."""
    return {**averages(data.variants), **{name: (name,) for name in data.benchmarks}}


def _one_point(data: ReportData, axis: ChartAxis) -> Figure:
    """One model at one budget has no front: its benchmarks side by side."""
    spots = {title: data.spots(names)[0] for title, names in _groups(data).items()}
    dots = [spot_dot(title, spot, spot.setting.variant.name) for title, spot in spots.items()]
    rows = [(title, *_cells(spot)) for title, spot in spots.items()]
    return Figure(
        text=(
            "There is only one model at one budget, so there is no front. Shown are its benchmarks "
            f"and their average. {INTERVALS}",
        ),
        panels=[Panel("", curves(dots, axis, ACCURACY))],
        tables=[Table("By benchmark", _header(data), rows)],
    )


def _header(data: ReportData) -> tuple[str, ...]:
    length = f"{data.unit} per question"
    return ("benchmark", "variant", "budget", "accuracy", length, "run")


def _cells(spot: Spot) -> Sequence[str]:
    name, budget = spot.setting.variant.name, budget_text(spot.setting.budget)
    return (name, budget, percent(spot.accuracy), amount(spot.tokens), spot.run_id)


def _panel_title(title: str, benchmarks: Sequence[str]) -> str:
    return title if len(benchmarks) == 1 else f"{title} of {', '.join(benchmarks)}"


def _summary(group: Front) -> str:
    """The front of the first panel in words."""
    if note := empty_front([spot.accuracy for spot in group.spots]):
        return note
    sentences = []
    if group.neighbours:
        separable = sum(pair.separable for pair in group.neighbours)
        sentences.append(
            f"Of {len(group.neighbours)} pairs of neighbours on the front, {separable} differ "
            "significantly in accuracy or in length, compared on the same questions."
        )
    if group.knee is None:
        sentences.append("The front has no knee: nowhere do more tokens begin to buy less.")
    else:
        name = group.spots[group.knee].name
        sentences.append(f"Its knee is {name}: beyond it, accuracy rises more slowly.")
    unit = group.spots[0].setting.variant.unit
    sentences.append(
        f"Its hypervolume is {group.hypervolume:,.1f} (accuracy x {unit}); the reference point is "
        f"accuracy 0 and {group.worst_tokens:,.1f} {unit}, the length of the longest point."
    )
    return " ".join(sentences)


def _neighbours(group: Front) -> list[Table]:
    if not group.neighbours:
        return []
    rows = [
        (
            pair.first,
            pair.second,
            signed(pair.accuracy.interval),
            times(pair.tokens),
            "yes" if pair.separable else "no significant difference",
        )
        for pair in group.neighbours
    ]
    header = ("point", "next shorter one", "accuracy", "length", "separable")
    note = (
        "The point against the next shorter one on the same questions: the difference in accuracy "
        "in percentage points, and the ratio of lengths."
    )
    return [Table("Neighbours on the first front", header, rows, note)]


def _with_bytes(group: Front) -> list[Table]:
    """The front where the bytes of the weights are a third cost, if they are known and differ."""
    if group.front_with_bytes is None or len({spot.bytes for spot in group.spots}) < 2:
        return []
    rows = [
        (
            spot.name,
            f"{spot.bytes or 0:,.0f}",
            percent(spot.accuracy),
            amount(spot.tokens),
            spot.run_id,
        )
        for spot in (group.spots[i] for i in group.front_with_bytes)
    ]
    unit = group.spots[0].setting.variant.unit
    note = (
        "No other point beats one of these in accuracy, length and size together. The hypervolume "
        f"is {group.volume or 0:,.4g} (accuracy x {unit} x bytes); the reference point is accuracy "
        f"0, {group.worst_tokens:,.1f} {unit} and {group.worst_bytes or 0:,.0f} bytes."
    )
    header = ("point", "bytes of the weights", "accuracy", f"{unit} per question", "run")
    return [Table("The first front, with bytes of the weights as a third cost", header, rows, note)]


def hypervolume(data: ReportData) -> Figure:
    """The hypervolume after each trial of the search."""
    if len(data.hypervolumes) < 2:
        raise BadInput("this needs a search of two levels or more.")
    dots = [
        Dot(
            "hypervolume",
            trial,
            Interval(area, area, area),
            {"trial": str(trial), "area": f"{area:,.1f}"},
        )
        for trial, area in sorted(data.hypervolumes.items())
    ]
    return Figure(
        text=(
            "The area, in accuracy x tokens, that all points so far dominate, as the search logged "
            "it after each trial. The reference point is accuracy 0 and the search's cap on "
            "tokens. The area is computed from the estimates and has no interval.",
        ),
        panels=[Panel("", curves(dots, ChartAxis("trial"), ChartAxis("hypervolume")))],
        tables=[],
    )
