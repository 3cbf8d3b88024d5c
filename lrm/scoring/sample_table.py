"""The replies of a run that its table of samples shows: the worst first."""

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
    """Takes replies one by one and keeps 100 rows of those under a budget (None: of the longest
    generations).

    The wrong come first, of these the looping, of these the longest (in characters where replies
    were made elsewhere, else in tokens); equal ones stay in their order.
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
        # The least of this is the first to go; no two have one place in the order.
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
        """What is shown, in its order, by the names of the columns."""
        return [row for *_, row in sorted(self._kept, key=lambda kept: kept[:4], reverse=True)]

    def _seen(self, reply: StoredReply) -> bool:
        """Whether this is what the model says under the budget."""
        if reply.budget is not None or self._budget is None:
            return reply.budget == self._budget
        return ends_at(reply.closed, reply.cut, reply.thinking_tokens or 0) <= self._budget


def _row(reply: StoredReply) -> Row:
    """A reply as people read it."""
    names = COLUMNS if reply.characters is None else COLUMNS + ELSEWHERE
    return {name: getattr(reply, name) for name in names} | {"gold": reply.gold[0]}
