"""Counting letters: how often "a" stands in a made-up word. Answers are integers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from lrm.benchmarks.grading.integers import first_integer, grade_integer
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion


class Letters:
    """Contract: `lrm.contracts.benchmark.Benchmark`."""

    name = "letters"
    version = 1
    knowledge = False
    open_book_of = ""
    calibrates = False

    def load(self, limit: int | None = None) -> list[Question]:
        return list(islice(questions("ab"), 20))[:limit]

    def practice(self, count: int, seed: int) -> list[Question]:
        return list(islice(questions("ac"), seed, seed + count))

    def grade(self, question: Question, completion: Completion) -> Grade:
        return grade_integer(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        return first_integer(text, question.gold)


LETTERS = Letters()


def questions(letters: str) -> Iterator[Question]:
    """Words of nine letters, each with both of the two."""
    for word in map("".join, product(letters, repeat=9)):
        if set(word) == set(letters):
            message = f'How often does "a" stand in {word}?'
            yield Question(word, f"{message}\n<think>\n", (str(word.count("a")),), "", message)
