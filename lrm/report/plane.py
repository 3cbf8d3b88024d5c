"""Accuracy against tokens: the frontier, and its two axes by budget and by sparsity."""

from __future__ import annotations

from collections.abc import Sequence

from lrm import frontier
from lrm.records import Interval
from lrm.report.charts import SHARE, Axis, Dot, curves
from lrm.report.figure import Figure, Missing, Panel, Section
from lrm.report.material import Material, Place, accuracy, length
from lrm.tables import Table, amount, percent

ACCURACY = Axis("accuracy", "percent", SHARE)
INTERVALS = "Bars are 95% intervals over questions."


def the_frontier(material: Material) -> Section:
    """Every variant at every budget, the mean over benchmarks first, then each."""
    heading = "The frontier: accuracy against length"
    if material.unit is None:
        return Missing(heading, "some runs count tokens, others words: report them apart.")
    groups = {name: [name] for name in material.benchmarks}
    if len(groups) > 1:
        groups = {"mean over the benchmarks asked": material.benchmarks, **groups}
    places = {title: material.places(names) for title, names in groups.items()}
    axis = Axis(f"{material.unit} per question, log scale", "log")
    panels, rows = [], []
    for title, found in places.items():
        front = frontier.pareto(found)
        steps = [(one.tokens.value, one.accuracy.value) for one in front]
        dots = [_dot(material, one) for one in found]
        panels.append(
            Panel(title, curves(dots, axis, ACCURACY, ordered=material.ladder, front=steps))
        )
        rows += [(title, *_cells(one), "yes" if one in front else "") for one in found]
    header = ("benchmark", "variant", "budget", "accuracy", f"{material.unit} per question",
              "run", "on the front")  # fmt: skip
    return Figure(
        name="frontier",
        heading=heading,
        says=(
            "Each point is one model at one budget; the dashed line is the Pareto front: no other "
            f"point is both more accurate and shorter. {INTERVALS}",
        ),
        panels=panels,
        tables=[Table("All points", header, rows)],
    )


def by_budget(material: Material) -> Section:
    heading = "Accuracy by budget"
    if material.largest is None:
        return Missing(heading, "no budgets were set when these replies were made.")
    if len(material.budgets) == 1:
        return Missing(heading, "only one budget was measured.")
    axis = Axis("budget, thinking tokens, log scale", "log")
    panels, rows = [], []
    for name in material.benchmarks:
        places = material.places([name])
        dots = [
            Dot(material.label(one.variant), one.budget or 0, one.accuracy, _told(one))
            for one in places
        ]
        panels.append(Panel(name, curves(dots, axis, ACCURACY, ordered=material.ladder)))
        rows += [
            (name, one.variant.name, f"{one.budget:,}", percent(one.accuracy)) for one in places
        ]
    return Figure(
        name="by_budget",
        heading=heading,
        says=(
            "A reply whose thinking is not over at the budget is cut there and made to answer. "
            f"{_lines(material)} {INTERVALS}",
        ),
        panels=panels,
        tables=[Table("Accuracy", ("benchmark", "variant", "budget", "accuracy"), rows)],
    )


def by_sparsity(material: Material) -> Section:
    heading = "Accuracy by sparsity, and where it collapses"
    if not material.ladder:
        return Missing(heading, NO_LADDER)
    dots, rows = [], []
    for name in material.benchmarks:
        for variant in material.variants:
            found = material.place(variant, material.largest, [name])
            dots.append(Dot(name, variant.sparsity or 0.0, found.accuracy, _told(found)))
            rows.append((name, material.label(variant), percent(found.accuracy)))
    return Figure(
        name="by_sparsity",
        heading=heading,
        says=(f"Accuracy {material.at_largest}. {INTERVALS}",),
        panels=[Panel("", curves(dots, SPARSITY, ACCURACY))],
        tables=[Table("Accuracy", ("benchmark", "sparsity", "accuracy"), rows)],
    )


def tokens_by_sparsity(material: Material) -> Section:
    heading = f"Length by sparsity"
    if not material.ladder:
        return Missing(heading, NO_LADDER)
    dots, rows = [], []
    for name in material.benchmarks:
        for variant in material.variants:
            found = length(variant.grid(name, None))
            told = {"variant": variant.name, "benchmark": name, "length": amount(found)}
            told["run"] = variant.run_id
            dots.append(Dot(name, variant.sparsity or 0.0, found, told))
            rows.append((name, material.label(variant), amount(found)))
    unit = material.variants[0].unit
    return Figure(
        name="tokens_by_sparsity",
        heading=heading,
        says=(
            "The longest generations, with no budget: a model that is compressed too far may think "
            f"longer before it is wrong, or not at all. {INTERVALS}",
        ),
        panels=[Panel("", curves(dots, SPARSITY, Axis(f"{unit} per question")))],
        tables=[Table("Length", ("benchmark", "sparsity", f"{unit} per question"), rows)],
    )


def history(material: Material) -> Section:
    heading = "Hypervolume, trial by trial"
    if len(material.volumes) < 2:
        return Missing(heading, "it takes a search of two levels or more.")
    dots = [
        Dot("hypervolume", step, Interval(value, value, value), {"trial": str(step), "area": f"{value:,.1f}"})
        for step, value in sorted(material.volumes.items())
    ]
    return Figure(
        name="hypervolume",
        heading=heading,
        says=(
            "The area that the points found so far dominate, in accuracy x tokens, up to the "
            "reference point of accuracy 0 and the cap on tokens. It says how fast the search found "
            "the front, and has no interval: it is that of the estimates.",
        ),
        panels=[Panel("", curves(dots, Axis("trial"), Axis("hypervolume")))],
        tables=[],
    )


SPARSITY = Axis("sparsity of the blocks' linear layers", "percent")
NO_LADDER = "it takes one model and one method at two sparsities or more."


def _lines(material: Material) -> str:
    return "A line for each sparsity." if material.ladder else "A line for each variant."


def _dot(material: Material, one: Place) -> Dot:
    return Dot(
        material.label(one.variant), one.tokens.value, one.accuracy, _told(one), across=one.tokens
    )


def _told(one: Place) -> dict[str, str]:
    """What hovering tells: the run among it."""
    return {
        "variant": one.variant.name,
        "budget": _budget(one.budget),
        "accuracy": percent(one.accuracy),
        "length": f"{amount(one.tokens)} {one.variant.unit}",
        "run": one.variant.run_id,
    }


def _cells(one: Place) -> Sequence[str]:
    return (
        one.variant.name,
        _budget(one.budget),
        percent(one.accuracy),
        amount(one.tokens),
        one.variant.run_id,
    )


def _budget(budget: int | None) -> str:
    return "none" if budget is None else f"{budget:,}"
