"""Temporal Sequences of BIG-Bench Hard: 250 questions when somebody can have been somewhere.

Source: `lukaemon/bbh` on the hub, config temporal_sequences, split test, revision as below.
Suzgun et al. 2022, arXiv 2210.09261. The rows have no ids; the row number is the id. One item:

    {"input": "Today, Susan went to the coffee shop. Between what times could they have gone?\\n
      We know that:\\nSusan woke up at 7am.\\n... Options:\\n(A) 6pm to 9pm\\n(B) 7am to 11am\\n
      (C) 1pm to 2pm\\n(D) 2pm to 6pm", "target": "(A)"}
"""

from __future__ import annotations

import re

from lrm.benchmarks.grading.letters import first_letter, grade_letter
from lrm.benchmarks.load import load_questions
from lrm.benchmarks.source import DataRow, Source
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

SOURCE = Source(
    file="bbh_temporal_sequences/temporal_sequences.jsonl",
    split="test",
    hub="lukaemon/bbh",
    revision="982bb89fd79532a8ac676a61fc42eb1aeec63f99",
    config="temporal_sequences",
)
OPTION = re.compile(r"^(\([A-D]\)) (.+)$", re.MULTILINE)
LETTERS = ("(A)", "(B)", "(C)", "(D)")


def prompt(text: str) -> str:
    """The paper's exact prompt around one BIG-Bench Hard input."""
    return f"{message(text)}\n<think>\n"


def message(text: str) -> str:
    """What the user says on the chat track: the paper's words."""
    return (
        "Use the timeline provided and answer step by step. Finally give the index (the letter) "
        f"of the actual correct answer.\n{text}"
    )


class Temporal:
    """Contract: `lrm.contracts.benchmark.Benchmark`. No practice questions."""

    name = "temporal"
    version = 2
    knowledge = False
    open_book_of = ""
    calibrates = False

    def load(self, limit: int | None = None) -> list[Question]:
        return load_questions(SOURCE, _question, limit)

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        return grade_letter(question, completion, _options(question))

    def first_said(self, question: Question, text: str) -> int | None:
        return first_letter(text, question.gold, _options(question))


TEMPORAL = Temporal()


def _options(question: Question) -> dict[str, str]:
    """The text of each option, by its letter, read out of the prompt."""
    return dict(OPTION.findall(question.prompt))


def _question(row: DataRow) -> Question:
    target = row.text("target").strip()
    if target not in LETTERS:
        raise row.bad(f'"target" must be one of {", ".join(LETTERS)}, got "{target}"')
    text = row.text("input")
    return Question(str(row.index), prompt(text), (target,), message=message(text))
