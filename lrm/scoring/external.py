"""Replies made elsewhere, graded like any others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lrm.contracts.benchmark import Benchmark
from lrm.records.reply import THINK_CLOSE, Completion, Stop
from lrm.scoring.grading import graded
from lrm.scoring.guess_stop import guess_stop, text_loops
from lrm.scoring.stored_reply import StoredReply
from lrm.scoring.submissions import Submission

Count = Callable[[str], int]
"""Counts the tokens of a text."""


def graded_submission(
    submission: Submission, benchmark: Benchmark, count: Count | None, max_tokens: int | None
) -> StoredReply:
    """A reply made elsewhere, graded. `count` counts a text's tokens; without it the row's own
    counts are taken, None where it has none.

    A reply was cut if the row says so; if it does not say, then if the tokens that the row gives
    reach `max_tokens`; and if it gives none, then if the text looks like it
    (`lrm.scoring.guess_stop`). Tokens counted here do not decide, since text that is encoded again
    may take more tokens or fewer.
    """
    thinking, tag, rest = submission.text.partition(THINK_CLOSE)
    after = tag + rest
    tokens, thinking_tokens = submission.tokens, submission.thinking_tokens
    if count:
        thinking_tokens = count(thinking)
        tokens = thinking_tokens + count(after)
    answer_tokens = None
    if tokens is not None and thinking_tokens is not None:
        answer_tokens = tokens - thinking_tokens
    stop, guessed = _stop(submission, max_tokens)
    words = Completion(
        token_ids=(),
        text=submission.text,
        prompt_ids=(),
        thinking_tokens=len(thinking.split()),
        answer_tokens=len(after.split()),
        closed=bool(tag),
        stop=stop,
        looped=stop == "length" and text_loops(submission.text),
    )
    return replace(
        graded(benchmark, submission.question, words, submission.sample),
        tokens=tokens,
        thinking_tokens=thinking_tokens,
        answer_tokens=answer_tokens,
        prompt=submission.prompt,
        words=words.tokens,
        characters=len(submission.text),
        stop_guessed=guessed,
    )


def _stop(submission: Submission, max_tokens: int | None) -> tuple[Stop, bool]:
    """Why the reply ended, and whether that is a guess."""
    if submission.stop is not None:
        return submission.stop, False
    if submission.tokens is not None and max_tokens is not None:
        return ("length" if submission.tokens >= max_tokens else "stop"), False
    return guess_stop(submission.text), True
