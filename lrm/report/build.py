"""All sections of a report, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lrm.analysis.first_correct import FirstCorrect
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.report import frontier, lengths, sizes
from lrm.report import knowledge as knowing
from lrm.report.figure import Figure, Section
from lrm.report.material import Material, in_common
from lrm.report.page import Report
from lrm.report.samples import Sample
from lrm.scoring.published import Published

Draw = Callable[[Material], Figure]
SECTIONS: Mapping[str, tuple[str, Draw]] = {
    "frontier": ("The frontier: accuracy against length", frontier.the_frontier),
    "by_budget": ("Accuracy by budget", frontier.by_budget),
    "by_level": ("Accuracy by level of compression, and where it collapses", frontier.by_level),
    "at_equal_bytes": ("At equal bytes", sizes.at_equal_bytes),
    "tokens_by_level": ("Length by level of compression", frontier.tokens_by_level),
    "short_against_long": ("Shorter against longer", lengths.short_against_long),
    "knowledge": ("Knowledge against reasoning", knowing.knowledge),
    "published": ("Beside the published figures", knowing.beside_published),
    "endings": ("How replies end", lengths.how_they_end),
    "inflation": ("Length against the dense model's", lengths.inflation),
    "first_right": ("Until the right answer first stands", lengths.first_right),
    "efficiency": ("Efficiency scores", lengths.scores),
    "hypervolume": ("Hypervolume, trial by trial", frontier.history),
}
"""By the name of its file: a heading, and what draws it or says in BadInput why it cannot."""


def build(
    *,
    title: str,
    variants: Sequence[Variant],
    firsts: Mapping[tuple[str, str], FirstCorrect],
    against: Mapping[str, Published],
    samples: Sequence[Sample],
    warnings: Sequence[str],
    provenance: Mapping[str, Mapping[str, object]],
    volumes: Mapping[int, float],
) -> Report:
    """The report on these variants, the densest first; what cannot be drawn says why."""
    shared, told = in_common(variants)
    material = Material(shared, firsts, against, volumes)
    return Report(
        title=title,
        variants=variants,
        says=(asked(material),),
        warnings=[*warnings, *told],
        sections=[_section(material, name, *what) for name, what in SECTIONS.items()],
        samples=samples,
        provenance=provenance,
    )


def _section(material: Material, name: str, heading: str, draw: Draw) -> Section:
    try:
        return Section(name, heading, draw(material))
    except BadInput as error:
        return Section(name, heading, None, str(error))


def asked(material: Material) -> str:
    """What was asked of how many models, in one sentence."""
    first = material.variants[0]
    counts = ", ".join(
        f"{name} {len(grids[None].questions)}" for name, grids in first.grids.items()
    )
    samples = max(grids[None].score.shape[1] for grids in first.grids.values())
    models = ", ".join(dict.fromkeys(variant.model for variant in material.variants))
    several = f"{len(material.variants)} variants" if len(material.variants) > 1 else "1 variant"
    return (
        f"{models}: {several}. Questions: {counts}; samples a question: {samples}. All intervals "
        "are 95% over questions; a reply that a cap cut counts as wrong."
    )
