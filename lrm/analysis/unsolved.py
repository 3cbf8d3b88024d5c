"""A task that the dense model does not solve: nothing about compression can be seen on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrm.records.point import Interval
from lrm.scoring.grid import Grid
from lrm.tables import counted


def unsolved(grid: Grid, whole: Grid) -> str:
    """Why a benchmark shows nothing, in words; "" if a reply in `grid` is correct in part at least.

    `whole` has the longest generations of the same replies: they say how many replies never closed
    their thinking.
    """
    if np.nansum(grid.score) > 0:
        return ""
    unclosed = int(np.count_nonzero(whole.present & ~whole.closed))
    return (
        f"the dense model does not solve this task: no answer is correct, and {unclosed:,} of "
        f"{counted(whole.replies, 'reply', 'replies')} never close their thinking"
    )


def empty_front(accuracies: Sequence[Interval]) -> str:
    """What to say of a Pareto front on which no answer is correct; "" if one is."""
    if any(accuracy.value > 0 for accuracy in accuracies):
        return ""
    return (
        "No answer is correct at any point, so the front shows only the shortest replies; give a "
        "model that solves the task, or larger budgets."
    )
