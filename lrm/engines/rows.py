"""The replies of one call that are decoded together, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lrm.engines.codec import Codec
from lrm.engines.reply import Reply
from lrm.records import Completion, Decoding, Stop


@dataclass(slots=True, eq=False)
class Row:
    """A reply and its place: `numbers` are its uniforms, `slot` is -1 when not running.

    Rows of the same `text` may share the keys and values of their prompts.
    """

    reply: Reply
    text: str
    numbers: NDArray[np.float32]
    slot: int = -1


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
            index = row.reply.index
            done[index] = codec.completion(row.reply, stop, decoding)
            if on_completion:
                on_completion(index, done[index])
    return [done[index] for index in range(count)]


def same_text_together(rows: Sequence[Row]) -> list[Row]:
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
