"""A search's outcome as text for a terminal."""

from __future__ import annotations

from experiments.outcomes.text_quality import text_quality
from experiments.search.loop import SearchOutcome
from lrm.analysis.collapse import Collapse
from lrm.records.model import level_label
from lrm.records.point import Point
from lrm.records.reply import TEMPERATURE, TOP_P, Decoding
from lrm.tables import Table, amount, counted, percent


def text(outcome: SearchOutcome) -> str:
    """Everything the main job prints at its end."""
    findings, evaluator = outcome.findings, outcome.evaluator
    counts = findings.levels[0].questions.items()
    asked = ", ".join(f"{name} {count}" for name, count in counts)
    return "\n\n".join(
        (
            f"Study {outcome.study}  (questions: {asked}; "
            f"samples: {evaluator.decoding.samples}{sampling(evaluator.decoding)}; "
            f"prompts: {evaluator.track} track; intervals: 95%)",
            Table(
                "Pareto front: no other point is both more accurate and shorter",
                HEADER,
                [cells(point) for point in findings.front],
                findings.front_note,
            ).text(),
            by_sparsity(outcome).text(),
            *text_quality(findings),
            "Collapse: the first sparsity with less than half of the densest level's accuracy\n"
            + "\n".join(
                f"  {collapse.benchmark}: {collapse_text(collapse)}"
                for collapse in findings.collapses
            ),
            reuse(outcome),
            look_further(outcome),
        )
    )


def sampling(decoding: Decoding) -> str:
    """How replies were sampled, where that is not as usual."""
    if (decoding.temperature, decoding.top_p) == (TEMPERATURE, TOP_P):
        return ""
    return f"; temperature: {decoding.temperature:g}; top-p: {decoding.top_p:g}"


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
    done, progress = outcome.evaluator.done, outcome.evaluator.progress
    speed = f" at {progress.decoded / progress.seconds:,.0f} tokens/s" if progress.decoded else ""
    return (
        f"{reused(outcome)}; pruned {counted(done.made.total(), 'checkpoint')}.\n"
        f"Decoded: {done.decoded:,} replies, {progress.decoded:,} tokens{speed}."
    )


def reused(outcome: SearchOutcome) -> str:
    """What was there already."""
    done = outcome.evaluator.done
    return (
        f"Reused: {outcome.levels_found} of {len(outcome.findings.levels)} levels from the study, "
        f"{done.reused:,} of {done.reused + done.decoded:,} replies from the store"
    )


def collapse_text(collapse: Collapse) -> str:
    """A collapse point with its interval, in words; None lies beyond the levels measured."""

    def level(sparsity: float | None) -> str:
        return "beyond" if sparsity is None else level_label(sparsity)

    if collapse.unsolved:
        return collapse.unsolved
    if collapse.at is None:
        perhaps = "" if collapse.low is None else f" [but perhaps at {level(collapse.low)}]"
        return f"does not collapse in the levels measured{perhaps}"
    ends = f"{level(collapse.low)} to {level(collapse.high)}"
    return f"collapses at {level(collapse.at)} sparsity [{ends}]"


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
