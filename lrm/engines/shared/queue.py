"""The replies of one call that are decoded together, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lrm.contracts import OnCompletion
from lrm.engines.shared.codec import Codec
from lrm.engines.shared.reply import Reply
from lrm.engines.shared.sampling import uniforms
from lrm.records import Completion, Decoding, Prompt, Stop


@dataclass(slots=True, eq=False)
class DecodingRow:
    """A reply and its place: `numbers` are its uniforms, `slot` is -1 when not running.

    Rows of the same `text` may share the keys and values of their prompts. `length` is how many
    tokens its place must hold.
    """

    reply: Reply
    text: str
    length: int
    numbers: NDArray[np.float32]
    slot: int = -1


class DecodingBatch(Protocol):
    """Rows that move on together: a step decodes one token of each that runs.

    `add` puts further rows before all that wait.
    """

    def add(self, rows: Sequence[DecodingRow]) -> None: ...

    def advance(
        self, eos: frozenset[int], close_ids: Sequence[int]
    ) -> list[tuple[DecodingRow, Stop]]: ...


def row(index: int, prompt: Prompt, reply: Reply) -> DecodingRow:
    """The row of a reply to a prompt, not yet in a place."""
    length = max(len(reply.ids) + reply.limit, reply.prompt_tokens + prompt.reserved_tokens)
    return DecodingRow(reply, prompt.text, length, uniforms(prompt.seed, prompt.max_tokens))


def at_once(rows: Sequence[DecodingRow], prompts: Sequence[Prompt], most: int) -> int:
    """How many rows run together: where prompts have room for what may follow them, `most`."""
    return most if any(prompt.reserved_tokens for prompt in prompts) else min(most, len(rows))


def finish(
    batch: DecodingBatch,
    rows: Sequence[DecodingRow],
    codec: Codec,
    decoding: Decoding,
    made: Callable[[int, Prompt], DecodingRow],
    on_completion: OnCompletion | None,
) -> list[Completion]:
    """Advances a batch of `rows` to its end; see `lrm.contracts.Engine.generate`.

    `made` makes the row of a prompt that follows a completion.
    """
    done: dict[int, Completion] = {}
    ended, count = 0, len(rows)
    longest = max(row.length for row in rows)
    while ended < count:
        further: list[DecodingRow] = []
        for row, stop in batch.advance(codec.eos, codec.close_ids):
            ended += 1
            completion = codec.completion(row.reply, stop, decoding)
            if not on_completion:
                done[row.reply.index] = completion
                continue
            for prompt in on_completion(row.reply.index, completion) or ():
                further.append(made(count, prompt))
                count += 1
        if any(row.length > longest for row in further):
            raise ValueError("a further prompt is longer than its forerunner's room announced")
        batch.add(same_text_together(further))
    return [done[index] for index in sorted(done)]


def same_text_together(rows: Sequence[DecodingRow]) -> list[DecodingRow]:
    """Rows in order, but those of one text follow its first, the longest leading."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.text, row.reply.index)
    return sorted(rows, key=lambda row: (first[row.text], -len(row.reply.ids), row.reply.index))


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(np.asarray(left[:size]) != np.asarray(right[:size]))
    return int(differ[0]) if len(differ) else size
