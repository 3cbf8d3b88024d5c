"""The tables of a comparison: its entries, the joint front, and the paired differences."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.comparison.joint_front import EntryPair, JointFront
from lrm.tables import Table, amount, percent, signed, times


def entries_table(joint: JointFront) -> Table:
    """Whose the entries are, and how much of the joint front each holds."""
    rows = [
        (
            entry.label,
            entry.owner,
            entry.study,
            entry.params.get("model", ""),
            str(len(entry.selection.records)),
            f"{joint.held(entry)} of {len(joint.on_front)}",
            f"{joint.hypervolume(entry):,.1f}",
            entry.made_in,
        )
        for entry in joint.entries
    ]
    header = ("who", "team or owner", "study", "model", "levels", "holds", "hypervolume", "store")
    note = (
        f"holds: points of the joint front, equal ones counted for each; hypervolume: by itself, "
        f"up to {joint.front.worst_tokens:,.1f} {joint.front.spots[0].setting.variant.unit}; "
        f"of all together: {joint.front.hypervolume:,.1f}."
    )
    return Table("Compared", header, rows, note)


def front_table(joint: JointFront) -> Table:
    """The points of the joint front, the cheapest first."""
    unit = joint.front.spots[0].setting.variant.unit
    rows = [
        (
            ", ".join(entry.label for entry in joint.holders(spot)),
            spot.setting.variant.name.partition(": ")[2],
            "none" if spot.setting.budget is None else str(spot.setting.budget),
            percent(spot.accuracy),
            amount(spot.tokens),
            spot.run_id,
        )
        for spot in joint.on_front
    ]
    header = ("who", "level", "budget", "accuracy", f"{unit} per question", "run")
    heading = "Joint Pareto front: no other point is both more accurate and shorter"
    note = f"Means over {', '.join(joint.benchmarks)}; intervals: 95% over questions."
    return Table(heading, header, rows, note)


def pairs_table(pairs: Sequence[EntryPair]) -> Table:
    """The paired differences in accuracy and length."""
    rows = [
        (
            pair.first.label,
            pair.second.label,
            pair.level,
            "none" if pair.budget is None else str(pair.budget),
            signed(pair.comparison.accuracy.interval),
            times(pair.comparison.tokens),
            str(pair.comparison.accuracy.questions),
            "yes" if pair.comparison.separable else "no significant difference",
        )
        for pair in pairs
    ]
    header = ("who", "against", "level", "budget", "accuracy", "length", "questions", "separable")
    note = "Paired by question: differences in percentage points, lengths as ratios; 95%."
    return Table("Differences on shared questions", header, rows, note)
