"""The behaviour suite of the Benchmark contract: every benchmark goes through it."""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm import registry
from lrm.contracts.benchmark import Benchmark
from lrm.records.reply import Completion, Stop
from tests.support import small_data

TWINS = ("arithmetic", "deduction", "timeline", "hops")


@pytest.fixture(params=registry.BENCHMARKS, scope="module")
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    return registry.benchmark(request.param)


@pytest.fixture(autouse=True)
def _small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_data.write(tmp_path)
    monkeypatch.setenv("LRM_DATA", str(tmp_path))


def reply(text: str, stop: Stop = "stop") -> Completion:
    return Completion((), text, (), 0, 0, "</think>" in text, stop, False)


def test_questions_are_the_same_every_time(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    assert questions
    assert questions == benchmark.load()
    assert questions[:1] == benchmark.load(limit=1)
    assert questions == benchmark.load(limit=len(questions) + 1)


def test_a_byte_order_mark_changes_no_question(benchmark: Benchmark, tmp_path: Path) -> None:
    questions = benchmark.load()
    for file in tmp_path.rglob("*.jsonl"):
        file.write_bytes(BOM_UTF8 + file.read_bytes())
    assert benchmark.load() == questions


def test_questions_are_whole(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert question.prompt.endswith("<think>\n")
        assert question.message
        assert "<think>" not in question.message
        assert question.gold
        assert all(question.gold)


def test_names_and_versions(benchmark: Benchmark) -> None:
    assert benchmark.name == benchmark.name.lower()
    assert benchmark.name in registry.BENCHMARKS
    assert benchmark.version >= 1


def test_what_the_benchmarks_here_are() -> None:
    known = {name: registry.benchmark(name) for name in registry.BENCHMARKS}
    assert {n for n, b in known.items() if b.knowledge} == {"musique", "musique-dev", "hops"}
    assert tuple(n for n, b in known.items() if b.calibrates) == TWINS  # their order counts
    assert {n: b.open_book_of for n, b in known.items() if b.open_book_of} == {
        "musique-open": "musique",
        "musique-dev-open": "musique-dev",
    }
    assert {n for n, b in known.items() if b.practice(1, seed=1)} == set(TWINS)


def test_every_accepted_answer_scores(benchmark: Benchmark) -> None:
    for question in benchmark.load():
        for gold in question.gold:
            completion = reply(f"so\n</think>\n\n\\boxed{{{gold}}}")
            grade = benchmark.grade(question, completion)
            assert grade.score == 1
            assert grade.answer is not None
            assert grade == benchmark.grade(question, completion)


def test_another_answer_is_wrong_and_no_answer_is_none(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    other = next(q for q in questions if q.gold[0] != questions[0].gold[0])
    wrong = benchmark.grade(questions[0], reply(f"</think>\\boxed{{{other.gold[0]}}}"))
    assert wrong.answer is not None
    assert wrong.score == 0
    for finished in ("stop", "length"):
        silent = benchmark.grade(questions[0], reply("so</think>\n", finished))
        assert (silent.answer, silent.score) == (None, 0)


def test_both_rules_grade_and_one_is_the_headline(benchmark: Benchmark) -> None:
    question = benchmark.load()[0]
    for text in (f"</think>\\boxed{{{question.gold[0]}}}", "</think>So I see.", "</think>"):
        grade = benchmark.grade(question, reply(text))
        assert set(grade.marks) == {"strict", "lenient"}
        assert (grade.answer, grade.score) in [(m.answer, m.score) for m in grade.marks.values()]
        assert grade.marks["strict"].score <= grade.marks["lenient"].score


def test_practice_never_shows_a_question(benchmark: Benchmark) -> None:
    practice = benchmark.practice(300, seed=1)
    assert practice == benchmark.practice(300, seed=1)
    assert len(practice) in ((300,) if benchmark.calibrates else (300, 0))
    if practice:
        assert practice != benchmark.practice(300, seed=2)
    assert not {q.prompt for q in practice} & {q.prompt for q in benchmark.load()}


@settings(max_examples=50)
@given(text=st.text(), stop=st.sampled_from(["stop", "length"]))
def test_any_text_is_graded(benchmark: Benchmark, text: str, stop: Stop) -> None:
    [question] = benchmark.load(1)
    grade = benchmark.grade(question, reply(text, stop))
    assert 0 <= grade.score <= 1
    assert grade.score == 0 or grade.answer is not None
    assert all(0 <= value <= 1 for value in grade.also.values())
    end = benchmark.first_said(question, text)
    assert end is None or 0 < end <= len(text)


def test_the_gold_is_first_said_where_it_first_stands(benchmark: Benchmark) -> None:
    for question in benchmark.load():
        said = f"So the answer is {question.gold[0]}."
        for before in ("", "Let me see.\n"):
            end = benchmark.first_said(question, f"{before}{said}\n{said}")
            assert end is not None
            assert abs(len(before + said) - end) <= 2  # with full stop and line end, or without
        assert benchmark.first_said(question, "") is None
        assert benchmark.first_said(question, "Let me see.") is None


def test_another_answer_is_not_the_gold(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    other = next(q for q in questions if q.gold[0] != questions[0].gold[0])
    assert benchmark.first_said(questions[0], f"The answer is {other.gold[0]}.") is None
