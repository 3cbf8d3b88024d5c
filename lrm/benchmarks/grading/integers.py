"""Integers: the number that a reply to a mathematical problem answers, and where a gold is said.

See `lrm.benchmarks.grading.extraction` for the two rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lrm.benchmarks.grading.extraction import (
    ANSWER_CUE,
    ExtractedAnswer,
    by_both_rules,
    by_lenient_rule,
    grade_extracted,
)
from lrm.benchmarks.grading.passages import (
    earliest,
    graded_text,
    last_box,
    statements,
    without_latex,
)
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

_INTEGER = re.compile(r"(?<![\w./^])-?[0-9]+(?![\w/^]|\.[0-9])")
_CLAUSE_END = re.compile(
    r"[.;](?=\s|$)|(?<=[^\s(])\s*\(|\b(?:because|since|where)\b", re.IGNORECASE
)


def extract_integer(text: str, finished: bool = True) -> ExtractedAnswer:
    """The integer answered, without leading zeros or thousands separators ("033" is "33").

    A box decides alone: if it holds no single integer, none is answered. The lenient rule takes the
    last integer mentioned, unless a cap cut the reply (`finished` is false).
    """
    # Strict: the box, else the clause behind the last cue that holds a number.
    box = last_box(text)
    if box is not None:
        value = without_latex(box).rpartition("=")[2]
        values = {canonical(number) for number in _INTEGER.findall(value)}
        return by_both_rules(values.pop() if len(values) == 1 and "\\" not in value else None)
    for statement in statements(text, ANSWER_CUE):
        # What follows the clause gives reasons, and their numbers are not the answer.
        # LaTeX goes first: its "\\(" opens a formula, and no remark in brackets.
        clause = _CLAUSE_END.split(without_latex(statement), maxsplit=1)[0]
        if numbers := _INTEGER.findall(clause):
            return by_both_rules(canonical(numbers[-1]))

    # Lenient: the last number of a whole reply.
    numbers = _INTEGER.findall(without_latex(text)) if finished else []
    return by_lenient_rule(canonical(numbers[-1]) if numbers else None)


def grade_integer(question: Question, completion: Completion) -> Grade:
    """1 if the integer equals the gold, whatever its zeros. A box without an integer is a wrong
    answer, not a missing one."""
    text = graded_text(completion)
    golds = [canonical(gold) for gold in question.gold]
    extracted = extract_integer(text, completion.stop == "stop")
    return grade_extracted(extracted, lambda answer: answer in golds, malformed=last_box(text))


def first_integer(text: str, golds: Iterable[str]) -> int | None:
    """The end of the first gold that is a number of its own, in characters, or None: "33", but not
    in "331", "33/4", "1,033" or "-33". It may be there by chance, as a step or a dropped guess."""
    return earliest(_end_of(text, gold) for gold in golds)


def _end_of(text: str, gold: str) -> int | None:
    number = re.escape(canonical(gold))
    match = re.search(rf"(?<![\w./^-])(?<![0-9],)0*{number}(?![\w/^]|\.[0-9]|,[0-9]{{3}})", text)
    return match.end() if match else None


def canonical(number: str) -> str:
    """A decimal integer without leading zeros. It stays text, since Python refuses to parse digits
    by the thousand, and a reply may hold that many."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    return sign + (digits.lstrip("0") or "0")
