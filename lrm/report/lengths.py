"""Length and accuracy: short against long, inflation, endings, first right answer, efficiency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from lrm.analysis.compare import Setting, aligned, compare
from lrm.analysis.efficiency import efficiency
from lrm.analysis.lengths import ACROSS, SHARE, WITHIN, Endings, Split, across, endings, within
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records import Interval
from lrm.report import charts
from lrm.report.charts import ChartAxis
from lrm.report.figure import Figure, Panel
from lrm.report.material import Material
from lrm.report.spread import Found, spread
from lrm.tables import Table, amount, percent, signed, times

LONGEST = "Of the longest generations, with no budget."


def short_against_long(material: Material) -> Figure:
    """The split across questions and the split within them, side by side."""
    axis = ChartAxis("accuracy of the shortest minus the longest", "percent", (-1.02, 1.02))
    splits = {"across questions": across, "within questions": within}
    panels, rows, lacking = [], [], []
    told: list[str] = []
    for title, split in splits.items():
        found = [
            (variant, name, made)
            for variant in material.variants
            for name in material.benchmarks
            if (made := split(variant.grid(name, None))) is not None
        ]
        if not found:
            lacking.append(LACKING[title])
            continue
        dots = [
            Found(variant, name, made.difference, signed(made.difference), _sides(made))
            for variant, name, made in found
        ]
        panels.append(Panel(title, spread(material, dots, axis, mark=0)))
        rows += [
            (
                title,
                variant.name,
                name,
                *_sides(made).values(),
                signed(made.difference),
                made.verdict,
            )
            for variant, name, made in found
        ]
        told += _told(title, found)
    if not panels:
        raise BadInput(" ".join(lacking))
    header = ("split", "variant", "benchmark", "shortest", "longest", "difference", "verdict")
    return Figure(
        says=(
            f"The shortest {SHARE:.0%} of the replies against the longest {SHARE:.0%}: above 0 the "
            f"shorter ones are right more often. {LONGEST}",
            ACROSS,
            WITHIN,
            *lacking,
            *told,
        ),
        panels=panels,
        tables=[Table("Shortest against longest", header, rows)],
    )


LACKING = {
    "across questions": "Across questions there is nothing to compare: one question was asked.",
    "within questions": "Within questions there is nothing to compare here: each has one reply.",
}


def _told(title: str, found: Sequence[tuple[Variant, str, Split]]) -> Iterator[str]:
    """The splits that differ significantly, and how many do not."""
    apart = [one for one in found if not one[2].difference.low <= 0 <= one[2].difference.high]
    for variant, name, made in apart:
        yield (
            f"{name}, {variant.name}, {title}: {made.verdict} (shortest {percent(made.short)}, "
            f"longest {percent(made.long)})."
        )
    if rest := len(found) - len(apart):
        yield f"{title.capitalize()}, {rest} of {len(found)} splits show no significant difference."


def _sides(made: Split) -> dict[str, str]:
    return {"shortest": percent(made.short), "longest": percent(made.long)}


def inflation(material: Material) -> Figure:
    """Length of each compressed model over its own base's, paired by question."""
    found = []
    for variant, base in material.based:
        for name in material.benchmarks:
            ratio = compare(Setting(variant, None), Setting(base, None), [name]).tokens
            found.append(Found(variant, name, ratio, times(ratio)))
    rows = [(one.variant.name, one.series, one.told) for one in found]
    axis = ChartAxis(f"{material.unit} over the dense model's")
    return Figure(
        says=(
            f"How many times as long as the dense model's replies to the same questions. {LONGEST}",
        ),
        panels=[Panel("", spread(material, found, axis, mark=1))],
        tables=[Table("Length inflation", ("variant", "benchmark", "ratio"), rows)],
    )


