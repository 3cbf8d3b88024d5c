"""One reply in the making: from a prompt to a row of tokens, and from the row to a Completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lrm.engines.sampling import uniforms
from lrm.errors import BadInput
from lrm.records import Completion, Decoding, Prompt, Stop
from lrm.replies import THINK_CLOSE, Decode, assemble, find_close


@dataclass(slots=True, eq=False)
class Row:
    """One reply in the making: `ids` holds the prompt, what was given and what was decoded.

    `limit` caps the decoded tokens, `numbers` are their uniforms, `slot` is -1 when not running.
    """

    index: int
    text: str
    ids: list[int]
    prompt_tokens: int
    given: int
    limit: int
    numbers: NDArray[np.float32]
    closed: bool = False
    slot: int = -1

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


class Codec:
    """How a model's tokens stand for text, where its replies end, and how much it reads.

    `encode` adds no token of its own (no beginning of text); `eos` holds every token that ends a
    reply; `room` is the longest prompt and reply together, in tokens.
    """

    def __init__(
        self, encode: Callable[[str], list[int]], decode: Decode, eos: frozenset[int], room: int
    ) -> None:
        self.encode, self.decode, self.eos, self.room = encode, decode, eos, room
        self.close_ids = encode(THINK_CLOSE)

    def row(self, index: int, prompt: Prompt, asked: list[int], decoding: Decoding) -> Row:
        """The row of a prompt whose own text is the tokens `asked`; BadInput if it cannot fit."""
        given = [*prompt.spoken, *self.encode(prompt.closing)]
        size = len(asked) + len(given)
        if not size:
            raise BadInput(f"prompt {index} is empty and its tokenizer adds nothing; give it text")
        if size + prompt.max_tokens > self.room:
            raise BadInput(
                f"prompt {index} has {size} tokens and asks for up to {prompt.max_tokens} more, "
                f"but the model reads at most {self.room}; shorten the prompt or lower max_tokens"
            )
        close = find_close(given, self.decode, self.close_ids) if given else None
        row = Row(
            index=index,
            text=prompt.text,
            ids=[*asked, *given],
            prompt_tokens=len(asked),
            given=len(given),
            limit=prompt.max_tokens,
            numbers=uniforms(prompt.seed, prompt.max_tokens),
        )
        if close is not None:
            row.close(len(given) - close, decoding.answer_tokens)
        return row

    def completion(self, row: Row, stop: Stop, decoding: Decoding) -> Completion:
        return assemble(
            row.ids[row.prompt_tokens :],
            given=row.given,
            prompt_tokens=row.prompt_tokens,
            stop=stop,
            answer_tokens=decoding.answer_tokens,
            decode=self.decode,
            close_ids=self.close_ids,
        )


class Batch(Protocol):
    """Rows that move on together: a step decodes one token of each that runs."""

    def advance(self, eos: frozenset[int], close_ids: Sequence[int]) -> list[tuple[Row, Stop]]: ...


def finish(
    batch: Batch,
    count: int,
    codec: Codec,
    decoding: Decoding,
    on_completion: Callable[[int, Completion], None] | None,
) -> list[Completion]:
    """Advances a batch of `count` rows to its end, telling of each reply as it ends."""
    done: dict[int, Completion] = {}
    while len(done) < count:
        for row, stop in batch.advance(codec.eos, codec.close_ids):
            done[row.index] = codec.completion(row, stop, decoding)
            if on_completion:
                on_completion(row.index, done[row.index])
    return [done[index] for index in range(count)]


def same_text_together(rows: Sequence[Row]) -> list[Row]:
    """Rows in order, but those of one text follow its first, the longest leading."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.text, row.index)
    return sorted(rows, key=lambda row: (first[row.text], -len(row.ids), row.index))


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(np.asarray(left[:size]) != np.asarray(right[:size]))
    return int(differ[0]) if len(differ) else size
