"""FOLIO (version 2, validation): 203 conclusions that premises prove, refute or leave open.

Source: `tasksource/folio` on the hub, split validation, revision as below: a copy, open to all, of
`yale-nlp/FOLIO`, which asks for a login and an agreement; the two validation files have the same
size. Han et al. 2022, arXiv 2209.00840. One item:

    {"premises": "When the Monkeypox virus occurs in a being, it may get Monkeypox. \\nMonkeypox
     virus can occur in certain animals.\\nHumans are mammals.\\nMammals are animals.\\n...",
     "conclusion": "There is an animal.", "label": "True", "example_id": 563, ...}

Premises may be one string, one premise a line, or a list; "Unknown" is read as "Uncertain".
"""

from __future__ import annotations

import re

from lrm.benchmarks.grading.labels import LABELS, first_label, grade_label
from lrm.benchmarks.load import load_questions
from lrm.benchmarks.source import DataRow, Source
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

SOURCE = Source(
    file="folio/folio_v2_validation.jsonl",
    split="validation",
    hub="tasksource/folio",
    revision="295b95fb4fe9be4ff3f933b73142d142cf6b2c97",
)
CONCLUSION = re.compile(r"\*{7}\nConclusion: (.*?)\n\*{7}", re.DOTALL)


def prompt(premises: str, conclusion: str) -> str:
    """The paper's exact prompt; `premises` stand one on a line. No newline before the tag."""
    return f"{message(premises, conclusion)}<think>\n"


def message(premises: str, conclusion: str) -> str:
    """What the user says on the chat track: the paper's words."""
    return (
        "Use logical deductions to determine whether the provided conclusion is true, false, or "
        "uncertain based on premise. Consider all relevant information to reach a logical "
        "conclusion.\n\n"
        f"*******\nPremise: {premises}\n*******\n\n"
        f"*******\nConclusion: {conclusion}\n*******"
    )


class Folio:
    """Contract: `lrm.contracts.benchmark.Benchmark`. No practice questions."""

    name = "folio"
    version = 2
    knowledge = False
    open_book_of = ""
    calibrates = False

    def load(self, limit: int | None = None) -> list[Question]:
        return load_questions(SOURCE, _question, limit)

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        return grade_label(question, completion, _claim(question))

    def first_said(self, question: Question, text: str) -> int | None:
        return first_label(text, question.gold, _claim(question))


FOLIO = Folio()


def _claim(question: Question) -> str:
    """The conclusion that is asked about, read out of the prompt."""
    claim = CONCLUSION.search(question.prompt)
    return claim[1] if claim else ""


def _question(row: DataRow) -> Question:
    if row.has_list("premises"):
        premises = "\n".join(row.texts("premises"))
    else:
        premises = row.text("premises")
    label = row.text("label").strip()
    if label not in LABELS:
        raise row.bad(f'"label" must be one of {", ".join(LABELS)}, got "{label}"')
    asked = premises, row.text("conclusion")
    return Question(
        str(row.integer("example_id")), prompt(*asked), (LABELS[label],), message=message(*asked)
    )
