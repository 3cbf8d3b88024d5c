"""A reply while it is decoded, whatever decodes it: what it starts from, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from lrm.records.reply import Stop
from lrm.replies import Decode, find_close


@dataclass(frozen=True, slots=True)
class EndRules:
    """What ends the replies of one call.

    `eos` are the tokens that end a reply, `close_ids` is the closing tag in the model's own tokens,
    `answer_tokens` caps what follows the thinking, and `decode` gives the text of tokens.
    """

    eos: frozenset[int]
    close_ids: list[int]
    answer_tokens: int
    decode: Decode


@dataclass(slots=True, eq=False)
class Reply:
    """The reply to prompt `index`.

    `ids` holds `prompt_tokens` tokens of the prompt, `given` tokens that were given, and those
    decoded so far, of which there are `limit` at most. `closed`: its thinking is over. If it is not
    after `open_limit` decoded tokens, the reply ends there (0: never).
    """

    index: int
    ids: list[int]
    prompt_tokens: int
    given: int
    limit: int
    closed: bool = False
    open_limit: int = 0

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

    def append(self, token: int, rules: EndRules) -> Stop | None:
        """Adds a decoded token; returns why the reply ends with it, or None if it goes on."""
        if token in rules.eos:
            return "stop"
        self.ids.append(token)
        size = len(rules.close_ids)
        if not self.closed and self.ids[-size:] == rules.close_ids:
            self.close_thinking(size, rules.answer_tokens)
        if self.decoded == self.open_limit and not self.closed and not self._spelt(rules):
            return "length"
        return "length" if self.decoded >= self.limit else None

    def _spelt(self, rules: EndRules) -> bool:
        """Whether the closing tag is there in other tokens than `close_ids`; the thinking is over
        then."""
        ids = self.ids[self.prompt_tokens :]
        close = find_close(ids, rules.decode, rules.close_ids)
        if close is not None:
            self.close_thinking(len(ids) - close, rules.answer_tokens)
        return close is not None
