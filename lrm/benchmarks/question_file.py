"""A user's own questions: a JSONL file, an object a line.

    {"question": "What is 7 * 8?", "answer": 56, "kind": "integer"}
    {"question": "Which is a metal?", "answer": "B", "kind": "choice", "choices": ["tar", "tin"]}
    {"question": "Who wrote Emma?", "answer": ["Jane Austen", "Austen"], "kind": "short"}

`kind` is one of `lrm.benchmarks.answer_kinds.KINDS`. A row may also have an `id` (else it is the
row's number), a `group` (a stratum whose accuracy is logged apart) and a `template`, which holds
"{question}" and, for a choice, "{choices}".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from lrm.benchmarks.answer_kinds import CHOICES, KINDS, QUESTION, AnswerKind, listed
from lrm.benchmarks.load import by_id, read_rows
from lrm.benchmarks.source import DataRow
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.records.question import Grade, Question
from lrm.records.reply import THINK_OPEN, Completion

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
"""Names of files that become names of metrics."""

_HELD = re.compile(f"{re.escape(QUESTION)}|{re.escape(CHOICES)}")

FIELDS = ("question", "answer", "kind", "choices", "id", "group", "template")


@dataclass(frozen=True, slots=True, eq=False)
class QuestionFile:
    """Contract: `lrm.contracts.benchmark.Benchmark`. No practice questions; `version` is taken from
    the file's content, so that results of another content are never mixed with these.

    How soon a correct answer appears is not looked for: stored runs have the file no longer.
    """

    name: str
    version: int
    rows: Mapping[str, tuple[Question, AnswerKind]]
    knowledge: ClassVar[bool] = False
    open_book_of: ClassVar[str] = ""
    calibrates: ClassVar[bool] = False

    def load(self, limit: int | None = None) -> list[Question]:
        return [question for question, _ in self.rows.values()][:limit]

    def practice(self, count: int, seed: int) -> list[Question]:
        return []

    def grade(self, question: Question, completion: Completion) -> Grade:
        _, kind = self.rows[question.id]
        return kind.grade(question, completion)

    def first_said(self, question: Question, text: str) -> int | None:
        _, kind = self.rows[question.id]
        return kind.first_said(question, text)


def open_file(path: str) -> QuestionFile:
    """The questions in a file, named as the file is without its ending. BadInput names file and
    line of what is wrong."""
    file = Path(path)
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _opened(file.absolute(), changed)


@cache
def _opened(path: Path, changed: int) -> QuestionFile:
    """Read again where the file has changed."""
    if not NAME.fullmatch(path.stem):
        raise BadInput(
            f"{path} cannot name a benchmark: name the file by letters, digits, _ and - alone"
        )
    rows = read_rows(path, "correct --benchmarks")
    if not rows:
        raise BadInput(f"{path} holds no questions; write one JSON object a line")
    questions = by_id(rows, _question, lambda made: made[0].id)
    digest = of_json([row.values for row in rows])
    return QuestionFile(path.stem, int(digest[:7], 16), questions)


def _question(row: DataRow) -> tuple[Question, AnswerKind]:
    for field in row.values:
        if field not in FIELDS:
            raise row.bad(f'"{field}" is no field of a question; those are {", ".join(FIELDS)}')
    name = row.text("kind")
    if name not in KINDS:
        raise row.bad(f'"kind" must be one of {", ".join(KINDS)}, got {name!r:.80}')
    kind = KINDS[name]
    if "choices" in row.values and name != "choice":
        raise row.bad(f'"choices" belong to the kind "choice", not to "{name}"')
    choices = row.texts("choices") if name == "choice" else ()
    template = row.text("template") if "template" in row.values else kind.template
    for held in (QUESTION, CHOICES) if choices else (QUESTION,):
        if held not in template:
            raise row.bad(f'"template" must hold {held}')
    if THINK_OPEN in template:
        raise row.bad(f'"template" must not open the thinking: leave out {THINK_OPEN}')
    parts = {QUESTION: row.text("question"), CHOICES: listed(choices)}
    message = _HELD.sub(lambda match: parts[match[0]], template)
    id_given = row.values.get("id", row.index)
    if not isinstance(id_given, str | int) or isinstance(id_given, bool) or id_given == "":
        raise row.bad(f'"id" must be a text or an integer, got {id_given!r:.80}')
    group = row.text("group") if "group" in row.values else ""
    gold = kind.golds(row, choices)
    return Question(str(id_given), f"{message}\n{THINK_OPEN}\n", gold, group, message), kind
