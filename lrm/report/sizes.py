"""Methods and smaller models at equal bytes: accuracy over size, collapse points, and pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrm.analysis.compare import accuracy
from lrm.analysis.sizes import SizeLine, SizePair, lines, pairs
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.report.charts import ChartAxis, Dot, curves
from lrm.report.figure import Figure, Panel
from lrm.report.frontier import ACCURACY, INTERVALS
from lrm.report.material import SHOWN, Material
from lrm.stats.paired import Difference
from lrm.tables import Table, percent, signed, some

SIZE = ChartAxis("bytes of the weights, log scale", "log", form="~s")
COUNTED = (
    "Of pruned models the zeros in the blocks' matrices are not counted, but one bit for each "
    "value, to say where they are. No engine here saves those bytes: this is what pruning could "
    "save, beside what quantization does save."
)


def at_equal_bytes(material: Material) -> Figure:
    """A panel for each benchmark, a line for each model and method."""
    found = lines(material.variants)
    if len(found) < 2:
        raise BadInput(
            "it takes two methods, or a smaller model beside a compressed one, whose bytes were "
            "measured: report several studies, with --study A B."
        )
    budget = material.largest
    compared = pairs(found, material.benchmarks, budget)
    return Figure(
        says=(
            f"Accuracy {material.at_largest} over the bytes of the weights. {COUNTED} {INTERVALS}",
            *_left_out(material.variants, found),
            *_collapses(found, material),
            "Pairs are each model and the one of every other line that is nearest in bytes from "
            "above, on the same questions.",
        ),
        panels=[
            Panel(name, curves(list(_dots(found, name, budget)), SIZE, ACCURACY))
            for name in material.benchmarks
        ],
        tables=[
            _sizes(found, material),
            _where(found, material),
            _summary(compared),
            _pairs(compared, material.benchmarks),
        ],
    )


def _members(line: SizeLine) -> list[Variant]:
    """The points behind the dense model, if that is known."""
    if line.dense is None or line.dense.run_id in {one.run_id for one in line.points}:
        return list(line.points)
    return [line.dense, *line.points]


def _dots(found: Sequence[SizeLine], benchmark: str, budget: int | None) -> Iterator[Dot]:
    for line in found:
        for one in _members(line):
            right = accuracy(one.grid(benchmark, budget))
            told = {"variant": one.name, "bytes": _bytes(one), "accuracy": percent(right)}
            yield Dot(line.name, one.size or 0.0, right, told | {"run": one.run_id})


def _left_out(variants: Sequence[Variant], found: Sequence[SizeLine]) -> list[str]:
    """What has no size, what has one that counts stored zeros, and what has no dense model to fall
    from, in a sentence each."""
    unknown = [one.name for one in variants if one.size is None]
    with_zeros = [
        one.name for one in variants if one.sparsity and one.bytes and one.packed_bytes is None
    ]
    told = []
    if unknown:
        told.append(f"Left out, since their bytes were not measured: {some(unknown, SHOWN)}.")
    if with_zeros:
        told.append(
            f"Counted with their zeros, since these runs measured nothing else, and so too large: "
            f"{some(with_zeros, SHOWN)}."
        )
    if alone := [line.name for line in found if line.dense is None]:
        told.append(
            "Which dense model they come from is not clear, so no collapse is told of: "
            f"{some(alone, SHOWN)}."
        )
    return told


def _collapses(found: Sequence[SizeLine], material: Material) -> list[str]:
    """A paragraph for each line that can fall: where each benchmark does."""
    return [
        " ".join(
            (
                f"{line.name}.",
                *(line.collapse(name, material.largest).sentence for name in material.benchmarks),
            )
        )
        for line in found
        if line.below
    ]


def _sizes(found: Sequence[SizeLine], material: Material) -> Table:
    rows = [
        (
            line.name,
            one.name,
            _bytes(one),
            *(percent(accuracy(one.grid(name, material.largest))) for name in material.benchmarks),
            one.run_id,
        )
        for line in found
        for one in _members(line)
    ]
    return Table("Sizes", ("line", "variant", "bytes", *material.benchmarks, "run"), rows)


def _where(found: Sequence[SizeLine], material: Material) -> Table:
    rows = []
    for line in (line for line in found if line.below):
        for name in material.benchmarks:
            fall = line.collapse(name, material.largest)
            smallest = line.smallest(name, material.largest)
            rows.append((line.name, name, fall.place, _bytes(smallest) if smallest else "none"))
    header = ("line", "benchmark", "bytes of the first below half", "of the smallest above half")
    note = (
        "From the dense model's size down, the first model with less than half of its accuracy, "
        "with the 95% interval by paired bootstrap over questions; it moves in steps of the sizes "
        "measured. A smaller one may have more again: the last column, which has no interval."
    )
    return Table("Collapse by bytes", header, rows, note)


def _summary(compared: Sequence[SizePair]) -> Table:
    """How the pairs of any two lines come out."""
    by_lines: dict[tuple[str, str], list[Difference]] = {}
    for pair in compared:
        by_lines.setdefault(pair.lines, []).extend(pair.differences.values())
    rows = []
    for names, found in by_lines.items():
        higher = sum(one.significant and one.value > 0 for one in found)
        lower = sum(one.significant and one.value < 0 for one in found)
        counts = higher, lower, len(found) - higher - lower
        rows.append((*names, *map(str, counts)))
    header = ("smaller of", "nearest larger of", "higher", "lower", "no significant difference")
    note = (
        "In how many benchmarks of how many pairs the smaller one's accuracy is significantly "
        "higher or lower. About one in twenty such intervals misses the truth."
    )
    return Table("How the pairs come out", header, rows, note)


def _pairs(compared: Sequence[SizePair], benchmarks: Sequence[str]) -> Table:
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
    note = "Accuracy of the smaller minus that of the larger, in percentage points."
    return Table("Pairs of about the same bytes", header, rows, note)


def _verdict(found: Difference) -> str:
    return f"{signed(found.interval)} {found.verdict}"


def _bytes(variant: Variant) -> str:
    return f"{variant.size or 0:,.0f}"
