"""The joint front as a section of a report: a line for each party, and the paired differences."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.comparison import joint_front as joining
from experiments.comparison.joint_front import EntryPair, JointFront
from lrm.records import Interval
from lrm.report.charts import ChartAxis, Dot, curves, intervals
from lrm.report.figure import Figure, Panel, Section
from lrm.report.spots import ACCURACY, log_length, spot_dot
from lrm.tables import signed

STRETCHES = 8
"""Of the front told in words; a table has all its points."""


def section(joint: JointFront, at_largest: Sequence[EntryPair]) -> Section:
    """Who holds what, drawn and in words, with all tables of the comparison."""
    unit = joint.front.spots[0].setting.variant.unit
    dots = [
        spot_dot(party.label, spot) for party in joint.parties for spot in joint.own_front(party)
    ]
    steps = [(log_length(spot.tokens.value), spot.accuracy.value) for spot in joint.on_front]
    axis = ChartAxis(f"{unit} per question, log scale", "log")
    apart = ChartAxis("difference in accuracy, percentage points")
    figure = Figure(
        text=(
            "A line is a party's own Pareto front, the dashed line that of all together. Beside it "
            "two parties at the same level, on the same questions; 95% intervals. To the right of "
            "the zero the first named is the more accurate.",
            *(
                f"{party.label} holds {joint.held(party)} of {len(joint.on_front)} points of the "
                "joint front."
                for party in joint.parties
            ),
            f"By {unit} per question: "
            + "; ".join(_stretch(*one) for one in joint.stretches[:STRETCHES])
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
            joining.parties_table(joint),
            joining.front_table(joint),
            joining.pairs_table(joint, joint.pairs),
        ),
    )
    return Section("joint", "The joint front, and who holds it", figure)


def _stretch(who: str, start: float, end: float) -> str:
    return f"{start:,.0f}: {who}" if start == end else f"{start:,.0f} to {end:,.0f}: {who}"


def _against(pair: EntryPair) -> str:
    return f"{pair.one.label} against {pair.other.label}"


def _titled(pairs: Sequence[EntryPair]) -> str:
    """The two parties, if there are no more; else a legend names them."""
    who = {_against(pair) for pair in pairs}
    return who.pop() if len(who) == 1 else "two parties at a time"


def _differences(pairs: Sequence[EntryPair]) -> list[Dot]:
    return [
        Dot(
            series=_against(pair),
            position=pair.level,
            value=Interval(*(100 * end for end in _ends(pair))),
            hover={
                "one": pair.found.one,
                "other": pair.found.other,
                "accuracy": signed(pair.found.accuracy.interval),
            },
        )
        for pair in pairs
    ]


def _ends(pair: EntryPair) -> tuple[float, float, float]:
    found = pair.found.accuracy
    return found.value, found.low, found.high
