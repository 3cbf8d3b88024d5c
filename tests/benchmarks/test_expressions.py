r"""Expressions in LaTeX: what counts as the same answer, and what is read out of a reply."""

from __future__ import annotations

import pytest

from lrm.benchmarks.grading.expressions import (
    extract_expression,
    first_expression,
    grade_expression,
    normalized,
)
from lrm.records.question import Question
from lrm.records.reply import Completion


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"\dfrac{1}{2}", "0.5"),
        (r"\frac12", "1/2"),
        (r"\frac{\sqrt2}{2}", r"\frac{\sqrt{2}}{2}"),
        (r"90^\circ", "90"),
        (r"\$18.90", "18.9"),
        (r"10\%", "10"),
        ("11,111,111,100", "11111111100"),
        (r"5 \text{ cm}^2", "5"),
        (r"\text{Evelyn}", "evelyn"),
        (r"x = 7", "7"),
        (r"-\frac{3}{4}", "-0.75"),
        (r"2 - 2i.", "2-2i"),
    ],
)
def test_the_same_answer(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "1/3"),
        (r"(3,4)", r"(4,3)"),
        (r"2\sqrt{2}", r"\sqrt{2}"),
        ("x^2", "x^3"),
        (r"\frac{a}{b}", r"\frac{b}{a}"),
        ("10", "100"),
        (r"\text{(A)}", r"\text{(B)}"),
    ],
)
def test_another_answer(one: str, other: str) -> None:
    assert normalized(one) != normalized(other)


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        (r"So \boxed{\frac{1}{2}}.", r"\frac{1}{2}", r"\frac{1}{2}"),
        (r"The answer is $x = \sqrt{2}$ cm.", r"\sqrt{2}", r"\sqrt{2}"),
        ("Answer: Evelyn.", "Evelyn", "Evelyn"),
        (r"First $3$, then \(4\pi\).", None, r"4\pi"),
        ("It is 12.", None, "12"),
        ("", None, None),
    ],
)
def test_what_is_read(text: str, strict: str | None, lenient: str | None) -> None:
    extracted = extract_expression(text)
    assert (extracted.strict, extracted.lenient) == (strict, lenient)
    assert extract_expression(text, finished=False).lenient == strict


def test_it_is_graded() -> None:
    question = Question("1", "p", (r"\frac{\sqrt{2}}{2}",))
    for text, score in ((r"\boxed{\dfrac{\sqrt2}2}", 1), (r"\boxed{\sqrt{2}}", 0), ("", 0)):
        reply = Completion((), text, (), 0, 0, True, "stop", False)
        assert grade_expression(question, reply).score == score
    text = r"Say $\sqrt{2}$, so $y = \frac{\sqrt2}{2}$."
    assert first_expression(text, question.gold) == len(text) - 1
    assert first_expression("nothing", question.gold) is None
