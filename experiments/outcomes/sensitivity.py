"""What a sensitivity study found: every part of the model by the damage that quantizing it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from experiments.outcomes.quantization import (
    QuantizationFindings,
    heading,
    perplexity,
    reused_and_made,
    unsolved_tasks,
)
from experiments.outcomes.sensitivity_figure import Harm, figure
from experiments.outcomes.sparsity import look_further
from experiments.search.findings import as_csv
from experiments.search.level import HEADLINE, Level
from experiments.search.loop import SearchOutcome
from lrm.compression.checkpoint.module_filter import EXCEPT
from lrm.records.point import Budget
from lrm.scoring.replies import Floats
from lrm.stats import paired
from lrm.tables import Table, percent, signed

FIGURE = "sensitivity/figure.png"
ALL = "all of it"
NOTE = (
    "Parts were quantized alone, without embeddings and output; all of it as the recipe does. "
    "Share is of the weights of the blocks' linear layers; error is ||W - Q||^2 / ||W||^2 over "
    "them; perplexity is that of worked replies; against the model: mean accuracy less the model's "
    "on the same questions, in percentage points; *: that benchmark alone differs significantly. "
    "Intervals: 95%, each for itself: of 20 parts that do no harm one may well look significant."
)


@dataclass(frozen=True)
class SensitivityFindings(QuantizationFindings):
    """As `QuantizationFindings`, and what each part does."""

    @property
    def budget(self) -> Budget:
        return Budget(max(self.budgets), HEADLINE)

    @cached_property
    def harms(self) -> list[Harm]:
        """Each part beside the model itself, the first level: most accuracy lost first, of equal
        ones the highest perplexity first."""
        dense, *others = self.levels
        harms = [self._harm(level, dense) for level in others]
        return sorted(harms, key=lambda harm: (harm.apart.value, -(harm.perplexity or 0)))

    def files(self) -> dict[str, bytes]:
        """The study's tables and its figure."""
        if not self.alone:
            return super().files()
        picture = figure(self.alone, perplexity(self.levels[0], self.levels)).png()
        return {**super().files(), "sensitivity/parts.csv": self.parts(), FIGURE: picture}

    @property
    def alone(self) -> list[Harm]:
        """Those of single parts."""
        return [harm for harm in self.harms if harm.part != ALL]

    def parts(self) -> bytes:
        """Every part as a line of CSV."""
        return as_csv([_row(harm) for harm in self.harms])

    def _harm(self, level: Level, dense: Level) -> Harm:
        measured = level.checkpoint.measured
        kept = measured.get("protected/share")
        each = {
            name: paired.paired_difference(
                *(_scores(it, name, self.budget) for it in (level, dense))
            )
            for name in level.readings
        }
        return Harm(
            part=str(level.key).partition(f"/{EXCEPT}")[2] or ALL,
            share=None if kept is None else 1 - kept,
            error=measured.get("reconstruction/error"),
            perplexity=perplexity(level, self.levels),
            accuracy={n: scored.accuracy for n, scored in level.scores(self.budget).items()},
            mean=level.point(self.budget).accuracy,
            each=each,
        )


def text(outcome: SearchOutcome) -> str:
    """Everything the sensitivity study prints at its end."""
    findings = outcome.findings
    assert isinstance(findings, SensitivityFindings)
    location = (
        outcome.store.runs([outcome.run_id])[0].location(FIGURE) if findings.alone else "none yet"
    )
    return "\n\n".join(
        (
            heading(outcome),
            table(findings).text(),
            *unsolved_tasks(findings),
            f"The figure: {location}\n{reused_and_made(outcome)}",
            look_further(outcome),
        )
    )


def table(findings: SensitivityFindings) -> Table:
    """The model itself, and what was quantized by the damage done."""
    dense = findings.levels[0]
    scores = dense.scores(findings.budget)
    model = (
        str(dense.key),
        "",
        "",
        _number(perplexity(dense, findings.levels), ".4f"),
        *(f"{percent(scored.accuracy)} " for scored in scores.values()),
        percent(dense.point(findings.budget).accuracy),
        "",
        "",
    )
    return Table(
        f"Quantized alone, by damage, at {findings.budget.tokens} thinking tokens",
        (
            "part",
            "share",
            "error",
            "perplexity",
            *scores,
            "mean",
            "against the model",
            "significant",
        ),
        [model, *(_cells(harm) for harm in findings.harms)],
        NOTE,
    )


def _cells(harm: Harm) -> Sequence[str]:
    return (
        harm.part,
        _number(harm.share, ".1%"),
        _number(harm.error, ".4f"),
        _number(harm.perplexity, ".4f"),
        *(
            percent(harm.accuracy[name]) + ("*" if apart.significant else " ")
            for name, apart in harm.each.items()
        ),
        percent(harm.mean),
        signed(harm.apart.interval),
        "yes" if harm.apart.significant else "no",
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _row(harm: Harm) -> Mapping[str, Any]:
    """A part as one flat record."""
    return {
        "part": harm.part,
        "share": harm.share,
        "reconstruction_error": harm.error,
        "perplexity": harm.perplexity,
        **{f"accuracy_{name}": accuracy.value for name, accuracy in harm.accuracy.items()},
        "accuracy": harm.mean.value,
        "accuracy_low": harm.mean.shown[0],
        "accuracy_high": harm.mean.shown[1],
        "difference": harm.apart.value,
        "difference_low": harm.apart.low,
        "difference_high": harm.apart.high,
        "significant": harm.apart.significant,
        **{f"difference_{name}": apart.value for name, apart in harm.each.items()},
        **{f"significant_{name}": apart.significant for name, apart in harm.each.items()},
    }


def _scores(level: Level, benchmark: str, budget: Budget) -> Floats:
    """[questions, samples], NaN where a question has fewer samples than others."""
    grid = level.readings[benchmark].replies.grid(budget)
    return grid.padded(grid.score)
