"""A user's own questions: what a file may hold, how replies are graded, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.settings import parse_benchmarks
from experiments.sparsity_search import main
from lrm import registry
from lrm.benchmarks.question_file import open_file
from lrm.contracts.benchmark import Benchmark
from lrm.errors import BadInput
from lrm.records.reply import Completion
from tests.benchmarks import test_benchmarks as benchmark_suite
from tests.test_adding import shared_tests

ROWS: list[dict[str, Any]] = [
    {"question": "What is 7 * 8?", "answer": 56, "kind": "integer"},
    {"question": "Half of 25?", "answer": "12.5", "kind": "number", "group": "halves"},
    {"question": "A metal?", "answer": "B", "kind": "choice", "choices": ["tar", "tin", "oak"]},
    {"question": "All tin is a metal. Tin is a metal.", "answer": True, "kind": "label"},
    {
        "question": "Emma is by?",
        "answer": ["Jane Austen", "Austen"],
        "kind": "short",
        "id": "e",
    },
]


def written(folder: Path, *rows: dict[str, Any], name: str = "mine.jsonl") -> str:
    file = folder / name
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


def reply(text: str) -> Completion:
    return Completion((), text, (), 0, 0, True, "stop", False)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return registry.benchmark(written(tmp_path_factory.mktemp("own"), *ROWS))


CONTRACT = shared_tests(benchmark_suite, "benchmark")
del CONTRACT["test_names_and_versions"]  # no file's name is in the registry
TestTheContract = type("TestTheContract", (), CONTRACT)


def test_each_kind_is_asked_and_graded(tmp_path: Path) -> None:
    mine = open_file(written(tmp_path, *ROWS))
    integer, number, choice, _, short = mine.load()
    assert [question.id for question in mine.load()] == ["0", "1", "2", "3", "e"]
    assert (number.group, short.gold) == ("halves", ("Jane Austen", "Austen"))
    assert choice.message.startswith("A metal?\n(A) tar\n(B) tin\n(C) oak\n")
    assert integer.prompt == f"{integer.message}\n<think>\n"
    right = ["\\boxed{56}", "\\boxed{\\frac{25}{2}}", "The answer is tin.", "True", "Austen"]
    wrong = ["\\boxed{57}", "\\boxed{12}", "The answer is (A).", "Uncertain", "Scott"]
    for question, good, bad in zip(mine.load(), right, wrong, strict=True):
        assert mine.grade(question, reply(f"</think>{good}")).score == 1, question
        assert mine.grade(question, reply(f"</think>{bad}")).score == 0, question
        assert mine.grade(question, reply("</think>")).answer is None
        said = f"Hm.\nThe conclusion is {question.gold[0]}.\n{good}"
        assert mine.first_said(question, said) is not None


@pytest.mark.parametrize(
    ("answer", "gold"), [("c", None), ("C", "(C)"), ("(C)", "(C)"), ("oak", "(C)"), ("E", None)]
)
def test_a_choice_is_named_by_its_letter_or_its_text(
    tmp_path: Path, answer: str, gold: str | None
) -> None:
    file = written(tmp_path, {**ROWS[2], "answer": answer})
    if gold is None:
        with pytest.raises(BadInput, match='"answer" must be a letter up to C or one choice'):
            open_file(file)
    else:
        assert open_file(file).load()[0].gold == (gold,)


def test_a_choice_may_have_eight(tmp_path: Path) -> None:
    row = {**ROWS[2], "choices": [f"text {i}" for i in range(8)], "answer": "H"}
    benchmark = open_file(written(tmp_path, row))
    [question] = benchmark.load()
    for said, score in (("The answer is (H).", 1), ("The answer is F.", 0), ("**H**", 1)):
        assert benchmark.grade(question, reply(said)).score == score


def test_templates(tmp_path: Path) -> None:
    row = {**ROWS[2], "template": "{choices}\n{question} One letter, {please}."}
    [question] = open_file(written(tmp_path, row)).load()
    assert question.message == "(A) tar\n(B) tin\n(C) oak\nA metal? One letter, {please}."


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"kind": "nummer"},
            '"kind" must be one of integer, number, expression, choice, label, short, got',
        ),
        ({"kind": None}, '"kind" must be a non-empty string'),
        ({"template": "Well?"}, r'"template" must hold \{question\}'),
        ({"template": "{question}<think>"}, '"template" must not open the thinking'),
        ({"answer": "many"}, '"answer" must be an integer in digits'),
        ({"answer": "many", "kind": "number"}, '"answer" must be a number such as'),
        ({"answer": "maybe", "kind": "label"}, '"answer" must be one of True, False, Uncertain'),
        ({"answer": [], "kind": "short"}, '"answer" lists none'),
        ({"answer": "A", "kind": "choice"}, 'the field "choices" is missing'),
        ({"answer": "A", "kind": "choice", "choices": ["x"]}, '"choices" must list 2 to 8 texts'),
        ({"choices": ["x", "y"]}, '"choices" belong to the kind "choice", not to "integer"'),
        ({"question": ""}, '"question" must be a non-empty string'),
        ({"id": 1.5}, '"id" must be a text or an integer'),
        ({"id": "0"}, 'the question id "0" stands for the second time'),
        ({"anwser": 1}, '"anwser" is no field of a question'),
    ],
)
def test_a_bad_row_is_one_sentence_with_its_line(
    tmp_path: Path, row: dict[str, Any], words: str
) -> None:
    file = written(tmp_path, ROWS[0], {**ROWS[0], **row})
    with pytest.raises(BadInput, match=rf"mine.jsonl, line 2: {words}"):
        parse_benchmarks(file)


def test_bad_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*no.jsonl .*No such file.*--benchmarks"):
        parse_benchmarks(str(tmp_path / "no.jsonl"))
    with pytest.raises(BadInput, match="holds no questions"):
        parse_benchmarks(written(tmp_path))
    with pytest.raises(BadInput, match="rename the file"):
        parse_benchmarks(written(tmp_path, *ROWS, name="aime.jsonl"))
    with pytest.raises(BadInput, match="name the file by letters"):
        parse_benchmarks(written(tmp_path, *ROWS, name="a b.jsonl"))
    (tmp_path / "other").mkdir()
    same = written(tmp_path / "other", *ROWS)
    with pytest.raises(BadInput, match="two of the name mine"):
        parse_benchmarks(f"{written(tmp_path, *ROWS)},{same}")
    (tmp_path / "cut.jsonl").write_text('{"question": ')
    with pytest.raises(BadInput, match=r"cut.jsonl, line 1: must be one JSON object"):
        parse_benchmarks(str(tmp_path / "cut.jsonl"))


def test_another_content_is_another_version(tmp_path: Path) -> None:
    first = open_file(written(tmp_path, *ROWS))
    again = open_file(written(tmp_path, *ROWS))
    other = open_file(written(tmp_path, {**ROWS[0], "kind": "number"}))
    assert first.version == again.version != other.version


@pytest.mark.engine
def test_a_search_asks_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, *ROWS)
    flags = ["--model", "tiny-1m", "--benchmarks", f"deduction,{file}", "--questions", "5"]
    flags += ["--sparsity", "0", "--budgets", "16"]
    assert main(flags, tmp_path) == 0
    out = capfd.readouterr().out
    assert "questions: deduction 5, mine 5" in out
    report = next((tmp_path / "mlruns").rglob("report.html")).read_text()
    assert "mine" in report
    assert main(flags, tmp_path) == 0  # the same study, complete
    assert "Reused: 1 of 1 levels" in capfd.readouterr().out


def test_the_readme_shows_a_file_that_works(tmp_path: Path) -> None:
    readme = Path(__file__).parents[2] / "lrm" / "benchmarks" / "README.md"
    shown = readme.read_text().split("```jsonl\n")[1].split("```")[0]
    (tmp_path / "mine.jsonl").write_text(shown)
    integer, choice, short = open_file(str(tmp_path / "mine.jsonl")).load()
    assert (integer.gold, choice.gold, short.group) == (("56",), ("(B)",), "books")