def how_they_end(material: Material) -> Figure:
    """Shares of replies by how they ended; a share that is 0 throughout is told, not drawn."""
    rows, drawn, nowhere = [], [], []
    kinds = [each.name for each in fields(Endings)]
    by_kind: dict[str, list[Found]] = {kind: [] for kind in kinds}
    for variant in material.variants:
        for name in material.benchmarks:
            last = endings(variant.grid(name, None))
            forced = endings(variant.grid(name, material.largest)).forced
            shares = {kind: getattr(last, kind) for kind in kinds} | {"forced": forced}
            for kind, found in shares.items():
                by_kind[kind].append(Found(variant, name, found, percent(found)))
            rows.append((variant.name, name, *map(percent, shares.values())))
    for kind, found in by_kind.items():
        if any(one.value.value > 0 for one in found):
            title = f"{kind} {material.at_largest}" if kind == "forced" else kind
            drawn.append(
                Panel(title, spread(material, found, ChartAxis("replies", "percent", charts.SHARE)))
            )
        else:
            nowhere.append(kind)
    if not drawn:
        raise BadInput(f"no reply is {', '.join(nowhere)}: all ended as they should.")
    return Figure(
        says=(
            "Unclosed: the thinking was never closed. Looping: ran into a cap repeating itself. "
            "Truncated: a cap cut it. Unanswered: no answer was found in what is there. Forced: "
            f"the budget ended its thinking. {LONGEST}",
            *([f"No reply is {' or '.join(nowhere)}."] if nowhere else []),
        ),
        panels=drawn,
        tables=[Table("Endings", ("variant", "benchmark", *kinds), rows)],
    )


def first_right(material: Material) -> Figure:
    """How long it takes until the right answer first stands in a reply."""
    found, rows = [], []
    for variant in material.variants:
        for name in material.benchmarks:
            first = material.firsts.get((variant.name, name))
            if first is None:
                continue
            told = "it stands in none"
            if first.tokens and first.whole:
                told = amount(first.tokens)
                further = {"whole reply": amount(first.whole), "it stands in": percent(first.found)}
                found.append(Found(variant, name, first.tokens, told, further))
            whole = amount(first.whole) if first.whole else ""
            rows.append((variant.name, name, percent(first.found), told, whole))
    if not found:
        raise BadInput("the right answer stands in no reply.")
    axis = ChartAxis(f"{material.unit} until the right answer")
    header = ("variant", "benchmark", "it stands in", "until it first does", "those replies whole")
    return Figure(
        says=(
            "Where the gold answer first stands in the text of a reply, of the replies in which it "
            "does. It may stand there by chance, as a step or a guess dropped again: this is the "
            f"earliest at which stopping could have been right. {LONGEST}",
        ),
        panels=[Panel("", spread(material, found, axis))],
        tables=[Table(f"In {material.unit}", header, rows)],
    )


def scores(material: Material) -> Figure:
    """Accuracy and length in one number."""
    if material.unit != "tokens":
        raise BadInput("the scores are defined on tokens: count them with --tokenizer NAME.")
    kinds = {
        "per_thousand": "points per 1,000 tokens",
        "ock_score": "OckScore",
        "aes": "AES",
    }
    by_kind: dict[str, list[Found]] = {kind: [] for kind in kinds}
    rows = []
    for variant in material.variants:
        base = material.base(variant)
        for name in material.benchmarks:
            grid, against = variant.grid(name, None), None
            if base is not None:
                names = (variant.name, base.name)
                against = aligned(grid, base.grid(name, None), names)[1]
            found = efficiency(grid, against)
            for kind in kinds:
                value: Interval | None = getattr(found, kind)
                if value is not None:
                    by_kind[kind].append(Found(variant, name, value, amount(value)))
            told = [getattr(found, kind) for kind in kinds]
            rows.append((variant.name, name, *("" if one is None else amount(one) for one in told)))
    marks = {"aes": 0.0}
    return Figure(
        says=(
            "Accuracy per 1,000 tokens in percentage points. OckScore (OckBench, arXiv "
            "2511.05722): accuracy in percent - 10 ln(tokens / 10,000 + 1). AES (O1-Pruner, arXiv "
            "2501.12570), against the dense model: relative shortening + 3 x relative gain in "
            f"accuracy, or - 5 x relative loss. Intervals by bootstrap over questions. {LONGEST}",
        ),
        panels=[
            Panel(kinds[kind], spread(material, found, ChartAxis(kinds[kind]), marks.get(kind)))
            for kind, found in by_kind.items()
            if found
        ],
        tables=[Table("Efficiency", ("variant", "benchmark", *kinds.values()), rows)],
    )
