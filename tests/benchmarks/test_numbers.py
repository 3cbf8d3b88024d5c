"""Numbers in replies, compared by their value."""

from __future__ import annotations

import pytest

from lrm.benchmarks.grading.numbers import extract_number, first_number, grade_number
from lrm.records.question import Question
from lrm.records.reply import Completion


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        (r"\boxed{0.50}", "1/2", "1/2"),
        (r"\boxed{\frac{1}{2}}", "1/2", "1/2"),
        (r"\boxed{\dfrac{-3}{4}}", "-3/4", "-3/4"),
        (r"\boxed{50\%}", "1/2", "1/2"),
        (r"\boxed{x = 1,234.5}", "2469/2", "2469/2"),
        (r"\boxed{1 \text{ or } 2}", None, None),
        (r"\boxed{\pi}", None, None),
        ("The answer is -12.", "-12", "-12"),
        ("Answer: 3/4 because 2 of 8 remain", "3/4", "3/4"),
        ("The answer is 1.5e3", "1500", "1500"),
        ("The answer is 25 percent.", "1/4", "1/4"),
        ("The answer is x = 0.75.", "3/4", "3/4"),
        ("It is 3, and then 4.5.", None, "9/2"),
        ("2^10 and v1.2.3 are none", None, None),
        ("1/0", None, None),
        ("", None, None),
    ],
)
def test_what_is_read(text: str, strict: str | None, lenient: str | None) -> None:
    extracted = extract_number(text)
    assert (extracted.strict, extracted.lenient) == (strict, lenient)


def test_a_cut_reply_answers_only_what_it_declares() -> None:
    assert extract_number("So 3 and 4", finished=False).lenient is None
    assert extract_number("The answer is 3 and", finished=False).lenient == "3"


@pytest.mark.parametrize("gold", ["0.5", ".5", "1/2", "50%", "5e-1", "\\frac{1}{2}"])
def test_a_gold_may_be_written_in_any_way(gold: str) -> None:
    question = Question("1", "p", (gold,))
    for text, score in (("Answer: 0.5", 1), ("Answer: 0.51", 0), (r"\boxed{no}", 0)):
        reply = Completion((), text, (), 0, 0, True, "stop", False)
        grade = grade_number(question, reply)
        assert grade.score == score
        assert grade.answer is not None


def test_where_it_is_first_said() -> None:
    text = "Say 12, no: 1/2, that is 0.5."
    assert first_number(text, ["0.5"]) == text.index("1/2") + 3
    assert first_number(text, ["7"]) is None
