"""A reply while it is decoded, whatever decodes it: what it starts from, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrm.records.reply import Stop


@dataclass(slots=True, eq=False)
class Reply:
    """The reply to prompt `index`.

    `ids` holds `prompt_tokens` tokens of the prompt, `given` tokens that were given, and those
    decoded so far, of which there are `limit` at most. `closed`: its thinking is over.
    """

    index: int
    ids: list[int]
    prompt_tokens: int
    given: int
    limit: int
    closed: bool = False

    @property
    def decoded(self) -> int:
        """How many tokens have been decoded."""
        return len(self.ids) - self.prompt_tokens - self.given

    def close_thinking(self, answered: int, answer_tokens: int) -> None:
        """The thinking is over and `answered` tokens, the tag included, have followed it.

        One token more than the cap is decoded, to tell a reply that ends there from a cut one.
        """
        self.closed = True
        self.limit = min(self.limit, self.decoded + max(answer_tokens + 1 - answered, 1))

    def append(
        self, token: int, eos: frozenset[int], close_ids: Sequence[int], answer_tokens: int
    ) -> Stop | None:
        """Adds a decoded token; returns why the reply ends with it, or None if it goes on."""
        if token in eos:
            return "stop"
        self.ids.append(token)
        if not self.closed and self.ids[-len(close_ids) :] == close_ids:
            self.close_thinking(len(close_ids), answer_tokens)
        return "length" if self.decoded >= self.limit else None
