"""Scores worked out reply by reply, in plain Python, without arrays or stored rows: the long way
round, which `lrm.scoring` must agree with to the last digit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import get_args

import numpy as np

from lrm.contracts.benchmark import Benchmark
from lrm.generation.budgets import fits
from lrm.generation.evaluate import ReplyKey
from lrm.records.point import Budget, Interval
from lrm.records.question import Grade, Mark, Question, Rule, Truncation
from lrm.records.reply import Completion
from lrm.scoring.pass_at_k import pass_at_k, sizes
from lrm.stats import intervals


@dataclass(frozen=True)
class Item:
    """One reply to one question under one budget, graded on what is there."""

    question: Question
    sample: int
    completion: Completion
    grade: Grade
    forced: bool = False


def items_at(
    benchmark: Benchmark,
    questions: Sequence[Question],
    samples: int,
    replies: Mapping[ReplyKey, Completion],
    budget: Budget,
) -> Iterator[Item]:
    """What the model says under a budget, questions in order, samples within."""
    for question in questions:
        for sample in range(samples):
            key = ReplyKey(benchmark.name, question.id, sample)
            longest = replies[key]
            if fits(longest, budget.tokens):
                yield Item(question, sample, longest, benchmark.grade(question, longest))
            elif budget.policy == "truncate":
                yield Item(question, sample, cut(longest, budget.tokens), Grade(None, 0.0))
            else:
                answer = replies[key._replace(budget=budget.tokens)]
                yield Item(question, sample, answer, benchmark.grade(question, answer), forced=True)


def cut(reply: Completion, budget: int) -> Completion:
    """The reply cut within its thinking."""
    return replace(
        reply,
        token_ids=reply.token_ids[:budget],
        text="",
        thinking_tokens=budget,
        answer_tokens=0,
        closed=False,
        stop="length",
        looped=False,
    )


def judge(
    item: Item, rule: Rule | None = None, truncation: Truncation = "truncated-is-wrong"
) -> Mark:
    """The answer and score that count: of one extraction rule, or of the benchmark's headline."""
    if truncation == "truncated-is-wrong" and item.completion.stop == "length":
        return Mark(None, 0.0)
    if rule is not None and rule in item.grade.marks:
        return item.grade.marks[rule]
    return Mark(item.grade.answer, item.grade.score, item.grade.vote)


@dataclass(frozen=True)
class Scored:
    """What `lrm.scoring.scores.Score` has."""

    accuracy: Interval
    tokens: Interval
    per_question: tuple[float, ...]
    readings: Mapping[str, Interval]
    metrics: Mapping[str, float]


def score(items: Sequence[Item]) -> Scored:
    """The scores of one benchmark's items, which come question by question."""
    rows = [list(group) for _, group in groupby(items, key=lambda item: item.question.id)]
    marks = [[judge(item) for item in row] for row in rows]
    rules = sorted({rule for item in items for rule in item.grade.marks})

    def each(value: Callable[[Item], float]) -> list[list[float]]:
        return [[float(value(item)) for item in row] for row in rows]

    def overall(value: Callable[[Item], float]) -> float:
        return _mean(each(value))

    lengths = [length for row in each(lambda item: item.completion.tokens) for length in row]
    metrics = {
        "tokens/p50": float(np.percentile(lengths, 50)),
        "tokens/p95": float(np.percentile(lengths, 95)),
        "tokens/thinking": overall(lambda item: item.completion.thinking_tokens),
        "tokens/answer": overall(lambda item: item.completion.answer_tokens),
        "share/forced": overall(lambda item: item.forced),
        "share/truncated": overall(lambda item: item.completion.stop == "length"),
        "share/unclosed": overall(lambda item: not item.completion.closed),
        "share/looping": overall(lambda item: item.completion.looped),
        "share/unanswered": overall(lambda item: item.grade.answer is None),
    }
    for rule in rules:
        metrics[f"share/unanswered/{rule}"] = _mean(
            [[judge(i, rule, "grade-what-is-there").answer is None for i in row] for row in rows]
        )
    for name in {name for item in items for name in item.grade.also}:
        metrics[name] = overall(
            lambda item: 0.0 if item.completion.stop == "length" else item.grade.also.get(name, 0.0)  # noqa: B023
        )
    for group in {row[0].question.group for row in rows} - {""}:
        asked = [row for row in rows if row[0].question.group == group]
        metrics[f"accuracy/{group}"] = _mean([[judge(i).score for i in row] for row in asked])
    return Scored(
        accuracy=intervals.accuracy([[mark.score for mark in row] for row in marks]),
        tokens=intervals.mean(each(lambda item: item.completion.tokens)),
        per_question=tuple(float(np.mean([mark.score for mark in row])) for row in marks),
        readings={
            f"{rule}/{policy}": intervals.accuracy(
                [[judge(item, rule, policy).score for item in row] for row in rows]
            )
            for rule in rules
            for policy in get_args(Truncation)
        },
        metrics=metrics | _repeated(marks),
    )


def _mean(rows: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(row) for row in rows]))


def _repeated(marks: Sequence[Sequence[Mark]]) -> dict[str, float]:
    samples = min(map(len, marks))
    if samples == 1:
        return {}
    right = [sum(mark.score == 1 for mark in row) for row in marks]
    counted = list(zip(marks, right, strict=True))
    found = {
        f"pass_at_{k}": float(np.mean([pass_at_k(len(row), n, k) for row, n in counted]))
        for k in sizes(samples)
    }
    majorities = [_majority(row[:samples]).score for row in marks]
    return found | {f"maj_at_{samples}": float(np.mean(majorities))}


def _majority(marks: Sequence[Mark]) -> Mark:
    votes: dict[str, list[Mark]] = {}
    for mark in marks:
        if mark.answer is not None:
            votes.setdefault(mark.answer if mark.vote is None else mark.vote, []).append(mark)
    return max(votes.values(), key=len)[0] if votes else Mark(None, 0.0)
