"""All sections of a report, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrm.analysis.grid import Variant
from lrm.report import plane
from lrm.report.material import Material
from lrm.report.page import Report
from lrm.report.samples import Sample

SECTIONS = (
    plane.the_frontier,
    plane.by_budget,
    plane.by_sparsity,
    plane.tokens_by_sparsity,
    plane.history,
)


def build(
    *,
    title: str,
    variants: Sequence[Variant],
    samples: Sequence[Sample],
    warnings: Sequence[str],
    provenance: Mapping[str, Mapping[str, object]],
    volumes: Mapping[int, float],
) -> Report:
    """The report on these variants, the densest first; what cannot be drawn says why."""
    material = Material(variants, volumes)
    return Report(
        title=title,
        says=(asked(material),),
        warnings=[*warnings, *material.unequal()],
        sections=[section(material) for section in SECTIONS],
        samples=samples,
        provenance=provenance,
    )


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
