"""A benchmark that a test makes up."""

from __future__ import annotations

from lrm.records import Completion, Grade, Question


class Graded:
    """Grades every reply the same, or by the text of a reply."""

    name, version, knowledge = "made-up", 1, False

    def __init__(self, grade: Grade, by_text: dict[str, Grade] | None = None) -> None:
        self._grade, self._by_text = grade, by_text or {}
        self.calls = 0

    def load(self, limit: int | None = None) -> list[Question]:
        return []

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        self.calls += 1
        return self._by_text.get(completion.text, self._grade)
