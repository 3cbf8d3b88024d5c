"""The joint front as a section of a report: a line for each entry, and the paired differences."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.comparison import tables
from experiments.comparison.joint_front import EntryPair, JointFront
from lrm.records.point import Interval
from lrm.report.charts import ChartAxis, Dot, curves, intervals
from lrm.report.figure import Figure, Panel, Section
from lrm.report.spots import ACCURACY, log_length, spot_dot
from lrm.tables import signed

STRETCHES = 8
"""How many stretches of the front are told in words; a table has all its points."""


def section(joint: JointFront, at_largest: Sequence[EntryPair]) -> Section:
    """Who holds which part of the front, drawn and in words, with all tables of the comparison."""
    unit = joint.front.spots[0].setting.variant.unit
    dots = [
        spot_dot(entry.label, spot) for entry in joint.entries for spot in joint.own_front(entry)
    ]
    steps = [(log_length(spot.tokens.value), spot.accuracy.value) for spot in joint.on_front]
    axis = ChartAxis(f"{unit} per question, log scale", "log")
    apart = ChartAxis("difference in accuracy, percentage points")
    figure = Figure(
        text=(
            "Each line is the Pareto front of one study or run; the dashed line is the joint front "
            "of all. Beside it two of them at the same level are compared on the same questions, "
            "with 95% intervals. To the right of the zero, the first named is more accurate.",
            *(
                f"{entry.label} holds {joint.held(entry)} of {len(joint.on_front)} points of the "
                "joint front."
                for entry in joint.entries
            ),
            f"By {unit} per question: "
            + "; ".join(_stretch(*stretch) for stretch in joint.stretches[:STRETCHES])
            + ("; and so on, as the table tells." if len(joint.stretches) > STRETCHES else "."),
        ),
        panels=[
            Panel(
                f"mean over {', '.join(joint.benchmarks)}",
                curves(dots, axis, ACCURACY, front=steps),
            ),
            Panel(_titled(at_largest), intervals(_differences(at_largest), apart, mark=0)),
        ],
        tables=(
            tables.entries_table(joint),
            tables.front_table(joint),
            tables.pairs_table(joint.pairs),
        ),
    )
    return Section("joint", "The joint front, and who holds it", figure)


def _stretch(holders: str, start: float, end: float) -> str:
    return f"{start:,.0f}: {holders}" if start == end else f"{start:,.0f} to {end:,.0f}: {holders}"


def _against(pair: EntryPair) -> str:
    return f"{pair.first.label} against {pair.second.label}"


def _titled(pairs: Sequence[EntryPair]) -> str:
    """The two entries, if there are no more; otherwise a legend names them."""
    titles = {_against(pair) for pair in pairs}
    return titles.pop() if len(titles) == 1 else "two at a time"


def _differences(pairs: Sequence[EntryPair]) -> list[Dot]:
    return [
        Dot(
            series=_against(pair),
            position=pair.level,
            value=Interval(*(100 * end for end in _ends(pair))),
            hover={
                "one": pair.comparison.first,
                "other": pair.comparison.second,
                "accuracy": signed(pair.comparison.accuracy.interval),
            },
        )
        for pair in pairs
    ]


def _ends(pair: EntryPair) -> tuple[float, float, float]:
    accuracy = pair.comparison.accuracy
    return accuracy.value, accuracy.low, accuracy.high
