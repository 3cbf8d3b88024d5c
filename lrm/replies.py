"""From the tokens of a reply to its Completion: where its thinking ends, and whether it loops."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence

from lrm.records.reply import THINK_CLOSE, Completion, Stop

LOOP_TOKENS = 48
"""A reply has looped if its last 48 tokens, or its last two periods where these are longer, equal
the tokens one period before them."""

Decode = Callable[[Sequence[int]], str]


def assemble(
    token_ids: Sequence[int],
    *,
    given: int,
    prompt_ids: Sequence[int],
    stop: Stop,
    answer_tokens: int,
    decode: Decode,
    close_ids: Sequence[int],
    open_tokens: int = 0,
) -> Completion:
    """Builds the Completion of a whole reply, cut to `answer_tokens` after its thinking.

    A reply that has not closed its thinking within `open_tokens` decoded tokens is cut there (0:
    never).

    `token_ids` holds the tokens that were given and those that were decoded, without the
    end-of-text token. `close_ids` is the closing tag in the model's own tokens, where it is looked
    for first. A reply that is cut has the stop reason "length".
    """
    ids = tuple(token_ids)
    open_end = given + open_tokens if open_tokens else len(ids)
    close = find_close(ids[:open_end], decode, close_ids)
    if close is None and open_end < len(ids):
        ids, stop = ids[:open_end], "length"
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

    A model may write the tag in other tokens than `close_ids`. Then the tag begins at the last
    token before which the text does not reach it.
    """
    size = len(close_ids)
    for start in range(len(ids) - size + 1):
        if tuple(ids[start : start + size]) == tuple(close_ids):
            return start
    text = decode(ids)
    if THINK_CLOSE not in text:
        return None
    # The longer the prefix, the longer its text, so the token is found by bisection.
    before = text.index(THINK_CLOSE)
    longer = bisect_left(range(len(ids) + 1), before + 1, key=lambda size: len(decode(ids[:size])))
    return max(longer - 1, 0)


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
