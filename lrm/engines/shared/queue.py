"""The replies of one call, decoded together step by step until the last has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.engines.shared.codec import Codec
from lrm.engines.shared.reply import EndRules, Reply
from lrm.engines.shared.sampling import uniforms
from lrm.records.reply import Completion, Decoding, Prompt, Stop


@dataclass(slots=True, eq=False)
class DecodingRow:
    """A reply, its random numbers, and where it runs.

    Rows of the same `text` may share the keys and values of their prompts. `length` is how many
    tokens its slot must hold. `numbers` are its uniforms, one for each token it may decode. `slot`
    is -1 while it does not run.
    """

    reply: Reply
    text: str
    length: int
    numbers: NDArray[np.float32]
    slot: int = -1


class DecodingBatch(Protocol):
    """The rows of one call, those that wait and those that run.

    `advance` starts waiting rows, decodes one token of each running row, and returns the rows that
    ended with the reason why. `add` puts further rows before all that wait. `decoded` is how many
    tokens the running rows have so far.
    """

    @property
    def decoded(self) -> int: ...

    def add(self, rows: Sequence[DecodingRow]) -> None: ...

    def advance(self, rules: EndRules) -> list[tuple[DecodingRow, Stop]]: ...


def decoding_row(prompt: Prompt, reply: Reply) -> DecodingRow:
    """The row of a reply to a prompt, not yet in a slot."""
    length = max(len(reply.ids) + reply.limit, reply.prompt_tokens + prompt.reserved_tokens)
    return DecodingRow(reply, prompt.text, length, uniforms(prompt.seed, prompt.max_tokens))


def parallel_rows(rows: Sequence[DecodingRow], prompts: Sequence[Prompt], most: int) -> int:
    """How many rows run at once: no more than there are, unless further prompts may follow them,
    which is when they reserve tokens; then `most`."""
    return most if any(prompt.reserved_tokens for prompt in prompts) else min(most, len(rows))


def decode_all(
    batch: DecodingBatch,
    rows: Sequence[DecodingRow],
    codec: Codec,
    decoding: Decoding,
    make_row: Callable[[int, Prompt], DecodingRow],
    on_completion: OnCompletion | None,
    on_tokens: OnTokens | None,
) -> list[Completion]:
    """Advances a batch of `rows` until all have ended; see `lrm.contracts.engine.Engine.generate`.

    `make_row` makes the row of a further prompt and its index. Raises ValueError if that needs a
    longer slot than all of `rows`, whose prompts should have reserved it.
    """
    completions: dict[int, Completion] = {}
    ended, total = 0, len(rows)
    longest = max(row.length for row in rows)
    rules = EndRules(codec.eos, codec.close_ids, decoding.answer_tokens, codec.decode)
    while ended < total:
        # 1) One token of every running row.
        finished = batch.advance(rules)
        if on_tokens:
            on_tokens(batch.decoded)

        # 2) Each finished reply is handed over, or kept if nobody takes it; prompts may follow it.
        further: list[DecodingRow] = []
        for row, stop in finished:
            ended += 1
            completion = codec.completion(row.reply, stop, decoding)
            if not on_completion:
                completions[row.reply.index] = completion
                continue
            for prompt in on_completion(row.reply.index, completion) or ():
                further.append(make_row(total, prompt))
                total += 1

        # 3) What follows a reply runs next, while the keys and values it shares are still there.
        if any(row.length > longest for row in further):
            raise ValueError("a further prompt is longer than its forerunner had reserved")
        batch.add(same_text_together(further))
    return [completions[index] for index in sorted(completions)]


def same_text_together(rows: Sequence[DecodingRow]) -> list[DecodingRow]:
    """Rows in order, but those of one text directly follow its first, the longest leading."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.text, row.reply.index)
    return sorted(rows, key=lambda row: (first[row.text], -len(row.reply.ids), row.reply.index))


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(np.asarray(left[:size]) != np.asarray(right[:size]))
    return int(differ[0]) if len(differ) else size
