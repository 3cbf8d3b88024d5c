"""What is read off a reply's tokens or text: where its thinking ends, how it ended, if it loops."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence

from lrm.records import Completion, Stop

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

LOOP_TOKENS = 48
"""A reply cut by a cap has looped if its last 48 tokens, or its last two periods if longer,
repeat what stands one period before them. Where only text is known, words stand for tokens."""

FEWEST_WORDS = 200
"""A shorter reply that closed no thinking is taken for a direct answer, not for a cut one."""

Decode = Callable[[Sequence[int]], str]
_ENDED = re.compile(r"[^\w\s,;:(\[{<=+\u2013\u2014-]$")
_LABELLED = re.compile(r"\w\W*:\W*\w")


def assemble(
    token_ids: Sequence[int],
    *,
    given: int,
    prompt_ids: Sequence[int],
    stop: Stop,
    answer_tokens: int,
    decode: Decode,
    close_ids: Sequence[int],
) -> Completion:
    """Builds the Completion of a whole reply, cut to `answer_tokens` after its thinking.

    `token_ids` holds what was given and what was decoded, without the end-of-text token;
    `close_ids` is the closing tag in the model's own tokens, where it is looked for first.
    A reply that the answer cap cuts has the stop reason "length".
    """
    ids = tuple(token_ids)
    close = find_close(ids, decode, close_ids)
    thinking = len(ids) if close is None else close
    if close is not None and len(ids) - close > answer_tokens:
        ids, stop = ids[: max(close + answer_tokens, given)], "length"
    return Completion(
        token_ids=ids,
        text=decode(ids),
        prompt_ids=tuple(prompt_ids),
        thinking_tokens=thinking,
        answer_tokens=len(ids) - thinking,
        closed=close is not None,
        stop=stop,
        looped=stop == "length" and loops(ids),
        given=given,
    )


def find_close(ids: Sequence[int], decode: Decode, close_ids: Sequence[int]) -> int | None:
    """Index of the token that begins the closing tag, or None.

    The tag may come in other tokens than its own encoding; then the shortest prefix whose text
    holds the tag tells, and the tag is taken to begin where the text before it ends.
    """
    size = len(close_ids)
    for start in range(len(ids) - size + 1):
        if tuple(ids[start : start + size]) == tuple(close_ids):
            return start
    text = decode(ids)
    if THINK_CLOSE not in text:
        return None
    before = text.index(THINK_CLOSE)
    return max(
        bisect_left(range(len(ids) + 1), before + 1, key=lambda n: len(decode(ids[:n]))) - 1, 0
    )


def find_last(ids: Sequence[int], part: Sequence[int]) -> int | None:
    """Index where `part` stands for the last time, or None."""
    for start in range(len(ids) - len(part), -1, -1):
        if tuple(ids[start : start + len(part)]) == tuple(part):
            return start
    return None


def text_loops(text: str) -> bool:
    """Whether a text ends in a repeated stretch; its last word may be cut off."""
    words = text.split()
    return loops(words) or loops(words[:-1])


def guess_stop(text: str) -> Stop:
    """Why a reply ended, where nobody says: read off its text, so it is a guess.

    "length" if it ends repeating itself, or if its thinking was never closed and it breaks off: no
    full stop, bracket, quote or markup at its end, and no "Answer: ..." on its last line.
    """
    if text_loops(text):
        return "length"
    if THINK_CLOSE in text or len(text.split()) < FEWEST_WORDS:
        return "stop"
    ended = _ENDED.search(text.rstrip()) or _LABELLED.search(text.rstrip().rpartition("\n")[2])
    return "stop" if ended else "length"


def loops(ids: Sequence[Hashable]) -> bool:
    """Whether the sequence ends in a repeated stretch of any period (see LOOP_TOKENS)."""
    ids = tuple(ids)
    for period in range(1, len(ids) // 3 + 1):
        if ids[-1] != ids[-1 - period]:
            continue
        tail = max(LOOP_TOKENS, 2 * period)
        if tail + period <= len(ids) and ids[-tail:] == ids[-tail - period : -period]:
            return True
    return False
