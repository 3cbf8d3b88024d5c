"""A search's outcome as text for a terminal."""

from __future__ import annotations

from experiments.search.findings import collapse_text
from experiments.search.loop import SearchOutcome
from lrm.records import Point
from lrm.tables import Table, amount, percent


def text(outcome: SearchOutcome) -> str:
    """Everything the main job prints at its end."""
    found = outcome.findings
    n = {e.benchmark.name: len(e.questions) for e in found.levels[0].evaluations}
    asked = ", ".join(f"{name} {count}" for name, count in n.items())
    return "\n\n".join(
        (
            f"Study {outcome.study}  (questions: {asked}; "
            f"samples: {outcome.lab.decoding.samples}; prompts: {outcome.lab.track} track; "
            "intervals: 95%)",
            Table(
                "Pareto front: no other point is both more accurate and shorter",
                HEADER,
                [cells(point) for point in found.front],
            ).text(),
            by_sparsity(outcome).text(),
            "Collapse: the first sparsity with less than half of the densest level's accuracy\n"
            + "\n".join(f"  {name}: {collapse_text(*at)}" for name, at in found.collapses.items()),
            reuse(outcome),
            look_further(outcome),
        )
    )


HEADER = ("sparsity", "measured", "budget", "accuracy", "tokens per question", "run")


def cells(point: Point) -> tuple[str, ...]:
    return (
        f"{point.sparsity:.0%}",
        "not measured" if point.sparsity_achieved is None else f"{point.sparsity_achieved:.2%}",
        str(point.budget.tokens),
        percent(point.accuracy),
        amount(point.tokens),
        point.run_id,
    )


def by_sparsity(outcome: SearchOutcome) -> Table:
    accuracies = outcome.findings.accuracies
    levels = [level.sparsity for level in outcome.findings.levels]
    rows = [
        (f"{level:.0%}", *(percent(line[level]) for line in accuracies.values()))
        for level in levels
    ]
    heading = f"Accuracy at {max(outcome.findings.budgets)} thinking tokens, by sparsity"
    return Table(heading, ("sparsity", *accuracies), rows)


def reuse(outcome: SearchOutcome) -> str:
    lab, levels = outcome.lab, len(outcome.findings.levels)
    decoded = lab.progress.decoded
    speed = f" at {decoded / lab.progress.seconds:,.0f} tokens/s" if decoded else ""
    return (
        f"Reused: {outcome.levels_found} of {levels} levels from the study, "
        f"{lab.reused:,} of {lab.reused + lab.decoded:,} replies from the store; "
        f"pruned {lab.pruned} checkpoints.\n"
        f"Decoded: {lab.decoded:,} replies, {decoded:,} tokens{speed}."
    )


def look_further(outcome: SearchOutcome) -> str:
    store = outcome.store
    ui, pages = store.ui, store.pages
    return (
        f"Look further: {store.ui_command()}\n"
        f"  {ui}{pages.run('study', outcome.run_id)}  this study: report, levels, figures\n"
        f"  {ui}{pages.frontier(outcome.run_id)}  its points: accuracy over tokens\n"
        f"  {ui}{pages.studies}  all studies\n"
        f"  {outcome.page}  the report, for any browser\n"
        "Go on: the same command continues this study; --study NAME starts another."
    )
