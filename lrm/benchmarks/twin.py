"""What the four synthetic benchmarks share: seeded drawing, and a split that cannot leak.

A hash of a problem's text alone decides whether it is held out for testing, so training and test
questions cannot overlap, however many are drawn. Random choices use only `random.random()`, whose
sequence for a seed Python guarantees.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Protocol, TypeVar

from lrm.contracts.benchmark import Benchmark
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

T = TypeVar("T")

TEST_QUESTIONS = 400
HELD_OUT = 32
"""Of 256 values of the hash, those whose problems are held out."""


class SeededRandom:
    """Random choices from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, end: int) -> int:
        """An integer from 0 to end - 1."""
        return int(self._random() * end)

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self._random() < probability

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items in random order."""
        pool = list(items)
        for index in range(count):
            other = index + self.below(len(pool) - index)
            pool[index], pool[other] = pool[other], pool[index]
        return pool[:count]


class Problem(Protocol):
    """What a twin draws: enough to ask, to answer, and to explain."""

    @property
    def prompt(self) -> str: ...

    @property
    def message(self) -> str: ...

    @property
    def answer(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def key(self) -> str:
        """What makes two problems the same one."""
        ...


def held_out(problem: Problem) -> bool:
    """Whether a problem belongs to the test questions."""
    return hashlib.sha256(problem.key.encode()).digest()[0] < HELD_OUT


def problems(
    draw: Callable[[SeededRandom], Problem], seed: int, *, test: bool
) -> Iterator[Problem]:
    """Different problems without end, either all held out for testing or none of them."""
    rng, seen = SeededRandom(seed), set()
    while True:
        problem = draw(rng)
        if held_out(problem) is test and problem.key not in seen:
            seen.add(problem.key)
            yield problem


@dataclass(frozen=True)
class Twin:
    """A synthetic benchmark (`lrm.contracts.benchmark.Benchmark`): 400 fixed test questions.

    It is graded as the benchmark `real` is, whose twin it is.
    """

    name: str
    version: int
    draw: Callable[[SeededRandom], Problem]
    real: Benchmark

    open_book_of: ClassVar[str] = ""
    calibrates: ClassVar[bool] = True

    @property
    def knowledge(self) -> bool:
        return self.real.knowledge

    def load(self, limit: int | None = None) -> list[Question]:
        count = TEST_QUESTIONS if limit is None else min(limit, TEST_QUESTIONS)
        return self._questions(count, seed=0, test=True)

    def practice(self, count: int, seed: int) -> list[Question]:
        return self._questions(count, seed, test=False)

    def grade(self, question: Question, completion: Completion) -> Grade:
        return self.real.grade(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        return self.real.first_said(question, text)

    def _questions(self, count: int, seed: int, *, test: bool) -> list[Question]:
        side = "test" if test else f"practice-{seed}"
        return [
            Question(
                f"{self.name}-{side}-{i}",
                problem.prompt,
                (problem.answer,),
                problem.group,
                problem.message,
            )
            for i, problem in enumerate(islice(problems(self.draw, seed, test=test), count))
        ]
