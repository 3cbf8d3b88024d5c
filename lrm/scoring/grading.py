"""The replies of an evaluation, graded."""

from __future__ import annotations

from collections.abc import Iterator

from lrm.contracts.benchmark import Benchmark
from lrm.generation.evaluate import Evaluation
from lrm.records.question import Mark, Question
from lrm.records.reply import Completion
from lrm.scoring.stored_reply import StoredReply
from lrm.scoring.truncation import wrong_for_length


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
