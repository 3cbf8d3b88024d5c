"""Accuracy against tokens: the frontier, and its two axes by budget and by level of compression."""

from __future__ import annotations

from collections.abc import Sequence

from lrm.analysis.collapse import Collapse, collapse
from lrm.analysis.compare import accuracy, averages, tokens
from lrm.analysis.fronts import Front, Spot, front
from lrm.errors import BadInput
from lrm.records import Interval
from lrm.report.charts import SHARE, ChartAxis, Dot, curves, intervals
from lrm.report.figure import Figure, Panel
from lrm.report.material import Material
from lrm.report.spread import LADDERS
from lrm.tables import Table, amount, percent, signed, times

ACCURACY = ChartAxis("accuracy", "percent", SHARE)
INTERVALS = "Bars are 95% intervals over questions."


def the_frontier(material: Material) -> Figure:
    """Every variant at every budget: the averages first, then each benchmark."""
    axis = ChartAxis(f"{material.unit} per question, log scale", "log")
    if len(material.settings()) == 1:
        return _one_point(material, axis)
    groups = {**averages(material.variants), **{name: (name,) for name in material.benchmarks}}
    panels, rows, first = [], [], None
    for title, names in groups.items():
        found = front(material.settings(), names)
        first = first or found
        on = [found.spots[place] for place in found.front]
        steps = [(_logged(one.tokens.value), one.accuracy.value) for one in on]
        dots = [_dot(material.label(one.setting.variant), one) for one in found.spots]
        drawn = curves(dots, axis, ACCURACY, ordered=material.ladder is not None, front=steps)
        panels.append(Panel(_titled(title, names), drawn))
        rows += [(title, *_cells(one), "yes" if one in on else "") for one in found.spots]
    assert first
    return Figure(
        says=(
            "Each point is one model at one budget. The dashed line is the Pareto front: no other "
            f"point is both more accurate and shorter. {INTERVALS} Hovering tells the run.",
            _told_of(first),
        ),
        panels=panels,
        tables=[
            Table("All points", (*_header(material), "on the front"), rows),
            *_neighbours(first),
            *_with_bytes(first),
        ],
    )


def _one_point(material: Material, axis: ChartAxis) -> Figure:
    """One model at one budget has no front: its benchmarks side by side."""
    groups = {**averages(material.variants), **{name: (name,) for name in material.benchmarks}}
    spots = {title: material.spots(names)[0] for title, names in groups.items()}
    dots = [_dot(title, one) for title, one in spots.items()]
    return Figure(
        says=(
            f"One model at one budget, so no front: its benchmarks and their average. {INTERVALS}",
        ),
        panels=[Panel("", curves(dots, axis, ACCURACY))],
        tables=[
            Table(
                "By benchmark",
                _header(material),
                [(title, *_cells(one)) for title, one in spots.items()],
            )
        ],
    )


def _header(material: Material) -> tuple[str, ...]:
    length = f"{material.unit} per question"
    return ("benchmark", "variant", "budget", "accuracy", length, "run")


def _told_of(found: Front) -> str:
    """The front of the first panel in words."""
    knee = "It has no knee: nowhere do more tokens begin to buy less accuracy."
    if found.knee is not None:
        knee = f"Its knee is {found.spots[found.knee].name}: beyond it more tokens buy little."
    apart = sum(pair.separable for pair in found.neighbours)
    neighbours = (
        f"Of {len(found.neighbours)} pairs of neighbours on the front, {apart} can be told apart "
        "by a paired test."
    )
    volume = (
        f"Hypervolume {found.hypervolume:,.1f} (accuracy x {found.spots[0].setting.variant.unit}), "
        f"from accuracy 0 and {found.worst_tokens:,.1f}, the longest point's."
    )
    return " ".join(([neighbours] if found.neighbours else []) + [knee, volume])


