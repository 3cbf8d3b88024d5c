"""A reply in the making, whatever decodes it: what it starts from, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrm.records import Stop


@dataclass(slots=True, eq=False)
class Reply:
    """`ids` holds the prompt, what was given and what was decoded; `limit` caps the decoded."""

    index: int
    ids: list[int]
    prompt_tokens: int
    given: int
    limit: int
    closed: bool = False

    @property
    def decoded(self) -> int:
        return len(self.ids) - self.prompt_tokens - self.given

    def close(self, answered: int, answer_tokens: int) -> None:
        """The thinking is over and `answered` tokens, the tag included, have followed it.

        One token more than the cap is decoded, to tell a reply that ends there from a cut one.
        """
        self.closed = True
        self.limit = min(self.limit, self.decoded + max(answer_tokens + 1 - answered, 1))

    def take(
        self, token: int, eos: frozenset[int], close_ids: Sequence[int], answer_tokens: int
    ) -> Stop | None:
        """Adds a decoded token; returns why the reply ends with it, if it does."""
        if token in eos:
            return "stop"
        self.ids.append(token)
        if not self.closed and self.ids[-len(close_ids) :] == close_ids:
            self.close(len(close_ids), answer_tokens)
        return "length" if self.decoded >= self.limit else None
