"""What a quantization search found: recipes by size and accuracy, the front, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.cli.quantizer_choice import QuantizerChoice
from experiments.outcomes.sparsity import look_further, reused, sampling
from experiments.outcomes.text_quality import text_quality
from experiments.search.findings import Findings
from experiments.search.level import HEADLINE, Level
from experiments.search.loop import SearchOutcome
from lrm.records.model import level_label
from lrm.records.point import Budget, Point
from lrm.tables import Table, amount, counted, percent

FRONT = ("recipe", "bytes", "budget", "accuracy", "tokens per question", "run")
NOTE = (
    "Bits per weight are read back from the files: of all weights, of the blocks' linear layers, "
    "and bytes of the whole file; error is ||W - Q||^2 / ||W||^2 over those layers; perplexity is "
    "that of worked replies, the same for every model; fell back "
    "counts tensors stored in a larger type than the recipe's; intervals: 95%."
)


class QuantizationFindings(Findings):
    """As `Findings`, by recipe in place of sparsity."""

    def row(self, point: Point) -> dict[str, Any]:
        """A point as one flat record."""
        return {"recipe": point.level, "bytes": point.weights_bytes, **super().row(point)}


def by_recipe(findings: Findings) -> Table:
    """Every recipe at the largest budget."""
    budget = Budget(max(findings.budgets), HEADLINE)
    names = list(findings.levels[0].scores(budget))
    header = ("recipe", "bits", "in blocks", "bytes", "error", "perplexity", "fell back", *names)
    return Table(
        f"Recipes at {budget.tokens} thinking tokens",
        (*header, "mean accuracy", "tokens per question"),
        [_line(level, perplexity(level, findings.levels), budget) for level in findings.levels],
        NOTE,
    )


def perplexity(level: Level, levels: Sequence[Level]) -> float | None:
    """On a fixed text, as far as it was measured: that of the model itself is written down with
    each checkpoint made from it."""
    if level.key != QuantizerChoice.untouched:
        return level.checkpoint.measured.get("perplexity")
    dense = (other.checkpoint.measured.get("perplexity/dense") for other in levels)
    return next((value for value in dense if value is not None), None)


def heading(outcome: SearchOutcome) -> str:
    """The study, and what was asked in it."""
    counts = outcome.findings.levels[0].questions.items()
    asked = ", ".join(f"{name} {count}" for name, count in counts)
    decoding = outcome.evaluator.decoding
    samples = f"{decoding.samples}{sampling(decoding)}"
    return f"Study {outcome.study}  (questions: {asked}; samples: {samples})"


def reused_and_made(outcome: SearchOutcome) -> str:
    """What was there already, and what was made."""
    evaluator = outcome.evaluator
    made = evaluator.done.made
    quantized = made[evaluator.method.name]
    pruned = f"pruned {made.total() - quantized} and " if evaluator.first else ""
    return f"{reused(outcome)}; {pruned}quantized {counted(quantized, 'checkpoint')}."


def unsolved_tasks(findings: Findings) -> Sequence[str]:
    """A paragraph on the benchmarks that the model itself does not solve, if there are any."""
    lines = [f"  {name}: {reason}" for name, reason in findings.unsolved.items()]
    return ["\n".join(("Not solved", *lines))] if lines else []


def text(outcome: SearchOutcome) -> str:
    """Everything the quantization search prints at its end."""
    findings = outcome.findings
    return "\n\n".join(
        (
            heading(outcome),
            by_recipe(findings).text(),
            *text_quality(findings),
            *unsolved_tasks(findings),
            Table(
                "Pareto front: no other point is both more accurate and shorter",
                FRONT,
                [_cells(point) for point in findings.front],
                findings.front_note,
            ).text(),
            reused_and_made(outcome),
            look_further(outcome),
        )
    )


def _line(level: Level, perplexed: float | None, budget: Budget) -> Sequence[str]:
    measured, point = level.checkpoint.measured, level.point(budget)

    def shown(name: str, form: str) -> str:
        return format(measured[name], form) if name in measured else ""

    return (
        level_label(level.key),
        shown("bits_per_weight", ".2f"),
        shown("bits_per_weight/blocks", ".2f"),
        shown("weights/bytes", ",.0f"),
        shown("reconstruction/error", ".4f"),
        "" if perplexed is None else f"{perplexed:.4f}",
        shown("fallback/tensors", ".0f"),
        *(percent(score.accuracy) for score in level.scores(budget).values()),
        percent(point.accuracy),
        amount(point.tokens),
    )


def _cells(point: Point) -> tuple[str, ...]:
    return (
        point.level,
        f"{point.weights_bytes or 0:,.0f}",
        str(point.budget.tokens),
        percent(point.accuracy),
        amount(point.tokens),
        point.run_id,
    )