def _neighbours(found: Front) -> list[Table]:
    if not found.neighbours:
        return []
    rows = [
        (
            pair.one,
            pair.other,
            signed(pair.accuracy.interval),
            times(pair.tokens),
            "yes" if pair.separable else "no significant difference",
        )
        for pair in found.neighbours
    ]
    header = ("point", "next shorter one", "accuracy", "length", "separable")
    note = "On the same questions: differences in percentage points, lengths as ratios."
    return [Table("Neighbours on the first front", header, rows, note)]


def _with_bytes(found: Front) -> list[Table]:
    """The front where the bytes of the weights are a third cost, if they are known and differ."""
    if found.front_with_bytes is None or len({spot.bytes for spot in found.spots}) < 2:
        return []
    rows = [
        (one.name, f"{one.bytes or 0:,.0f}", percent(one.accuracy), amount(one.tokens), one.run_id)
        for one in (found.spots[place] for place in found.front_with_bytes)
    ]
    unit = found.spots[0].setting.variant.unit
    note = (
        "No other point is more accurate, shorter and smaller. Hypervolume "
        f"{found.volume or 0:,.4g} (accuracy x {unit} x bytes), from accuracy 0, "
        f"{found.worst_tokens:,.1f} and {found.worst_bytes or 0:,.0f} bytes."
    )
    header = ("point", "bytes of the weights", "accuracy", f"{unit} per question", "run")
    return [Table("The first front with the bytes of the weights", header, rows, note)]


def by_budget(material: Material) -> Figure:
    """A line for each variant, a panel for each benchmark."""
    if material.largest is None:
        raise BadInput("no budgets were set when these replies were made.")
    if len(material.budgets) == 1:
        raise BadInput("only one budget was measured.")
    axis = ChartAxis("budget, thinking tokens, log scale", "log")
    panels, rows = [], []
    for name in material.benchmarks:
        spots = material.spots([name])
        dots = [
            Dot(
                material.label(one.setting.variant),
                one.setting.budget or 0,
                one.accuracy,
                hover(one),
                part=one.setting.variant.name,
            )
            for one in spots
        ]
        panels.append(
            Panel(name, curves(dots, axis, ACCURACY, ordered=material.ladder is not None))
        )
        rows += [
            (name, one.setting.variant.name, budget(one), percent(one.accuracy)) for one in spots
        ]
    line = "sparsity" if material.ladder == "sparsity" else "variant"
    return Figure(
        says=(
            "A reply whose thinking is not over at the budget is cut there and made to answer. A "
            f"line for each {line}. {INTERVALS}",
        ),
        panels=panels,
        tables=[Table("Accuracy", ("benchmark", "variant", "budget", "accuracy"), rows)],
    )


def by_level(material: Material) -> Figure:
    """Accuracy at the largest budget, and where it falls below half."""
    axis = material.need_ladder
    dots, rows = [], []
    for name in material.benchmarks:
        for one in material.spots([name]):
            variant = one.setting.variant
            if one.setting.budget == material.largest:
                dots.append(Dot(name, material.step(variant), one.accuracy, hover(one)))
                rows.append((name, material.label(variant), percent(one.accuracy)))
    panels = [Panel(f"accuracy {material.at_largest}", curves(dots, LADDERS[axis], ACCURACY))]
    found = [
        collapse(material.variants, name, size, axis=axis)
        for name in material.benchmarks
        for size in material.budgets
    ]
    marks = [_mark(one) for one in found if one.budget == material.largest and one.at is not None]
    if marks:
        levels = [material.step(variant) for variant in material.variants]
        shown = ChartAxis("sparsity", "percent", (0, min(1.0, max(levels) + 0.05)))
        drawn = intervals(marks, shown if axis == "sparsity" else LADDERS[axis], legend=False)
        panels.append(Panel("collapses at", drawn))
    header = ("benchmark", "budget", "first level below half of the dense accuracy")
    told = [
        (one.benchmark, "none" if one.budget is None else f"{one.budget:,}", one.sentence)
        for one in found
    ]
    return Figure(
        says=(
            f"{INTERVALS} A benchmark collapses at the first level with less than half of the "
            "dense model's accuracy; that interval is by paired bootstrap over questions and moves "
            "in steps of the levels measured.",
            " ".join(one.sentence for one in found if one.budget == material.largest),
        ),
        panels=panels,
        tables=[
            Table("Accuracy", ("benchmark", axis, "accuracy"), rows),
            Table("Collapse", header, told),
        ],
    )


