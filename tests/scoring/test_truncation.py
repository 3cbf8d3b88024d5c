"""What a graded reply counts under each policy, and what repeated samples of a question say."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, groupby
from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm.benchmarks.hops import HOPS
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Checkpoint
from lrm.records.question import Grade, Mark, Question, Rule
from lrm.records.reply import Completion, Decoding, Stop
from lrm.scoring.grading import graded, graded_replies
from lrm.scoring.pass_at_k import majority, pass_at_k, sizes
from lrm.scoring.replies import collect
from lrm.scoring.scores import Score, logged, score
from lrm.scoring.stored_reply import StoredReply
from tests.support.made_up import Graded
from tests.support.scripted_engine import ScriptedEngine

BY_RULE: dict[Rule, Mark] = {"strict": Mark(None, 0.0), "lenient": Mark("x", 1.0)}
GRADE = Grade("x", 1.0, {"f1": 0.5}, BY_RULE)


def reply(stop: Stop, closed: bool = True, looped: bool = False) -> Completion:
    return Completion((), "", (), 6, 4, closed, stop, looped)


def stored(
    made: Completion, grade: Grade = GRADE, question: str = "q", sample: int = 0
) -> StoredReply:
    return graded(Graded(grade), Question(question, "p", ("g",)), made, sample)


def item(
    question: str, sample: int, right: bool, stop: Stop = "stop", said: str = "x"
) -> StoredReply:
    mark = Mark(said, float(right))
    grade = Grade(said, float(right), {}, {"strict": mark, "lenient": mark})
    return stored(reply(stop), grade, question, sample)


def scored(items: Iterable[StoredReply]) -> Score:
    return score(collect(items))


def test_only_what_a_cap_cut_is_truncated() -> None:
    for closed in (True, False):
        assert stored(reply("stop", closed)).score == 1
        cut = stored(reply("length", closed))
        assert (cut.score, cut.counted_vote) == (0, None)
        assert (cut.score_as_is, cut.answer) == (1, "x")
        readings = scored([cut]).readings
        assert readings["lenient/truncated-is-wrong"].value == 0
        assert readings["lenient/grade-what-is-there"].value == 1


def test_each_rule_has_its_own_mark() -> None:
    done = stored(reply("stop"))
    assert (done.strict, done.lenient) == (None, "x")
    assert done.marks == BY_RULE
    headline_alone = stored(reply("stop"), Grade("y", 1.0))
    assert (headline_alone.strict, headline_alone.lenient) == ("y", "y")
    assert scored([headline_alone]).readings == {}
    both = scored([headline_alone, stored(reply("stop"), question="r")])
    assert both.readings["strict/grade-what-is-there"].value == 0.5


def test_both_policies_and_rules_come_from_the_same_replies() -> None:
    done, cut = reply("stop"), reply("length", closed=False, looped=True)
    items = [
        stored(made, question=name)
        for name, made in zip("abcd", (done, done, done, cut), strict=True)
    ]
    found = scored(items)
    assert found.accuracy.value == 0.75
    readings = {name: interval.value for name, interval in found.readings.items()}
    assert readings == {
        "lenient/truncated-is-wrong": 0.75,
        "lenient/grade-what-is-there": 1,
        "strict/truncated-is-wrong": 0,
        "strict/grade-what-is-there": 0,
    }
    metrics = found.metrics
    assert metrics["share/truncated"] == metrics["share/looping"] == 0.25
    assert metrics["share/unclosed"] == 0.25
    assert metrics["share/unanswered"] == metrics["share/unanswered/lenient"] == 0
    assert metrics["share/unanswered/strict"] == 1
    assert metrics["f1"] == 0.5 * 0.75
    names = logged({"folio": found})
    assert names["accuracy/folio/lenient/grade-what-is-there"] == 1
    assert names["accuracy/folio"] == names["accuracy"] == 0.75


SAMPLES = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=6)
)


@given(SAMPLES)
def test_avg_at_k_is_the_mean_of_the_scores(table: list[list[bool]]) -> None:
    items = [item(str(q), s, right) for q, row in enumerate(table) for s, right in enumerate(row)]
    flat = [right for row in table for right in row]
    assert isclose(scored(items).accuracy.value, sum(flat) / len(flat))


@given(SAMPLES, st.integers(1, 3))
def test_the_mean_does_not_drift_with_k(table: list[list[bool]], times: int) -> None:
    def mean(rows: list[list[bool]]) -> float:
        items = [item(str(q), s, ok) for q, row in enumerate(rows) for s, ok in enumerate(row)]
        return scored(items).accuracy.value

    assert isclose(mean(table), mean([row * times for row in table]))


@given(SAMPLES, st.randoms())
def test_the_order_of_questions_changes_nothing(table: list[list[bool]], random: object) -> None:
    items = [item(str(q), s, right) for q, row in enumerate(table) for s, right in enumerate(row)]
    rows = [list(row) for _, row in groupby(items, key=lambda one: one.question)]
    random.shuffle(rows)  # type: ignore[attr-defined]
    other = [one for row in rows for one in row]
    first, second = logged({"x": scored(items)}), logged({"x": scored(other)})
    assert first.keys() == second.keys()
    assert all(isclose(first[name], second[name], abs_tol=1e-12) for name in first)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_pass_at_k_is_brute_force(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    sets = list(combinations(right, k))
    assert isclose(
        pass_at_k(len(right), sum(right), k), sum(map(any, sets)) / len(sets), abs_tol=1e-12
    )


@pytest.mark.parametrize(("samples", "right", "k"), [(3, 1, 0), (3, 1, 4), (3, 4, 1), (3, -1, 1)])
def test_pass_at_k_refuses_what_cannot_be(samples: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match=r"must lie|cannot be correct"):
        pass_at_k(samples, right, k)


def test_the_majority_counts_votes_and_the_first_of_equals_wins() -> None:
    assert majority(["bob", "ann", "ann"]) == 1
    assert majority(["bob", "ann"]) == 0
    assert majority(["ann", "bob"]) == 0
    assert majority([None, None, "bob"]) == 2
    assert majority([None]) is None
    assert majority(["(A)", "(B)", "(B)"]) == 1


def test_answers_of_one_vote_are_the_same_answer() -> None:
    ann, same = Grade("Ann", 1.0, vote="ann"), Grade("ann.", 1.0, vote="ann")
    bob, other = Grade("Bob", 0.0, vote="bob"), Grade("Carl", 0.0)
    voted = [stored(reply("stop"), grade, sample=i) for i, grade in enumerate((bob, ann, same))]
    assert scored(voted).metrics["maj_at_3"] == 1
    voted = [stored(reply("stop"), grade, sample=i) for i, grade in enumerate((bob, ann, other))]
    assert scored(voted).metrics["maj_at_3"] == 0
    cut = [stored(reply("length"), grade, sample=i) for i, grade in enumerate((ann, ann))]
    bob_says = stored(reply("stop"), bob, sample=2)
    assert scored([*cut, bob_says]).metrics["maj_at_3"] == 0
    assert scored(cut).metrics["maj_at_2"] == 0


def test_repeats_are_logged_by_names_that_mlflow_allows() -> None:
    right = [[True, False, False], [True, True, False]]
    said = ["x", "y", "y"]
    items = [
        item(str(q), s, ok, said="g" if ok else said[s])
        for q, row in enumerate(right)
        for s, ok in enumerate(row)
    ]
    metrics = scored(items).metrics
    assert metrics["pass_at_1"] == pytest.approx(0.5)
    assert metrics["pass_at_2"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["pass_at_3"] == 1
    assert metrics["maj_at_3"] == 0.5
    assert "pass_at_1" not in scored(items[:1]).metrics
    assert (sizes(1), sizes(4), sizes(6)) == ([1], [1, 2, 4], [1, 2, 4, 6])


def test_more_samples_keep_those_there_are(tmp_path) -> None:
    """Sample s of a question has the same seed whatever k is, so k only adds to what is known."""
    engine = ScriptedEngine(lambda prompt: f"so</think>\\boxed{{{prompt.seed}}}")
    questions = {HOPS: HOPS.load(3)}

    def texts(samples: int) -> dict[tuple[str, int], str]:
        decoding = Decoding(max_tokens=64, samples=samples)
        checkpoint = Checkpoint(tmp_path, "r")
        with ReplyCache(tmp_path, checkpoint, decoding, "scripted") as store:
            (found,) = evaluate(questions, decoding, [64], store, engine)
            return {(one.question, one.sample): one.text for one in graded_replies(found)}

    two, four = texts(2), texts(4)
    assert len(set(four.values())) == 12
    assert two.items() <= four.items()
