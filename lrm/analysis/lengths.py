"""Are shorter replies better? Compared across questions, as in the paper, and within questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrm.records.point import Interval
from lrm.scoring.grid import Bools, Grid
from lrm.scoring.scores import accuracy, share
from lrm.stats import intervals, paired

SHARE = 0.3
"""The paper compares the shortest 30% of replies with the longest 30%."""

ACROSS = (
    "Across questions, the split shows how accuracy varies with length. It cannot show that short "
    "thinking helps, because hard questions take longer and are missed more often: it is "
    "confounded by difficulty."
)
WITHIN = (
    "Within questions, the split compares short and long replies to the same question, so "
    "difficulty plays no part. It cannot show that shortening a reply would make it correct, "
    "because a reply that has gone astray may run on for that very reason."
)


@dataclass(frozen=True, slots=True)
class Split:
    """Accuracy of the shortest against the longest replies, and shortest minus longest.

    `short_count` and `long_count` count questions in a split across questions, and replies in one
    within questions; `questions` is how many questions took part. `sentence` says what the split
    can and cannot show.
    """

    short: Interval
    long: Interval
    difference: Interval
    short_count: int
    long_count: int
    questions: int
    sentence: str

    @property
    def verdict(self) -> str:
        if self.difference.low > 0:
            return "shorter replies are more accurate"
        if self.difference.high < 0:
            return "longer replies are more accurate"
        return "no significant difference"


def across(grid: Grid, part: float = SHARE) -> Split | None:
    """The paper's split: questions by the mean length of their replies.

    None for fewer than two questions. Questions of equal length keep their order.
    """
    count = len(grid.questions)
    if count < 2:
        return None
    size = max(1, round(part * count))
    order = np.argsort(grid.per_question(grid.tokens), kind="stable")
    short, long = accuracy(grid.take(order[:size])), accuracy(grid.take(order[-size:]))
    difference = paired.difference(short, long)
    return Split(short, long, difference, size, size, count, ACROSS)


def within(grid: Grid, part: float = SHARE) -> Split | None:
    """The split over the replies to each question that has two or more; None if no question has.

    Of a question's replies the shortest and the longest `part` are taken, at least one of each.
    Replies of equal length keep their order.
    """
    repeated = np.flatnonzero(grid.present.sum(axis=1) > 1)
    if not len(repeated):
        return None
    asked = grid.take(repeated)
    # Samples that are not there come last in the order, and are counted out below.
    lengths = np.where(asked.present, asked.tokens, np.inf)
    rank = np.argsort(np.argsort(lengths, axis=1, kind="stable"), axis=1)
    samples = asked.present.sum(axis=1, keepdims=True)
    size = np.maximum(1, np.rint(part * samples))
    short = _chosen_scores(asked, rank < size)
    long = _chosen_scores(asked, (rank >= samples - size) & (rank < samples))
    difference = paired.paired_difference(short, long)
    return Split(
        short=intervals.accuracy(short),
        long=intervals.accuracy(long),
        difference=difference.interval,
        short_count=int(size.sum()),
        long_count=int(size.sum()),
        questions=len(repeated),
        sentence=WITHIN,
    )


@dataclass(frozen=True, slots=True)
class Endings:
    """Shares of replies by how they ended, with intervals over questions.

    `unclosed`: the thinking was never closed; `looping`: the reply repeated itself until a cap;
    `truncated`: a cap cut the reply; `forced`: the budget ended the thinking; `unanswered`: no
    answer was found in the reply.
    """

    unclosed: Interval
    looping: Interval
    truncated: Interval
    forced: Interval
    unanswered: Interval


def endings(grid: Grid) -> Endings:
    return Endings(
        unclosed=share(grid, ~grid.closed),
        looping=share(grid, grid.looped),
        truncated=share(grid, grid.truncated),
        forced=share(grid, grid.forced),
        unanswered=share(grid, ~grid.answered),
    )


def _chosen_scores(grid: Grid, chosen: Bools) -> np.ndarray:
    """Scores [questions, samples], NaN except where `chosen`."""
    return np.where(chosen, grid.score, np.nan)
