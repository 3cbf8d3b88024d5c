"""A benchmark that a test makes up."""

from __future__ import annotations

from collections.abc import Mapping

from lrm.contracts.benchmark import Benchmark
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion


class Graded:
    """Grades every reply the same, or by its text where that is named."""

    name, version, knowledge, open_book_of = "made-up", 1, False, ""

    def __init__(self, grade: Grade, by_text: Mapping[str, Grade] | None = None) -> None:
        self._grade, self._by_text = grade, by_text or {}

    def load(self, limit: int | None = None) -> list[Question]:
        return []

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        return self._by_text.get(completion.text, self._grade)

    def first_said(self, question: Question, text: str) -> int | None:
        return None


class Counting:
    """Another benchmark, and how often it graded."""

    def __init__(self, counted: Benchmark) -> None:
        self._counted = counted
        self.name, self.version = counted.name, counted.version
        self.knowledge, self.open_book_of = counted.knowledge, counted.open_book_of
        self.graded = 0

    def load(self, limit: int | None = None) -> list[Question]:
        return self._counted.load(limit)

    def practice(self, count: int, seed: int) -> list[Question]:
        return self._counted.practice(count, seed)

    def grade(self, question: Question, completion: Completion) -> Grade:
        self.graded += 1
        return self._counted.grade(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        return self._counted.first_said(question, text)
