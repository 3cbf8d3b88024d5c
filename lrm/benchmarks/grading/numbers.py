r"""Numbers: integers, decimals, fractions and percentages, compared by their value.

"0.5", "1/2", ".50", "\frac{1}{2}" and "50%" are one number. See
`lrm.benchmarks.grading.extraction` for the two rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

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

_DIGITS = r"(?:[0-9]{1,60}(?:\.[0-9]{1,60})?|\.[0-9]{1,60})"
_NUMBER = re.compile(
    rf"(?<![\w./^])(?P<above>[-+]?{_DIGITS})(?:[eE](?P<power>[-+]?[0-9]{{1,2}}))?"
    rf"(?:\s*/\s*(?P<below>{_DIGITS}))?(?P<percent>\s*%)?(?![\w^]|[./][0-9])"
)
_CLAUSE_END = re.compile(r"[.;](?=\s|$)|\b(?:because|since|where)\b", re.IGNORECASE)
_PERCENT = re.compile(r"\\?%|\b(?:percent|per cent)\b")


def value_of(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else; None of any other."""
    match = _NUMBER.fullmatch(_flat(text).strip())
    return _value(match) if match else None


def extract_number(text: str, finished: bool = True) -> ExtractedAnswer:
    """The number answered, as a fraction in lowest terms ("-3/4", "12").

    A box decides alone: if it holds no single number, none is answered. The lenient rule takes the
    last number mentioned, unless a cap cut the reply (`finished` is false).
    """
    # Strict: the box, else the clause behind the last cue that holds a number.
    box = last_box(text)
    if box is not None:
        values = set(_numbers(box.rpartition("=")[2]))
        return by_both_rules(values.pop() if len(values) == 1 else None)
    for statement in statements(text, ANSWER_CUE):
        clause = _CLAUSE_END.split(_flat(statement), maxsplit=1)[0]
        if numbers := _numbers(clause.rpartition("=")[2]) or _numbers(clause):
            return by_both_rules(numbers[-1])

    # Lenient: the last number of a whole reply.
    numbers = _numbers(text) if finished else []
    return by_lenient_rule(numbers[-1] if numbers else None)


def grade_number(question: Question, completion: Completion) -> Grade:
    """1 if the number has the value of a gold. A box without a number is a wrong answer, not a
    missing one."""
    text = graded_text(completion)
    golds = {str(value_of(gold)) for gold in question.gold}
    extracted = extract_number(text, completion.stop == "stop")
    return grade_extracted(extracted, lambda answer: answer in golds, malformed=last_box(text))


def first_number(text: str, golds: Iterable[str]) -> int | None:
    """The end, in characters, of the first number with the value of a gold, or None. It may be
    there by chance, as a step or a dropped guess."""
    values = {value_of(gold) for gold in golds}
    return earliest(
        next((m.end() for m in _NUMBER.finditer(text) if _value(m) == value), None)
        for value in values
    )


def _flat(text: str) -> str:
    return without_latex(_PERCENT.sub("%", text))


def _numbers(text: str) -> list[str]:
    values = [_value(match) for match in _NUMBER.finditer(_flat(text))]
    return [str(value) for value in values if value is not None]


def _value(match: re.Match[str]) -> Fraction | None:
    below = Fraction(match["below"] or 1)
    if not below:
        return None
    value = Fraction(match["above"]) / below * Fraction(10) ** int(match["power"] or 0)
    return value / 100 if match["percent"] else value