def _mark(found: Collapse) -> Dot:
    """A collapse point, from the mildest level to the hardest; beyond the levels is drawn at their
    end."""
    assert found.at is not None
    ends = [found.at, found.levels[0], found.levels[-1]]
    ends[1:] = [found.low or ends[1], ends[2] if found.high is None else found.high]
    interval = Interval(found.at, min(ends), max(ends))
    return Dot(found.benchmark, found.benchmark, interval, {"collapse": found.sentence})


def tokens_by_level(material: Material) -> Figure:
    """Lengths of the longest generations."""
    axis = material.need_ladder
    dots, rows = [], []
    for name in material.benchmarks:
        for variant in material.variants:
            found = tokens(variant.grid(name, None))
            right = accuracy(variant.grid(name, None))
            told = {"variant": variant.name, "benchmark": name, "length": amount(found)}
            told |= {"accuracy": percent(right), "run": variant.run_id}
            dots.append(Dot(name, material.step(variant), found, told))
            rows.append((name, material.label(variant), amount(found), percent(right)))
    header = ("benchmark", axis, f"{material.unit} per question", "accuracy")
    return Figure(
        says=(
            "The longest generations, with no budget. Length alone says nothing: a broken model "
            f"may ramble or stop at once. {INTERVALS}",
        ),
        panels=[Panel("", curves(dots, LADDERS[axis], ChartAxis(f"{material.unit} per question")))],
        tables=[Table("Length", header, rows)],
    )


def history(material: Material) -> Figure:
    """What the search had found after each of its trials."""
    if len(material.volumes) < 2:
        raise BadInput("it takes a search of two levels or more.")
    dots = [
        Dot(
            "hypervolume",
            step,
            Interval(value, value, value),
            {"trial": str(step), "area": f"{value:,.1f}"},
        )
        for step, value in sorted(material.volumes.items())
    ]
    return Figure(
        says=(
            "The area that the points found so far dominate, in accuracy x tokens, up to the "
            "reference point of accuracy 0 and the search's cap on tokens, as the search logged "
            "it. It is that of the estimates and has no interval.",
        ),
        panels=[Panel("", curves(dots, ChartAxis("trial"), ChartAxis("hypervolume")))],
        tables=[],
    )


def _titled(title: str, names: Sequence[str]) -> str:
    return title if len(names) == 1 else f"{title} of {', '.join(names)}"


def _dot(label: str, one: Spot) -> Dot:
    value, low, high = (_logged(x) for x in (one.tokens.value, one.tokens.low, one.tokens.high))
    across = Interval(value, low, high)
    return Dot(label, value, one.accuracy, hover(one), across, one.setting.variant.name)


def _logged(length: float) -> float:
    """A length on a log scale, which has no zero."""
    return max(length, 1.0)


def hover(one: Spot) -> dict[str, str]:
    """What hovering tells: the run among it."""
    return {
        "variant": one.setting.variant.name,
        "budget": budget(one),
        "accuracy": percent(one.accuracy),
        "length": f"{amount(one.tokens)} {one.setting.variant.unit}",
        "run": one.run_id,
    }


def _cells(one: Spot) -> Sequence[str]:
    name = one.setting.variant.name
    return (name, budget(one), percent(one.accuracy), amount(one.tokens), one.run_id)


def budget(one: Spot) -> str:
    return "none" if one.setting.budget is None else f"{one.setting.budget:,}"
