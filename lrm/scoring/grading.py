"""Grading replies: those of an evaluation, and those made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from lrm.contracts import Benchmark
from lrm.generation.evaluate import Evaluation
from lrm.records import THINK_CLOSE, Completion, Mark, Question, Stop
from lrm.scoring.guess_stop import guess_stop, text_loops
from lrm.scoring.stored_reply import StoredReply
from lrm.scoring.submissions import Submission
from lrm.scoring.truncation import wrong_for_length

Count = Callable[[str], int]


def graded_replies(evaluation: Evaluation) -> Iterator[StoredReply]:
    """Every reply of an evaluation, read and graded once. Each longest generation is followed by
    its answers at smaller budgets."""
    for question, key, reply in evaluation.generations():
        yield graded(evaluation.benchmark, question, reply, key.sample, key.budget)


def graded(
    benchmark: Benchmark,
    question: Question,
    reply: Completion,
    sample: int,
    budget: int | None = None,
) -> StoredReply:
    """A reply, graded. `budget` is None for a longest generation, else the budget at which the
    answer was forced."""
    grade = benchmark.grade(question, reply)
    headline = Mark(grade.answer, grade.score, grade.vote)
    return StoredReply(
        benchmark=benchmark.name,
        question=question.id,
        group=question.group,
        sample=sample,
        score=0.0 if wrong_for_length(reply.stop == "length") else grade.score,
        answer=grade.answer,
        strict=grade.marks.get("strict", headline).answer,
        lenient=grade.marks.get("lenient", headline).answer,
        tokens=reply.tokens,
        thinking_tokens=reply.thinking_tokens,
        answer_tokens=reply.answer_tokens,
        closed=reply.closed,
        stop=reply.stop,
        looped=reply.looped,
        text=reply.text,
        budget=budget,
        prompt=question.prompt,
        gold=question.gold,
        prompt_ids=reply.prompt_ids,
        token_ids=reply.token_ids,
        given=reply.given,
        score_as_is=grade.score,
        vote=grade.vote,
        marks=grade.marks,
        also=grade.also,
    )


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
