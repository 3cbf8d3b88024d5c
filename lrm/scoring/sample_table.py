"""A run's table of samples: some of its replies, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappush, heappushpop
from itertools import count

from lrm.generation.budgets import ends_at
from lrm.scoring.stored_reply import StoredReply

SHOWN = 100
COLUMNS = (
    *("benchmark", "question", "group", "sample", "score", "answer", "strict", "lenient", "tokens"),
    *("thinking_tokens", "answer_tokens", "closed", "stop", "looped", "text"),
)
ELSEWHERE = ("words", "characters", "stop_guessed")
"""Columns of replies that were made elsewhere."""

Row = dict[str, object]


class SampleTable:
    """Takes replies one by one and keeps 100 of those under a budget (None: of the longest
    generations).

    Wrong replies come first; among equal scores the looping ones, then the longest (in characters
    if they were made elsewhere, else in tokens). Equal ones stay in their order.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self._kept: list[tuple[float, bool, int, int, Row]] = []
        self._order = count(0, -1)

    def add(self, reply: StoredReply) -> None:
        """Looks at a reply."""
        if not self._seen(reply):
            return
        length = reply.tokens if reply.characters is None else reply.characters
        # The smallest rank is the first to go. The order makes every rank different.
        rank = (-reply.score, reply.looped, length or 0, next(self._order))
        if len(self._kept) < SHOWN:
            heappush(self._kept, (*rank, _row(reply)))
        elif rank > self._kept[0][:4]:
            heappushpop(self._kept, (*rank, _row(reply)))

    def noted(self, replies: Iterable[StoredReply]) -> Iterator[StoredReply]:
        """The replies, each looked at on its way."""
        for reply in replies:
            self.add(reply)
            yield reply

    def rows(self) -> list[Row]:
        """The rows in their order, by the names of the columns."""
        return [row for *_, row in sorted(self._kept, key=lambda kept: kept[:4], reverse=True)]

    def _seen(self, reply: StoredReply) -> bool:
        """Whether this is the model's reply under the budget."""
        if reply.budget is not None or self._budget is None:
            return reply.budget == self._budget
        return ends_at(reply.closed, reply.cut, reply.thinking_tokens or 0) <= self._budget


def _row(reply: StoredReply) -> Row:
    """A reply as a row of the table."""
    names = COLUMNS if reply.characters is None else COLUMNS + ELSEWHERE
    return {name: getattr(reply, name) for name in names} | {"gold": reply.gold[0]}
