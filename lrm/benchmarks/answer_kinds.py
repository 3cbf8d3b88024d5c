"""The kinds of answers that rows of questions have: how they are asked for, read and graded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrm.benchmarks.grading.expressions import first_expression, grade_expression
from lrm.benchmarks.grading.integers import first_integer, grade_integer
from lrm.benchmarks.grading.labels import LABELS, first_label, grade_label
from lrm.benchmarks.grading.letters import LETTERS, first_letter, grade_letter
from lrm.benchmarks.grading.numbers import first_number, grade_number, value_of
from lrm.benchmarks.grading.short import first_words, grade_short
from lrm.benchmarks.source import DataRow
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

QUESTION, CHOICES = "{question}", "{choices}"
"""What a template holds in place of the question, and of its choices, one a line: "(A) tar"."""

BOXED = f"{QUESTION}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
"""The sentence that DeepSeek's model card recommends for mathematics (deepseek-ai/DeepSeek-R1)."""

_OPTION = re.compile(r"^\(([A-H])\) (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AnswerKind:
    """How answers of a kind are asked for, read from a row, graded, and found in a text.

    `template` is what the user says. `golds` gives the accepted answers of a row, of its `answer`
    and `choices`; it raises BadInput naming the row. `grade` and `first_said` are as in
    `lrm.contracts.benchmark.Benchmark`.
    """

    template: str
    golds: Callable[[DataRow, Sequence[str]], tuple[str, ...]]
    grade: Callable[[Question, Completion], Grade]
    first_said: Callable[[Question, str], int | None]


def options(question: Question) -> dict[str, str]:
    """The text of each choice, by its letter "(A)", read out of the message."""
    return {f"({letter})": text for letter, text in _OPTION.findall(question.message)}


def listed(choices: Sequence[str]) -> str:
    """The choices as a question shows them."""
    return "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, choices, strict=False))


def _text(row: DataRow) -> str:
    """An answer given as a text or a number, as a text."""
    answer: Any = row.values.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return repr(answer)
    return row.text("answer").strip()


def _integer(row: DataRow, choices: Sequence[str]) -> tuple[str, ...]:
    text = _text(row)
    if not re.fullmatch(r"-?[0-9]{1,1000}", text):
        raise row.bad(f'"answer" must be an integer in digits, got {text!r:.80}')
    return (text,)


def _number(row: DataRow, choices: Sequence[str]) -> tuple[str, ...]:
    text = _text(row)
    if value_of(text) is None:
        raise row.bad(f'"answer" must be a number such as 0.5, 1/2 or 50%, got {text!r:.80}')
    return (text,)


def _plain(row: DataRow, choices: Sequence[str]) -> tuple[str, ...]:
    return (_text(row),)


def _choice(row: DataRow, choices: Sequence[str]) -> tuple[str, ...]:
    if not 2 <= len(choices) <= len(LETTERS):
        raise row.bad(f'"choices" must list 2 to {len(LETTERS)} texts, got {len(choices)}')
    letters, text = LETTERS[: len(choices)], _text(row)
    named = text.removeprefix("(").removesuffix(")")
    if named in letters:
        return (f"({named})",)
    if choices.count(text) == 1:
        return (f"({letters[choices.index(text)]})",)
    raise row.bad(f'"answer" must be a letter up to {letters[-1]} or one choice, got {text!r:.80}')


def _label(row: DataRow, choices: Sequence[str]) -> tuple[str, ...]:
    value = row.values.get("answer")
    text = str(value) if isinstance(value, bool) else row.text("answer").strip()
    if text.capitalize() not in LABELS:
        raise row.bad(f'"answer" must be one of {", ".join(LABELS)}, got {text!r:.80}')
    return (LABELS[text.capitalize()],)


def _short(row: DataRow, choices: Sequence[str]) -> tuple[str, ...]:
    if not row.has_list("answer"):
        return (_text(row),)
    answers = row.texts("answer")
    if not answers:
        raise row.bad('"answer" lists none')
    return answers


KINDS: Mapping[str, AnswerKind] = {
    "integer": AnswerKind(
        BOXED, _integer, grade_integer, lambda asked, text: first_integer(text, asked.gold)
    ),
    "number": AnswerKind(
        BOXED, _number, grade_number, lambda asked, text: first_number(text, asked.gold)
    ),
    "expression": AnswerKind(
        BOXED, _plain, grade_expression, lambda asked, text: first_expression(text, asked.gold)
    ),
    "choice": AnswerKind(
        f"{QUESTION}\n{CHOICES}\nFinally give the index (the letter) of the correct answer.",
        _choice,
        lambda asked, reply: grade_letter(asked, reply, options(asked)),
        lambda asked, text: first_letter(text, asked.gold, options(asked)),
    ),
    "label": AnswerKind(
        f"{QUESTION}\nFinally answer with True, False or Uncertain.",
        _label,
        grade_label,
        lambda asked, text: first_label(text, asked.gold, ""),
    ),
    "short": AnswerKind(
        f"{QUESTION} Final answer of this question should be in as fewer number of words as "
        "possible.",
        _short,
        grade_short,
        lambda asked, text: first_words(text, asked.gold),
    ),
}
"""By the name that a row gives. The words for choices and short answers are the paper's."""
