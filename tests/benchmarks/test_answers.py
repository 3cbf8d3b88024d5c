"""From text to answer: tables of what replies look like, and what must hold for any text."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm.benchmarks.grading import integers, labels, letters, passages, short, squad
from lrm.benchmarks.grading.extraction import ExtractedAnswer
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion, Stop

OPTIONS = {"(A)": "5pm to 6pm", "(B)": "7am to 11am", "(C)": "1pm to 2pm", "(D)": "2pm to 5pm"}
CLAIM = "Harry is a queen bee."


def reply(text: str, stop: Stop = "stop") -> Completion:
    return Completion((), text, (), 0, 0, "</think>" in text, stop, False)


@pytest.mark.parametrize(
    ("text", "graded"),
    [
        ("so 4</think>\n\n5", "\n\n5"),
        ("a</think>b</think>c", "c"),
        ("a</think>The answer is 5.</think>\n", "The answer is 5."),
        ("a</think>\n", ""),
        ("The answer is 5.", "The answer is 5."),
        ("", ""),
    ],
)
def test_what_follows_the_thinking(text: str, graded: str) -> None:
    assert passages.after_thinking(text) == graded


def test_of_a_cut_reply_only_the_last_words_are_read() -> None:
    text = "The answer is 5. " + "But wait. " * 400
    assert passages.graded_text(reply(text)) == text
    assert "5" not in passages.graded_text(reply(text, "length"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{5}", "5"),
        (r"\boxed{5} or rather \boxed{ 6 }", "6"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed {\text{(A)}}", r"\text{(A)}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{7} and \boxed{8", "7"),
        (r"\boxed{7} and \boxed{}", "7"),
        (r"{ \boxed{7}", "7"),
        (r"} \boxed{7}", "7"),
        (r"\fbox{7}", "7"),
        (r"$\boxed 5$", "5"),
        (r"\boxed{8", None),
        ("boxed{8}", None),
        ("", None),
    ],
)
def test_boxed(text: str, found: str | None) -> None:
    assert passages.last_box(text) == found


def both(answer: str | None) -> ExtractedAnswer:
    return ExtractedAnswer(answer, answer)


def lenient(answer: str) -> ExtractedAnswer:
    return ExtractedAnswer(None, answer)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{033}", both("33")),
        (r"\boxed{000}", both("0")),
        (r"\boxed{25^\circ}", both("25")),
        (r"\boxed{25^{\circ}}", both("25")),
        (r"\boxed{\text{33 minutes}}", both("33")),
        (r"\boxed{\textbf{(33)}}", both("33")),
        (r"\boxed{\text{The answer is } 33}", both("33")),
        (r"\boxed{m+n = 33}", both("33")),
        (r"\boxed{x_{1} = 33}", both("33")),
        (r"\boxed{1,000}", both("1000")),
        (r"\boxed{1{,}000}", both("1000")),
        (r"\boxed{1\,000}", both("1000")),
        (r"\boxed{$33$}", both("33")),
        (r"\boxed{-33}", both("-33")),
        (r"\boxed{33.0}", both("33")),
        (r"\boxed{\underline{33}}", both("33")),
        (r"\boxed{33 \text{ or } 033}", both("33")),
        (r"\boxed{\frac{25}{8}}", both(None)),
        (r"\boxed{3\sqrt{5}}", both(None)),
        (r"\boxed{33 \text{ or } 34}", both(None)),
        (r"\boxed{9^{9^{9^{9}}}}", both(None)),
        (r"\boxed{3.5} so 7", both(None)),
        (r"\boxed{33}, a check gives 34", both("33")),
        ("**Answer:** 33", both("33")),
        ("**Final Answer**\n\n33", both("33")),
        ("The answer is 33, as 25 + 8 = 33. There were 4 cases.", both("33")),
        ("The answer is $25 + 8 = 33$.", both("33")),
        ("The answer is 33 (or 12 in base 31).", both("33")),
        ("The answer is 12. Wait, the answer is 33.", both("33")),
        ("The answer is 33. Maybe the answer is 12.", both("33")),
        ("The answer should be 33.", both("33")),
        (r"The answer is \(33\), where \(m=10\) and \(n=23\).", both("33")),
        (r"The answer is \[33\] where $m = 10$.", both("33")),
        (r"The answer is $\left(33\right)$", both("33")),
        (r"The answer is \( \mathbf{33} \) (see step 2).", both("33")),
        ("The answer is 33, where n runs to 12.", both("33")),
        ("The answer is clear. We get 33", lenient("33")),
        ("First 12, then 33.", lenient("33")),
        ("It has 33 parts, at 3.5 each, 1/2 of 10^{6} or 2^5", lenient("33")),
        ("The answer is many.", both(None)),
        ("", both(None)),
    ],
)
def test_integer(text: str, found: ExtractedAnswer) -> None:
    assert integers.extract_integer(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{\text{(A)}}", both("(A)")),
        (r"\boxed{\textbf{(B) } 5pm}", both("(B)")),
        (r"\boxed{D}", both("(D)")),
        (r"\boxed{\text{Option C}}", both("(C)")),
        ("**Answer:** (C)", both("(C)")),
        ("**Answer: (C) 1pm to 2pm**", both("(C)")),
        ("**Answer:**\n(C) 1pm to 2pm", both("(C)")),
        ("Answer: **D**", both("(D)")),
        ("The answer is A.", both("(A)")),
        ("The answer is A because it fits.", both("(A)")),
        ("The answer is a time in A major, option (B)", both("(B)")),
        ("The answer is A time", both(None)),
        ("The answer is (A). No: the correct answer is (B). (C) and (D) are not.", both("(B)")),
        ("The correct answer is A\n\nBut your answer was B, which is wrong", both("(A)")),
        ("The answer is not (A) but (B).", both("(B)")),
        ("The correct option is **(B) 7am to 11am**.", both("(B)")),
        ("**Possible time**: 5pm.\n**Index:** A", both("(A)")),
        ("```plaintext\nThe correct answer is (B).\n```", both("(B)")),
        ("(D) 2pm to 5pm", both("(D)")),
        ("D.", both("(D)")),
        # Several options at once declare none; an option withdrawn at once is none either.
        ("The answer is (A) or (B).", both(None)),
        ("The answer is (A) 5pm to 6pm or (B) 7am to 11am.", both(None)),
        ("The answer is both (A) and (B).", both(None)),
        ("(A) is taken, (B) too. The answer is none of the above.", both(None)),
        ("The answer is (B). I think the answer is (A), but he was out.", both("(B)")),
        ("The answer is (B). Perhaps the answer is (A).", both("(B)")),
        # Lenient: letters in passing, and an option's own text.
        ("(A) is taken, (B) is closed, so it is (D).", lenient("(D)")),
        ("This makes option A right", lenient("(A)")),
        ("so **B**", lenient("(B)")),
        ("It works.\nB", lenient("(B)")),
        (r"(D) is taken.\n\boxed{1\text{pm} \text{ to } 2\text{pm}}", lenient("(C)")),
        ("(D) is taken.\n\nHe could have gone between **1 pm and 2 pm**.", lenient("(C)")),
        ("He was free from 7 a.m. until 11 a.m. only.", lenient("(B)")),
        ("A person could have gone there", both(None)),
        ("(E)", both(None)),
        ("", both(None)),
    ],
)
def test_letter(text: str, found: ExtractedAnswer) -> None:
    assert letters.extract_letter(text, options=OPTIONS) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{\text{True}}", both("True")),
        (r"\boxed{Unknown}", both("Uncertain")),
        (r"\boxed{The conclusion is false.}", both("False")),
        ("**Answer:** The conclusion is **uncertain**.", both("Uncertain")),
        ("**Final Answer:** The conclusion is **false**.", both("False")),
        ("Answer: False.\n\nPremise 1 is true.", both("False")),
        ("The conclusion is **false**. Premise 1 is true.", both("False")),
        ("**Conclusion:** Uncertain", both("Uncertain")),
        ("The conclusion that Tom purrs is true, since he is no dog.", both("True")),
        ("The conclusion that it is true that he left is false.", both("False")),
        ('The conclusion that "Space sucks." is **True** here. Premise 2 is false.', both("True")),
        ("The conclusion is false because the premise is true.", both("False")),
        (
            "The conclusion is true.\n\nIf he were a cat, the conclusion would be false.",
            both("True"),
        ),
        ("The first premise is true and so the claim is false", both("False")),
        ("The conclusion is not true.", both("False")),
        ("The conclusion isn't necessarily true or false.", both("Uncertain")),
        ("It cannot be true.", lenient("False")),
        ("It isn't true.", lenient("False")),
        ("It is not **necessarily** true.", lenient("Uncertain")),
        ("It is neither true nor false.", lenient("Uncertain")),
        ("Is it true, false, or uncertain? It is true.", lenient("True")),
        ("Is it true, false, or uncertain?", both(None)),
        # Lenient: the conclusion restated, denied, or judged in other words.
        ("Bees are many.\n\n**Conclusion:** Harry is a queen bee.", lenient("True")),
        ("Therefore, Harry is a queen bee.", lenient("True")),
        ("Based on the premises, Harry is a queen bee.", lenient("True")),
        ("So it is not shown that Harry is a queen bee.", both(None)),
        ("**Conclusion:** Harry is not necessarily a queen bee.", lenient("Uncertain")),
        ("The conclusion is not supported by the premises.", lenient("Uncertain")),
        ("The conclusion is inconclusive.", both("Uncertain")),
        ("**Conclusion:** Harry is not a queen bee.", lenient("False")),
        ("**Conclusion:** Harry is a bee.", both(None)),
        ("The conclusion logically follows from the premises.", lenient("True")),
        ("The conclusion does not follow from the premises.", lenient("Uncertain")),
        ("The conclusion contradicts premise 3.", lenient("False")),
        ("It cannot be determined whether he is a queen.", lenient("Uncertain")),
        ("It is not false.", both(None)),
        ("It is truly falsely stated.", both(None)),
        ("", both(None)),
    ],
)
def test_label(text: str, found: ExtractedAnswer) -> None:
    assert labels.extract_label(text, claim=CLAIM) == found


@pytest.mark.parametrize(
    ("question", "text", "found"),
    [
        ("Who?", r"\boxed{\text{Apple Corps}}", both("Apple Corps")),
        ("Who?", "**Answer:** Apple Corps.", both("Apple Corps")),
        ("Who?", "**Final Answer**\nApple Corps", both("Apple Corps")),
        ("Who?", "Answer: Apple Corps\n**Why this answer:** It is big.", both("Apple Corps")),
        ("Who?", "Apple Corps", both("Apple Corps")),
        ("Who?", "Apple Corps\n```\n", both("Apple Corps")),
        (
            "Who?",
            "It is known. The answer is **Apple Corps**, a firm.",
            ExtractedAnswer("Apple Corps, a firm", "Apple Corps"),
        ),
        (
            "Who?",
            "Let me think.\n\nThe firm is **Apple Corps**.",
            ExtractedAnswer("Let me think.\n\nThe firm is Apple Corps", "Apple Corps"),
        ),
        (
            "Who?",
            "The firm that owned the label then was Apple Corps, which is closed.",
            ExtractedAnswer(
                "The firm that owned the label then was Apple Corps, which is closed",
                "Apple Corps",
            ),
        ),
        (
            "When was it built?",
            "The palace was built in the 15th century in Barcelona.",
            ExtractedAnswer(
                "The palace was built in the 15th century in Barcelona", "15th century"
            ),
        ),
        (
            "How many are there?",
            "There are 140 miles of them.",
            ExtractedAnswer("There are 140 miles of them", "140 miles"),
        ),
        (
            "When did they open?",
            "One opened in 1981. Another opened in 1986.",
            ExtractedAnswer(
                "One opened in 1981. Another opened in 1986",
                "One opened in 1981. Another opened in 1986",
            ),
        ),
        (
            "How long?",
            'It is **four years**.\n```json\n{"years": 4}\n```',
            ExtractedAnswer("It is four years", "four years"),
        ),
        ("Who?", "I am sorry, I cannot answer that question.", both(None)),
        ("Who?", "**Answer:** It cannot be determined from this.", both(None)),
        ("Who?", "The limit is not publicly disclosed.", both(None)),
        ("Who?", " \n** **\n", both(None)),
        ("Who?", "", both(None)),
    ],
)
def test_short(question: str, text: str, found: ExtractedAnswer) -> None:
    assert short.extract_short(text, question) == found


def test_what_a_cap_cut_is_read_by_what_it_declares() -> None:
    assert integers.extract_integer("so 12, then 33", finished=False) == both(None)
    assert integers.extract_integer("the answer is 33. Then 4", finished=False) == both("33")
    assert letters.extract_letter("(B) fits best", finished=False, options=OPTIONS) == both(None)
    assert labels.extract_label("premise 2 is true", finished=False) == both(None)
    assert short.extract_short("It is Rome.\nIt is Rome.\nIt is", finished=False) == lenient(
        "It is Rome"
    )


@pytest.mark.parametrize(
    ("answer", "golds", "em", "f1"),
    [
        ("the Apple Corps!", ["Apple Corps"], 1, 1),
        ("Apple", ["Apple Corps"], 0, 2 / 3),
        ("Apple Apple", ["Apple Corps"], 0, 1 / 2),
        ("EAST GERMANY", ["GDR", "East Germany"], 1, 1),
        ("the", ["a"], 1, 1),
        ("the", ["x"], 0, 0),
        ("x", [], 0, 0),
    ],
)
def test_metrics(answer: str, golds: list[str], em: float, f1: float) -> None:
    assert squad.exact_match(answer, golds) == em
    assert squad.f1(answer, golds) == pytest.approx(f1)


PIECES = st.sampled_from(
    [r"\boxed{", "}", "{", "\\", "answer is ", "Answer:", "\n", " ", "not ", "true", "False", ", ",
     "or ", "(A)", "B", "33", "-", ",000", r"\frac{1}{2}", "^", "_{", "**", "conclusion is ",
     "```", "5pm to 6pm", ". ", "maybe ", ", but", "Harry is a queen bee", "1981", "cannot be ",
     "</think>", "<think>"]
)  # fmt: skip
TEXTS = st.text() | st.lists(PIECES).map("".join)
WORDS = st.text(string.ascii_letters + string.digits, min_size=1)


@given(TEXTS, st.booleans())
def test_any_text_gets_an_answer_of_the_right_form_or_none(text: str, finished: bool) -> None:
    integer = integers.extract_integer(text, finished)
    for number in (integer.strict, integer.lenient):
        assert number is None or str(int(number)) == number or number == "-0"
    letter = letters.extract_letter(text, finished, OPTIONS)
    assert {letter.strict, letter.lenient} <= {None, *OPTIONS}
    label = labels.extract_label(text, finished, CLAIM)
    assert {label.strict, label.lenient} <= {None, "True", "False", "Uncertain"}
    for question in ("When?", "How many?", "Who?"):
        found = short.extract_short(text, question, finished)
        for said in (found.strict, found.lenient):
            assert said is None or said.strip()
    for reading in (integer, letter, label):
        assert reading.strict in (None, reading.lenient)


@given(TEXTS)
def test_what_is_boxed_last_is_found(before: str) -> None:
    assert integers.extract_integer(before + r" \boxed{033}") == both("33")
    assert letters.extract_letter(before + r" \boxed{(C)}") == both("(C)")
    assert labels.extract_label(before + r" \boxed{Unknown}") == both("Uncertain")
    assert short.extract_short(before + r" \boxed{Ann Example}") == both("Ann Example")


@given(st.text(), st.lists(st.text(), max_size=4))
def test_f1_is_never_below_exact_match(answer: str, golds: list[str]) -> None:
    assert 0 <= squad.exact_match(answer, golds) <= squad.f1(answer, golds) <= 1


@given(st.lists(WORDS, min_size=1), st.lists(st.text(), max_size=3))
def test_an_alias_always_scores(words: list[str], others: list[str]) -> None:
    alias = " ".join(words)
    question = Question("q", "p", (*others, alias))
    grade = short.grade_short(question, reply(r"</think>\boxed{" + alias + "}"))
    assert (grade.score, grade.also["f1"]) == (1, 1)


@given(st.text(), st.sampled_from([str.upper, str.lower, str.swapcase, str.title]))
def test_case_never_matters(text: str, change: Callable[[str], str]) -> None:
    assert squad.exact_match(change(text), [text]) == 1


@given(st.lists(WORDS | st.sampled_from(["a", "The", "an"])), st.data())
def test_articles_and_spacing_never_matter(words: list[str], data: st.DataObject) -> None:
    spread = ""
    for word in words:
        spread += data.draw(st.sampled_from(["", "the ", " A\t", "\n an "])) + word + " \u2003"
    assert squad.exact_match(spread, [" ".join(words)]) == 1


@pytest.mark.parametrize(
    ("grade", "gold", "right", "wrong", "says"),
    [
        (integers.grade_integer, "033", r"\boxed{33}", r"\boxed{\pi}", r"\pi"),
        (letters.grade_letter, "B", "Answer: (B)", "Answer: (C)", "(C)"),
        (labels.grade_label, "Unknown", "Answer: Uncertain", "Answer: False", "False"),
        (short.grade_short, "Ann", "Answer: the Ann", "Answer: Bob", "Bob"),
    ],
)
def test_grades(
    grade: Callable[[Question, Completion], Grade], gold: str, right: str, wrong: str, says: str
) -> None:
    question = Question("q", "p", (gold,))
    for stop in ("stop", "length"):
        assert grade(question, reply("so</think>" + right, stop)).score == 1
        assert grade(question, reply("so</think>" + wrong, stop)).score == 0
        assert grade(question, reply("so</think>" + wrong, stop)).answer == says
    empty = grade(question, reply("so</think>"))
    assert (empty.answer, empty.score) == (None, 0)
    assert {mark.answer for mark in empty.marks.values()} == {None}
    assert set(empty.marks) == {"strict", "lenient"}
