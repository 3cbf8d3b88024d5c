"""Knowledge against reasoning: which of the two compression costs more."""

from __future__ import annotations

from collections.abc import Sequence

from lrm.analysis.knowledge import Contrast, contrasts
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records.point import Interval
from lrm.report.by_variant import VariantValue, by_variant
from lrm.report.charts import ChartAxis, Dot, curves
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.tables import Table, percent, signed

KINDS = {
    "book": "closed book against open book",
    "hops": "more hops against fewest hops",
    "benchmarks": "knowledge benchmarks against reasoning benchmarks",
}
BYTES = ChartAxis("bytes of the weights, log scale", "log", number_format="~s")


def knowledge(data: ReportData) -> Figure:
    """What share of the dense accuracy each side lost, a panel for each contrast."""
    pairs = [
        (variant, contrast)
        for variant, dense in data.based
        for contrast in contrasts(variant, dense, data.largest)
    ]
    if not pairs:
        raise BadInput(
            "this needs both knowledge and reasoning benchmarks, a benchmark asked closed book and "
            "open book, or questions with different numbers of hops."
        )
    panels, rows = [], []
    axis = ChartAxis("share of the dense accuracy lost", "percent")
    for kind, title in KINDS.items():
        of_kind = [(variant, contrast) for variant, contrast in pairs if contrast.kind == kind]
        losses = [
            VariantValue(variant, side.name, side.lost, percent(side.lost))
            for variant, contrast in of_kind
            for side in (contrast.knowledge, contrast.reasoning)
            if side.lost is not None
        ]
        if losses:
            panels.append(Panel(title, by_variant(data, losses, axis, mark=0)))
        if dots := _by_bytes(data, losses):
            panels.append(Panel(f"{title}, by bytes", curves(dots, BYTES, axis)))
        rows += [_cells(variant, contrast) for variant, contrast in of_kind]
    if not panels:
        raise BadInput(
            "the dense model is correct too rarely to tell what share of its accuracy was lost."
        )
    header = ("variant", "knowledge", "lost", "reasoning", "lost", "difference", "sparsity", "bits",
              "bytes", "parameters")  # fmt: skip
    return Figure(
        text=(
            f"The relative loss is 1 - accuracy / dense accuracy, {data.at_largest}, with its 95% "
            "interval. Where the interval of one side lies above that of the other, compression "
            "cost that side more.",
            *_sentences([contrast for _, contrast in pairs]),
        ),
        panels=panels,
        tables=[Table("Losses", header, rows)],
    )


def _sentences(made: Sequence[Contrast]) -> list[str]:
    """The contrasts that differ significantly, and how many do not."""
    significant = [item for item in made if item.gap and not item.gap.low <= 0 <= item.gap.high]
    sentences = [item.sentence for item in significant]
    unknown = sum(item.gap is None for item in made)
    if rest := len(made) - len(significant) - unknown:
        sentences.append(f"{rest} of {len(made)} contrasts show no significant difference.")
    if unknown:
        sentences.append(
            f"In {unknown} of {len(made)} contrasts the losses cannot be compared: the dense model "
            "is correct too rarely."
        )
    return sentences


def _by_bytes(data: ReportData, losses: Sequence[VariantValue]) -> list[Dot]:
    """The losses against the size of the weights, where that was measured and differs."""
    sizes = {item.variant.size for item in losses}
    if data.level_axis == "sparsity" or None in sizes or len(sizes) < 2:
        return []
    several = len({item.variant.origin for item in losses}) > 1
    return [
        Dot(
            f"{item.variant.origin}: {item.series}" if several else item.series,
            item.variant.size or 0.0,
            item.value,
            item.hover("lost"),
        )
        for item in losses
    ]


def _cells(variant: Variant, contrast: Contrast) -> tuple[str, ...]:
    def lost(share: Interval | None) -> str:
        return "not known" if share is None else percent(share)

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return (
        variant.name,
        contrast.knowledge.name,
        lost(contrast.knowledge.lost),
        contrast.reasoning.name,
        lost(contrast.reasoning.lost),
        "not known" if contrast.gap is None else signed(contrast.gap),
        number(contrast.sparsity, ".0%"),
        number(contrast.bits, ".3g"),
        number(contrast.bytes, ",.0f"),
        number(contrast.parameters, ",.0f"),
    )
