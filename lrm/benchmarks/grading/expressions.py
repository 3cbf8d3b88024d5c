r"""Expressions in LaTeX, as answers to MATH have them: compared in one normal form, or by value.

Nothing is computed: "2\sqrt{2}" and "\sqrt{8}" are two answers. That is the rule of the MATH data
set itself (Hendrycks et al. 2021, arXiv 2103.03874, "Evaluation"), with fewer surprises: spacing,
sizes of brackets, units, degrees, dollar and percent signs do not count, nor how a fraction or a
decimal is written. See `lrm.benchmarks.grading.extraction` for the two rules.
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
from lrm.benchmarks.grading.numbers import extract_number, value_of
from lrm.benchmarks.grading.passages import earliest, graded_text, last_box, statements
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_SPACING = re.compile(r"\\[,!;: ]|\\q?quad\b|~|\s+")
_BRACKETS = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|mathbf|mathrm|rm|boldsymbol)\b")
_DEGREES = re.compile(r"\^\{?\\circ\}?|\\degree\b|°")
_MONEY = re.compile(r"\\?[$%]")
_UNIT = re.compile(r"(?<=[0-9})])\\(?:text|mbox|mathrm)\{[^{}]*\}(?:\^\{?[0-9]\}?)?$")
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|operatorname)\{([^{}]*)\}")
_ARGUMENT = r"(?:([0-9])|\{((?:[^{}]|\{[^{}]*\})*)\})"
_SHORT_FRACTION = re.compile(rf"\\frac{_ARGUMENT}{_ARGUMENT}")
_SHORT_ROOT = re.compile(r"\\sqrt([0-9A-Za-z])")
_SLASH = re.compile(r"(-?[0-9]+)/([0-9]+)")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\{,\})(?=[0-9]{3}(?![0-9]))")
_NAMED = re.compile(r"^[A-Za-z](?:\([a-z]\))?=(?=.)")


def normalized(expression: str) -> str:
    """The normal form in which expressions are compared; a number's is its value as a fraction."""
    text = _UNIT.sub("", _SPACING.sub("", _BRACKETS.sub("", expression)).rstrip("."))
    text = _MONEY.sub("", _DEGREES.sub("", text))
    text = _TEXT.sub(r"\1", text.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))
    text = _SHORT_FRACTION.sub(r"\\frac{\1\2}{\3\4}", _SHORT_ROOT.sub(r"\\sqrt{\1}", text))
    text = _THOUSANDS.sub("", _NAMED.sub("", text))
    if slash := _SLASH.fullmatch(text):
        text = rf"\frac{{{slash[1]}}}{{{slash[2]}}}"
    value = value_of(text)
    return str(value) if value is not None else text.casefold()


def extract_expression(text: str, finished: bool = True) -> ExtractedAnswer:
    """The expression answered, as it is written.

    Strict: the last box, else the formula, or all that stands, behind the last cue. The lenient
    rule takes the last formula, else the last number, unless a cap cut the reply (`finished` is
    false).
    """
    box = last_box(text)
    if box is not None:
        return by_both_rules(box)
    for statement in statements(text, ANSWER_CUE):
        formulas = _formulas(statement)
        return by_both_rules(formulas[0] if formulas else statement.rstrip(". ").replace("**", ""))
    if not finished:
        return by_both_rules(None)
    formulas = _formulas(text)
    return by_lenient_rule(formulas[-1] if formulas else extract_number(text).lenient)


def grade_expression(question: Question, completion: Completion) -> Grade:
    """1 if the expression has the normal form of a gold."""
    extracted = extract_expression(graded_text(completion), completion.stop == "stop")
    golds = {normalized(gold) for gold in question.gold}
    return grade_extracted(extracted, lambda answer: normalized(answer) in golds)


def first_expression(text: str, golds: Iterable[str]) -> int | None:
    """The end, in characters, of the first formula or box that is a gold, or of the gold as it is
    written, or None."""
    known = {normalized(gold) for gold in golds}
    formulas = (m.end() for m in _MATH.finditer(text) if normalized(_inside(m)) in known)
    return earliest([next(formulas, None), *(_written(text, gold) for gold in golds)])


def _written(text: str, gold: str) -> int | None:
    match = re.search(rf"(?<![\w.\\]){re.escape(gold)}(?![\w]|\.[0-9])", text)
    return match.end() if match else None


def _formulas(text: str) -> list[str]:
    return [_inside(match) for match in _MATH.finditer(text)]


def _inside(match: re.Match[str]) -> str:
    """What is between a formula's signs; of an equation what is behind its last sign."""
    return match.group(match.lastindex or 0).rpartition("=")[2].strip()
