"""All sections of a report, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lrm.analysis.first_correct import FirstCorrect
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.report import budgets, frontier, knowledge, lengths, levels, sizes
from lrm.report import published as published_figures
from lrm.report.data import ReportData, common_questions
from lrm.report.figure import Figure, Section
from lrm.report.page import Report
from lrm.report.samples import Sample
from lrm.scoring.published import Published

Draw = Callable[[ReportData], Figure]
SECTIONS: Mapping[str, tuple[str, Draw]] = {
    "frontier": ("The frontier: accuracy against length", frontier.frontier),
    "by_budget": ("Accuracy by budget", budgets.by_budget),
    "by_level": ("Accuracy by level of compression, and where it collapses", levels.by_level),
    "at_equal_bytes": ("Accuracy at equal bytes", sizes.at_equal_bytes),
    "tokens_by_level": ("Length by level of compression", levels.tokens_by_level),
    "short_against_long": ("Short against long replies", lengths.short_against_long),
    "knowledge": ("Knowledge against reasoning", knowledge.knowledge),
    "published": ("Comparison with published figures", published_figures.published),
    "endings": ("How replies end", lengths.reply_endings),
    "inflation": ("Length compared with the dense model", lengths.inflation),
    "first_right": ("When the correct answer first appears", lengths.first_correct),
    "efficiency": ("Efficiency scores", lengths.efficiency_scores),
    "hypervolume": ("Hypervolume by trial", frontier.hypervolume),
}
"""By the name of its file: a heading, and the function that draws the figure or says in BadInput
why it cannot."""


def build(
    *,
    title: str,
    variants: Sequence[Variant],
    first_correct: Mapping[tuple[str, str], FirstCorrect],
    published: Mapping[str, Published],
    samples: Sequence[Sample],
    warnings: Sequence[str],
    provenance: Mapping[str, Mapping[str, object]],
    hypervolumes: Mapping[int, float],
) -> Report:
    """The report on these variants, the densest first. What cannot be drawn says why.

    `first_correct` goes by variant and benchmark, `published` by variant, `provenance` by heading
    and `hypervolumes` by trial. Raises BadInput where the variants have no question in common.
    """
    shared, left_out = common_questions(variants)
    data = ReportData(shared, first_correct, published, hypervolumes)
    return Report(
        title=title,
        variants=variants,
        introduction=(asked(data),),
        warnings=[*warnings, *left_out],
        sections=[_section(data, name, *entry) for name, entry in SECTIONS.items()],
        samples=samples,
        provenance=provenance,
    )


def _section(data: ReportData, name: str, heading: str, draw: Draw) -> Section:
    try:
        return Section(name, heading, draw(data))
    except BadInput as error:
        return Section(name, heading, None, str(error))


def asked(data: ReportData) -> str:
    """Which models were asked how many questions, in words."""
    first = data.variants[0]
    counts = ", ".join(
        f"{name} {len(grids[None].questions)}" for name, grids in first.grids.items()
    )
    samples = max(grids[None].score.shape[1] for grids in first.grids.values())
    models = ", ".join(dict.fromkeys(variant.model for variant in data.variants))
    count = f"{len(data.variants)} variants" if len(data.variants) > 1 else "1 variant"
    return (
        f"{models}: {count}. Questions: {counts}; samples per question: {samples}. All intervals "
        "are 95% over questions. A reply that a cap cut counts as wrong."
    )
