r"""AIME 2024 and AIME 2025: 30 competition problems each, whose answers are integers from 0 to 999.

Source: `Maxwell-Jia/AIME_2024` on the hub, split train, revision as below (the commit that public
code pins; the offline file is equal to its bytes). One item:

    {"ID": "2024-I-4", "Problem": "Jen enters a lottery by picking $4$ distinct numbers from
     $S=\\{1,2,3,\\cdots,9,10\\}.$ ...", "Answer": 116}

AIME 2025 comes from `math-ai/aime25`, split test, revision as below (the commit that public code
pins), whose fields are id, problem and answer.

Three statements (2024-I-1, I-15, II-8) came to the hub with `\f` and `\t` of `\frac` and `\tfrac`
turned into a form feed and a tab. They are repaired here, so that these three prompts differ from
what the paper's models were shown. Answers may be numbers or strings, zero-padded or not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from lrm.benchmarks.grading.integers import first_integer, grade_integer
from lrm.benchmarks.load import load_questions
from lrm.benchmarks.source import DataRow, Source
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

SOURCE = Source(
    file="aime_2024/aime_2024_maxwell_jia.jsonl",
    split="train",
    hub="Maxwell-Jia/AIME_2024",
    revision="8d88b2876a82a080e2f172cc9b25d0d9d2cb4792",
)


def prompt(problem: str) -> str:
    """The paper's exact prompt: the bare problem, with no request for a box."""
    return f"{problem}\n<think>\n"


def message(problem: str) -> str:
    """What the user says on the chat track: the problem, and the sentence that DeepSeek's model
    card (deepseek-ai/DeepSeek-R1, "Usage Recommendations") recommends for mathematics."""
    return f"{problem}\nPlease reason step by step, and put your final answer within \\boxed{{}}."


def repaired(problem: str) -> str:
    r"""The statement with `\f` and `\t` where a control character swallowed them."""
    return re.sub(r"\\?([\f\t])(?=[a-z])", lambda m: r"\f" if m[1] == "\f" else r"\t", problem)


@dataclass(frozen=True, slots=True)
class Aime:
    """Contract: `lrm.contracts.benchmark.Benchmark`. No practice questions. `fields` are those of
    a problem's id, its statement and its answer."""

    name: str = "aime"
    source: Source = SOURCE
    fields: tuple[str, str, str] = ("ID", "Problem", "Answer")
    version: int = 3
    knowledge: ClassVar[bool] = False
    open_book_of: ClassVar[str] = ""
    calibrates: ClassVar[bool] = False

    def load(self, limit: int | None = None) -> list[Question]:
        return load_questions(self.source, self._question, limit)

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        return grade_integer(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        return first_integer(text, question.gold)

    def _question(self, row: DataRow) -> Question:
        id_field, problem_field, answer_field = self.fields
        answer = row.integer(answer_field)
        if not 0 <= answer <= 999:
            raise row.bad(f'"{answer_field}" must lie between 0 and 999, got {answer}')
        problem = repaired(row.text(problem_field))
        return Question(
            row.text(id_field), prompt(problem), (str(answer),), message=message(problem)
        )


AIME = Aime()
AIME_2025 = Aime(
    "aime-2025",
    Source(
        file="aime_2025/test.jsonl",
        split="test",
        hub="math-ai/aime25",
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
    ),
    ("id", "problem", "answer"),
    version=1,
)
