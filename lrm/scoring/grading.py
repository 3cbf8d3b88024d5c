"""Replies made elsewhere, graded like any others: from a submission to an item and its lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lrm.contracts import Benchmark
from lrm.generation.evaluate import Item
from lrm.records import THINK_CLOSE, Completion, Stop
from lrm.scoring.guess_stop import guess_stop, text_loops
from lrm.scoring.submissions import Submission

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Graded:
    """A graded reply, its lengths counted in words; `tokens` is None where they are not known.

    `thinking_tokens` is None too where only the whole is known. `guessed`: the reason why it ended
    was read off its text.
    """

    item: Item
    characters: int
    tokens: int | None
    thinking_tokens: int | None
    guessed: bool

    def light(self) -> Graded:
        """The same without its text, to be kept by the thousand."""
        return replace(self, item=self.item.light())


def graded(
    given: Submission, benchmark: Benchmark, count: Count | None, max_tokens: int | None
) -> Graded:
    """Grades a reply. `count` counts a text's tokens, else the row's own counts are taken.

    A reply has been cut where the row says so, else where the tokens that the row gives reach
    `max_tokens`, else where its text looks it (`lrm.scoring.guess_stop`). Tokens counted here do
    not tell: text that is encoded again may take more tokens or fewer.
    """
    thinking, tag, rest = given.text.partition(THINK_CLOSE)
    parts = thinking, tag + rest
    tokens, thinking_tokens = given.tokens, given.thinking_tokens
    if count:
        thinking_tokens = count(parts[0])
        tokens = thinking_tokens + count(parts[1])
    stop, guessed = _stop(given, max_tokens)
    words = [len(part.split()) for part in parts]
    completion = Completion(
        token_ids=(),
        text=given.text,
        prompt_ids=(),
        thinking_tokens=words[0],
        answer_tokens=words[1],
        closed=bool(tag),
        stop=stop,
        looped=stop == "length" and text_loops(given.text),
    )
    item = Item(
        given.question, given.sample, completion, benchmark.grade(given.question, completion)
    )
    return Graded(item, len(given.text), tokens, thinking_tokens, guessed)


def in_tokens(replies: Sequence[Graded]) -> list[Item]:
    """The items with lengths in tokens, which every reply must know.

    Where the share of the thinking is not known, all counts as thinking.
    """
    return [
        _with(
            given.item,
            thinking_tokens=(given.tokens if split is None else split),
            answer_tokens=0 if split is None else (given.tokens or 0) - split,
        )
        for given in replies
        for split in [given.thinking_tokens]
    ]


def _with(item: Item, **changes: object) -> Item:
    return replace(item, completion=replace(item.completion, **changes))  # type: ignore[arg-type]


def _stop(given: Submission, max_tokens: int | None) -> tuple[Stop, bool]:
    """Why the reply ended, and whether that is a guess."""
    if given.stop is not None:
        return given.stop, False
    if given.tokens is not None and max_tokens is not None:
        return ("length" if given.tokens >= max_tokens else "stop"), False
    return guess_stop(given.text), True
