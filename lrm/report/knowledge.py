"""Knowledge against reasoning, and the published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from lrm.analysis.knowledge import Contrast, contrasts
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records import Interval
from lrm.report.charts import SHARE, ChartAxis, Dot, curves, intervals
from lrm.report.figure import Figure, Panel
from lrm.report.material import Material
from lrm.report.spread import Found, spread
from lrm.scoring import published
from lrm.tables import Table, percent, signed

KINDS = {
    "book": "closed book against open book",
    "hops": "more hops against fewest",
    "benchmarks": "benchmarks to be remembered against those to be worked out",
}


def knowledge(material: Material) -> Figure:
    """What share of the dense accuracy each side lost, a panel for each contrast."""
    made = [
        (variant, one)
        for variant, dense in material.based
        for one in contrasts(variant, dense, material.largest)
    ]
    if not made:
        raise BadInput(
            "it takes knowledge and reasoning benchmarks, one asked closed and open book, or "
            "questions of several hops."
        )
    panels, rows = [], []
    axis = ChartAxis("share of the dense accuracy lost", "percent")
    for kind, title in KINDS.items():
        pairs = [(variant, one) for variant, one in made if one.kind == kind]
        found = [
            Found(variant, side.name, side.lost, percent(side.lost), {"of": side.name})
            for variant, one in pairs
            for side in (one.knowledge, one.reasoning)
            if side.lost is not None
        ]
        if found:
            panels.append(Panel(title, spread(material, found, axis, mark=0)))
        if sizes := _by_bytes(material, found):
            panels.append(Panel(f"{title}, by bytes", curves(sizes, BYTES, axis)))
        rows += [_cells(variant, one) for variant, one in pairs]
    if not panels:
        raise BadInput("the dense model is right too rarely for a share of it to be lost.")
    header = ("variant", "knowledge", "lost", "reasoning", "lost", "difference", "sparsity", "bits",
              "bytes", "parameters")  # fmt: skip
    return Figure(
        says=(
            f"1 - accuracy / dense accuracy, {material.at_largest}, with its 95% interval: where "
            "one side's lies above the other's, compression cost it more.",
            *_told([one for _, one in made]),
        ),
        panels=panels,
        tables=[Table("Losses", header, rows)],
    )


BYTES = ChartAxis("bytes of the weights, log scale", "log", form="~s")


def _told(made: Sequence[Contrast]) -> list[str]:
    """The contrasts that differ significantly, and how many do not."""
    apart = [one for one in made if one.gap and not one.gap.low <= 0 <= one.gap.high]
    rest = len(made) - len(apart)
    told = [one.sentence for one in apart]
    return [*told, f"The other {rest} contrasts show no significant difference."] if rest else told


def _by_bytes(material: Material, found: Sequence[Found]) -> list[Dot]:
    """The same against the size of the weights, where that was measured and differs."""
    sizes = {one.variant.size for one in found}
    if material.ladder == "sparsity" or None in sizes or len(sizes) < 2:
        return []
    several = len({one.variant.origin for one in found}) > 1
    return [
        Dot(
            f"{one.variant.origin}: {one.series}" if several else one.series,
            one.variant.size or 0.0,
            one.value,
            one.hover("lost"),
        )
        for one in found
    ]


def _cells(variant: Variant, one: Contrast) -> tuple[str, ...]:
    def lost(share: Interval | None) -> str:
        return "not known" if share is None else percent(share)

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return (
        variant.name,
        one.knowledge.name,
        lost(one.knowledge.lost),
        one.reasoning.name,
        lost(one.reasoning.lost),
        "not known" if one.gap is None else signed(one.gap),
        number(one.sparsity, ".0%"),
        number(one.bits, ".3g"),
        number(one.bytes, ",.0f"),
        number(one.parameters, ",.0f"),
    )


def beside_published(material: Material) -> Figure:
    """Ours and the paper's, for every variant that the paper has too."""
    panels, tables = [], []
    for variant in material.variants:
        row = material.against.get(variant.name)
        if row is None:
            continue
        grids = {name: grids[None] for name, grids in variant.grids.items()}
        ours = {
            name: (float(grid.per_question(grid.score).mean()), len(grid.questions))
            for name, grid in grids.items()
        }
        found = published.compare(row, ours)
        tables.append(published.table(found, row))
        dots = [
            Dot(who, one.benchmark, value, {who: percent(value), "verdict": one.verdict})
            for one in found
            for who, value in (
                (f"ours: {variant.name}", one.ours),
                (f"paper: {row.compression}", one.theirs),
            )
        ]
        if dots:
            panels.append(
                Panel(row.model, intervals(dots, ChartAxis("accuracy", "percent", SHARE)))
            )
    if not panels:
        raise BadInput("the paper has no figures for these models on these benchmarks.")
    return Figure(
        says=(
            f"The figures of arXiv {published.ARXIV} beside ours, each with the binomial interval "
            "of its number of questions. Compatible: the difference's interval contains 0.",
        ),
        panels=panels,
        tables=tables,
    )
