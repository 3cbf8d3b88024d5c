"""Methods and smaller models at equal bytes: accuracy over size, collapse points, and pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrm.analysis.sizes import SizeLine, SizePair, lines, pairs
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.report.charts import ChartAxis, Dot, curves
from lrm.report.data import SHOWN, ReportData
from lrm.report.figure import Figure, Panel
from lrm.report.spots import ACCURACY, INTERVALS
from lrm.scoring.scores import accuracy
from lrm.stats.paired import Difference
from lrm.tables import Table, percent, signed, some

SIZE = ChartAxis("bytes of the weights, log scale", "log", number_format="~s")
COUNTED = (
    "For pruned models the zeros in the blocks' matrices are not counted; instead one bit is "
    "counted for each value, to mark where the zeros are. No engine here saves those bytes: this "
    "is what pruning could save, next to what quantization does save."
)


def at_equal_bytes(data: ReportData) -> Figure:
    """A panel for each benchmark, a line for each model and method."""
    size_lines = lines(data.variants)
    if len(size_lines) < 2:
        raise BadInput(
            "this needs two methods, or a smaller model and a compressed one, whose bytes were "
            "measured: report several studies, with --study A B."
        )
    budget = data.largest
    compared = pairs(size_lines, data.benchmarks, budget)
    return Figure(
        text=(
            f"Accuracy {data.at_largest} over the bytes of the weights. {COUNTED} {INTERVALS}",
            *_left_out(data.variants, size_lines),
            *_collapses(size_lines, data),
            "Each model is paired with the smallest model of every other line that has at least as "
            "many bytes, on the same questions.",
        ),
        panels=[
            Panel(name, curves(list(_dots(size_lines, name, budget)), SIZE, ACCURACY))
            for name in data.benchmarks
        ],
        tables=[
            _sizes_table(size_lines, data),
            _collapse_table(size_lines, data),
            _outcomes_table(compared),
            _pairs_table(compared, data.benchmarks),
        ],
    )


def _members(line: SizeLine) -> list[Variant]:
    """The dense model, if that is known, and the points of the line."""
    if line.dense is None or line.dense.run_id in {point.run_id for point in line.points}:
        return list(line.points)
    return [line.dense, *line.points]


def _dots(size_lines: Sequence[SizeLine], benchmark: str, budget: int | None) -> Iterator[Dot]:
    for line in size_lines:
        for variant in _members(line):
            correct = accuracy(variant.grid(benchmark, budget))
            hover = {
                "variant": variant.name,
                "bytes": _bytes(variant),
                "accuracy": percent(correct),
                "run": variant.run_id,
            }
            yield Dot(line.name, variant.size or 0.0, correct, hover)


def _left_out(variants: Sequence[Variant], size_lines: Sequence[SizeLine]) -> list[str]:
    """A sentence each on models without a size, with a size that counts stored zeros, and without a
    known dense model."""
    unknown = [variant.name for variant in variants if variant.size is None]
    with_zeros = [
        variant.name
        for variant in variants
        if variant.sparsity and variant.bytes and variant.packed_bytes is None
    ]
    without_dense = [line.name for line in size_lines if line.dense is None]
    sentences = []
    if unknown:
        sentences.append(f"Left out, since their bytes were not measured: {some(unknown, SHOWN)}.")
    if with_zeros:
        sentences.append(
            "Counted with their zeros and so too large, since their runs measured nothing else: "
            f"{some(with_zeros, SHOWN)}."
        )
    if without_dense:
        sentences.append(
            "Shown without a collapse point, since it is not clear which dense model they come "
            f"from: {some(without_dense, SHOWN)}."
        )
    return sentences


def _collapses(size_lines: Sequence[SizeLine], data: ReportData) -> list[str]:
    """A paragraph for each line with a dense model: where each benchmark collapses."""
    return [
        " ".join(
            (
                f"{line.name}.",
                *(line.collapse(name, data.largest).sentence for name in data.benchmarks),
            )
        )
        for line in size_lines
        if line.below
    ]


def _sizes_table(size_lines: Sequence[SizeLine], data: ReportData) -> Table:
    rows = [
        (
            line.name,
            variant.name,
            _bytes(variant),
            *(percent(accuracy(variant.grid(name, data.largest))) for name in data.benchmarks),
            variant.run_id,
        )
        for line in size_lines
        for variant in _members(line)
    ]
    return Table("Sizes", ("line", "variant", "bytes", *data.benchmarks, "run"), rows)


def _collapse_table(size_lines: Sequence[SizeLine], data: ReportData) -> Table:
    rows = []
    for line in (line for line in size_lines if line.below):
        for name in data.benchmarks:
            fall = line.collapse(name, data.largest)
            smallest = line.smallest(name, data.largest)
            rows.append(
                (line.name, name, fall.interval_text, _bytes(smallest) if smallest else "none")
            )
    header = ("line", "benchmark", "bytes of the first below half", "of the smallest above half")
    note = (
        "The first model, from the dense model's size down, with less than half of the dense "
        "accuracy. Its 95% interval is by paired bootstrap over questions, and its ends are sizes "
        "that were measured. A smaller model may have half or more again: the last column has the "
        "smallest that does, without an interval."
    )
    return Table("Collapse by bytes", header, rows, note)


def _outcomes_table(compared: Sequence[SizePair]) -> Table:
    """How the pairs of any two lines come out."""
    by_lines: dict[tuple[str, str], list[Difference]] = {}
    for pair in compared:
        by_lines.setdefault(pair.lines, []).extend(pair.differences.values())
    rows = []
    for names, differences in by_lines.items():
        higher = sum(item.significant and item.value > 0 for item in differences)
        lower = sum(item.significant and item.value < 0 for item in differences)
        counts = higher, lower, len(differences) - higher - lower
        rows.append((*names, *map(str, counts)))
    header = ("smaller of", "nearest larger of", "higher", "lower", "no significant difference")
    note = (
        "Over all pairs and benchmarks: how often the smaller model's accuracy is significantly "
        "higher or lower, or does not differ significantly. About one in twenty such intervals "
        "misses the truth."
    )
    return Table("Outcomes of the pairs", header, rows, note)


def _pairs_table(compared: Sequence[SizePair], benchmarks: Sequence[str]) -> Table:
    rows = [
        (
            pair.smaller.name,
            _bytes(pair.smaller),
            pair.larger.name,
            f"{_bytes(pair.larger)} ({pair.ratio:.2f} x)",
            *(_verdict(pair.differences[name]) for name in benchmarks),
        )
        for pair in compared
    ]
    header = ("smaller", "bytes", "nearest larger of another line", "bytes", *benchmarks)
    note = "Accuracy of the smaller model minus that of the larger, in percentage points."
    return Table("Pairs of about the same bytes", header, rows, note)


def _verdict(difference: Difference) -> str:
    return f"{signed(difference.interval)} {difference.verdict}"


def _bytes(variant: Variant) -> str:
    return f"{variant.size or 0:,.0f}"
