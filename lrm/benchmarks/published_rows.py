"""Benchmarks that people compare models on, as rows: where they are, which fields, which kind.

* `math-500`: 500 problems of MATH (Hendrycks et al. 2021, arXiv 2103.03874), drawn by Lightman et
  al. 2023 (arXiv 2305.20050); answers are expressions. `group` is the subject. One item:

    {"problem": "Convert the point $(0,3)$ in rectangular coordinates to polar coordinates. ...",
     "answer": "\\left( 3, \\frac{\\pi}{2} \\right)", "subject": "Precalculus", "level": 2,
     "unique_id": "test/precalculus/807.json", "solution": "..."}

* `gpqa-diamond`: 198 questions of experts (Rein et al. 2023, arXiv 2311.12022), of which the hub
  asks a login and an agreement not to publish them, so that no item stands here. Fields: Record ID,
  Question, Correct Answer, Incorrect Answer 1 to 3, High-level domain, which is the `group`. The
  four answers stand in the order of a digest of each with the record's id: always the same, and the
  right one is at no place of its own.
* AIME 2025 is beside AIME 2024 (`lrm.benchmarks.aime`).

Revisions are those that public code pins. Prompts are those of the kind of answer
(`lrm.benchmarks.answer_kinds`): the paper asks none of these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from lrm.benchmarks.answer_kinds import CHOICES, KINDS, QUESTION, listed
from lrm.benchmarks.grading.letters import LETTERS
from lrm.benchmarks.load import load_questions
from lrm.benchmarks.source import DataRow, Source
from lrm.records.question import Grade, Question
from lrm.records.reply import THINK_OPEN, Completion


@dataclass(frozen=True, slots=True)
class PublishedRows:
    """Contract: `lrm.contracts.benchmark.Benchmark`. No practice questions."""

    name: str
    source: Source
    kind: str
    question: Callable[[DataRow, str], Question]
    version: int = 1
    knowledge: bool = False
    open_book_of: ClassVar[str] = ""
    calibrates: ClassVar[bool] = False

    def load(self, limit: int | None = None) -> list[Question]:
        template = KINDS[self.kind].template
        return load_questions(self.source, lambda row: self.question(row, template), limit)

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        return KINDS[self.kind].grade(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        return KINDS[self.kind].first_said(question, text)


def _asked(name: str, message: str, gold: str, group: str) -> Question:
    return Question(name, f"{message}\n{THINK_OPEN}\n", (gold,), group, message)


def _math(row: DataRow, template: str) -> Question:
    message = template.replace(QUESTION, row.text("problem"))
    return _asked(row.text("unique_id"), message, row.text("answer"), row.text("subject"))


def _gpqa(row: DataRow, template: str) -> Question:
    name, right = row.text("Record ID"), row.text("Correct Answer").strip()
    wrong = [row.text(f"Incorrect Answer {number}").strip() for number in (1, 2, 3)]
    if right in wrong:
        raise row.bad('"Correct Answer" stands among the incorrect ones')
    texts = sorted(
        (right, *wrong), key=lambda text: hashlib.sha256(f"{name}\0{text}".encode()).hexdigest()
    )
    letter = LETTERS[texts.index(right)]
    # An option is one line, as the grader reads it.
    choices = listed([" ".join(text.split()) for text in texts])
    message = template.replace(CHOICES, choices).replace(QUESTION, row.text("Question").strip())
    return _asked(name, message, f"({letter})", row.text("High-level domain"))


MATH_500 = PublishedRows(
    "math-500",
    Source(
        file="math_500/test.jsonl",
        split="test",
        hub="HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        data_file="test.jsonl",
    ),
    "expression",
    _math,
)
GPQA_DIAMOND = PublishedRows(
    "gpqa-diamond",
    Source(
        file="gpqa/gpqa_diamond.jsonl",
        split="train",
        hub="Idavidrein/gpqa",
        revision="90b8e5be2b1d3d2dbfe016cdab47981150600c4a",
        data_file="gpqa_diamond.csv",
    ),
    "choice",
    _gpqa,
)
