"""The behaviour suite of the Benchmark contract: every benchmark goes through it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrm.benchmarks.aime import Aime
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.deduction import DEDUCTION
from lrm.benchmarks.folio import Folio
from lrm.benchmarks.hops import HOPS
from lrm.benchmarks.musique import MUSIQUE, MUSIQUE_DEV, MUSIQUE_DEV_OPEN, MUSIQUE_OPEN
from lrm.benchmarks.temporal import Temporal
from lrm.benchmarks.timeline import TIMELINE
from lrm.contracts import Benchmark
from lrm.records import Completion, Question, Stop
from tests.support import small_data

MUSIQUES = (MUSIQUE, MUSIQUE_OPEN, MUSIQUE_DEV, MUSIQUE_DEV_OPEN)
REAL = (Aime(), Folio(), Temporal(), *MUSIQUES)
TWINS = (ARITHMETIC, DEDUCTION, TIMELINE, HOPS)
BENCHMARKS = pytest.mark.parametrize("benchmark", [*REAL, *TWINS], ids=lambda b: b.name)


@pytest.fixture(autouse=True)
def _small_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_data.write(tmp_path)
    monkeypatch.setenv("LRM_DATA", str(tmp_path))


def reply(text: str, stop: Stop = "stop") -> Completion:
    return Completion((), text, (), 0, 0, "</think>" in text, stop, False)


@BENCHMARKS
def test_questions_are_the_same_every_time(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    assert questions
    assert questions == benchmark.load()
    assert questions[:1] == benchmark.load(limit=1)
    assert questions == benchmark.load(limit=len(questions) + 1)


@BENCHMARKS
def test_questions_are_whole(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert question.prompt.endswith("<think>\n")
        assert question.message
        assert "<think>" not in question.message
        assert question.gold
        assert all(question.gold)


@BENCHMARKS
def test_names_and_versions(benchmark: Benchmark) -> None:
    assert benchmark.name == benchmark.name.lower()
    assert benchmark.version >= 1
    assert benchmark.knowledge is (benchmark.name in {"musique", "musique-dev", "hops"})


@BENCHMARKS
def test_every_accepted_answer_scores(benchmark: Benchmark) -> None:
    for question in benchmark.load():
        for gold in question.gold:
            completion = reply(f"so\n</think>\n\n\\boxed{{{gold}}}")
            grade = benchmark.grade(question, completion)
            assert grade.score == 1
            assert grade.answer is not None
            assert grade == benchmark.grade(question, completion)


@BENCHMARKS
def test_another_answer_is_wrong_and_no_answer_is_none(benchmark: Benchmark) -> None:
    questions = benchmark.load()
    other = next(q for q in questions if q.gold[0] != questions[0].gold[0])
    wrong = benchmark.grade(questions[0], reply(f"</think>\\boxed{{{other.gold[0]}}}"))
    assert wrong.answer is not None
    assert wrong.score == 0
    for finished in ("stop", "length"):
        silent = benchmark.grade(questions[0], reply("so</think>\n", finished))
        assert (silent.answer, silent.score) == (None, 0)


@BENCHMARKS
def test_both_rules_grade_and_one_is_the_headline(benchmark: Benchmark) -> None:
    question = benchmark.load()[0]
    for text in (f"</think>\\boxed{{{question.gold[0]}}}", "</think>So I see.", "</think>"):
        grade = benchmark.grade(question, reply(text))
        assert set(grade.marks) == {"strict", "lenient"}
        assert (grade.answer, grade.score) in [(m.answer, m.score) for m in grade.marks.values()]
        assert grade.marks["strict"].score <= grade.marks["lenient"].score


@BENCHMARKS
def test_practice_never_shows_a_question(benchmark: Benchmark) -> None:
    practice = benchmark.practice(300, seed=1)
    assert practice == benchmark.practice(300, seed=1)
    assert len(practice) == (300 if benchmark.name in {twin.name for twin in TWINS} else 0)
    if practice:
        assert practice != benchmark.practice(300, seed=2)
    assert not {q.prompt for q in practice} & {q.prompt for q in benchmark.load()}


@BENCHMARKS
@settings(max_examples=50)
@given(text=st.text(), stop=st.sampled_from(["stop", "length"]))
def test_any_text_is_graded(benchmark: Benchmark, text: str, stop: Stop) -> None:
    gold = {"aime": "7", "arithmetic": "7", "folio": "True", "deduction": "True"}
    asked = benchmark.load(1)[0].prompt
    question = Question("q", asked, (gold.get(benchmark.name, "(A)"),))
    grade = benchmark.grade(question, reply(text, stop))
    assert 0 <= grade.score <= 1
    assert grade.score == 0 or grade.answer is not None
    assert all(0 <= value <= 1 for value in grade.also.values())
