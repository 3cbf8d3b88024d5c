"""MATH-500, GPQA-diamond and AIME 2025, on invented rows in their format."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrm.benchmarks.aime import AIME_2025
from lrm.benchmarks.published_rows import GPQA_DIAMOND, MATH_500
from lrm.benchmarks.source import DataRow
from lrm.errors import BadInput
from lrm.records.reply import Completion
from tests.support import small_data


@pytest.fixture(autouse=True)
def _small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_data.write(tmp_path)
    monkeypatch.setenv("LRM_DATA", str(tmp_path))


def reply(text: str) -> Completion:
    return Completion((), text, (), 0, 0, True, "stop", False)


def test_math_500() -> None:
    first, second = MATH_500.load()
    assert (first.group, second.gold) == ("Algebra", ("1001",))
    assert first.message.endswith(r"put your final answer within \boxed{}.")
    assert MATH_500.grade(first, reply(r"\boxed{\dfrac{\sqrt2}{2}}")).score == 1
    assert MATH_500.grade(second, reply("The answer is 1,001.")).score == 1


def test_gpqa_puts_the_right_answer_anywhere_but_always_there() -> None:
    questions = GPQA_DIAMOND.load()
    assert questions == GPQA_DIAMOND.load()
    for number, question in enumerate(questions, 1):
        letter = question.gold[0]
        assert f"{letter} number {number}\n" in question.message
        assert GPQA_DIAMOND.grade(question, reply(f"The answer is {letter}.")).score == 1
        assert GPQA_DIAMOND.grade(question, reply(f"It is number {number}.")).score == 1
        assert GPQA_DIAMOND.first_said(question, f"So {letter}.") is not None
    row = small_data.ROWS[small_data.GPQA][0]
    golds = [
        GPQA_DIAMOND.question(DataRow({**row, "Record ID": f"r{i}"}, i, "here"), "{choices}").gold
        for i in range(200)
    ]
    assert all(25 < golds.count((f"({letter})",)) < 75 for letter in "ABCD")


def test_aime_2025_is_asked_as_aime_2024() -> None:
    first, second = AIME_2025.load()
    assert (first.id, first.gold, second.gold) == ("0", ("37",), ("7",))
    assert first.prompt == "Find $6^{2}+1$.\n<think>\n"


def test_without_the_file_or_access_the_remedy_is_said(tmp_path: Path) -> None:
    (tmp_path / small_data.GPQA).unlink()
    with pytest.raises(BadInput, match=r"gpqa_diamond.jsonl .*unset it to go online"):
        GPQA_DIAMOND.load()
