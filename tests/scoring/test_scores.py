"""Scores from stored replies, live or read back, are those of a reply-by-reply count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm.errors import BadInput
from lrm.generation.budgets import fits
from lrm.generation.evaluate import Evaluation, ReplyKey
from lrm.records.point import Budget, Policy
from lrm.records.question import Grade, Mark, Question
from lrm.records.reply import Completion, Decoding
from lrm.scoring.grading import graded_replies
from lrm.scoring.replies import collect
from lrm.scoring.scores import score
from lrm.scoring.stored_reply import from_line, to_line
from tests.support import reference_scores
from tests.support.made_up import Graded

BUDGETS = (4, 8)
SCORE = st.sampled_from([0.0, 0.1, 1 / 3, 0.7, 1.0])
ANSWER = st.none() | st.sampled_from("xyz")
MARK = st.builds(Mark, ANSWER, SCORE, st.none() | st.sampled_from("xy"))
GRADES = st.builds(
    Grade,
    ANSWER,
    SCORE,
    st.dictionaries(st.sampled_from(["f1", "em"]), SCORE),
    st.dictionaries(st.sampled_from(["strict", "lenient"]), MARK),
    st.none() | st.sampled_from("xy"),
)
COMPLETIONS = st.builds(
    Completion,
    token_ids=st.just(()),
    text=st.sampled_from("abcde"),
    prompt_ids=st.just(()),
    thinking_tokens=st.integers(0, 12),
    answer_tokens=st.integers(0, 5),
    closed=st.booleans(),
    stop=st.sampled_from(["stop", "length"]),
    looped=st.booleans(),
)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Questions of several groups, each sampled several times, with what was forced."""
    benchmark = Graded(draw(GRADES), draw(st.dictionaries(st.sampled_from("abcd"), GRADES)))
    samples = draw(st.integers(1, 9))
    groups = draw(st.lists(st.sampled_from(["", "1-hop", "2-hop"]), min_size=1, max_size=5))
    questions = tuple(Question(f"q{i}", "p", ("g",), group) for i, group in enumerate(groups))
    replies: dict[ReplyKey, Completion] = {}
    for question in questions:
        for sample in range(samples):
            key = ReplyKey(benchmark.name, question.id, sample)
            replies[key] = draw(COMPLETIONS)
            for budget in BUDGETS:
                if not fits(replies[key], budget):
                    forced = draw(COMPLETIONS)
                    replies[key._replace(budget=budget)] = replace(forced, thinking_tokens=budget)
    return Evaluation(benchmark, questions, Decoding(samples=samples), BUDGETS, replies)


@given(evaluations())
def test_live_and_stored_scores_are_those_of_the_reference(evaluation: Evaluation) -> None:
    live = list(graded_replies(evaluation))
    stored = [from_line(to_line(reply)) for reply in live]
    assert stored == live
    given = evaluation.benchmark, evaluation.questions, evaluation.decoding.samples
    for policy in ("force", "truncate"):
        for tokens in BUDGETS:
            budget = Budget(tokens, policy)
            items = list(reference_scores.items_at(*given, evaluation.replies, budget))
            expected = asdict(reference_scores.score(items))
            for replies in (live, stored):
                assert asdict(score(collect(replies), budget)) == expected


def evaluation(thinking: Sequence[int]) -> Evaluation:
    """A question whose samples think for so long, and answer wherever they are forced."""
    benchmark, question = Graded(Grade("x", 1.0)), Question("q", "p", ("g",))
    replies = {}
    for sample, tokens in enumerate(thinking):
        key = ReplyKey("made-up", "q", sample)
        replies[key] = Completion((), "a", (), tokens, 3, True, "stop", False)
        for budget in BUDGETS:
            if tokens > budget:
                forced = Completion((), "b", (), budget, 2, True, "stop", False)
                replies[key._replace(budget=budget)] = forced
    return Evaluation(benchmark, (question,), Decoding(samples=len(thinking)), BUDGETS, replies)


def test_a_reply_is_cut_at_exactly_the_budget() -> None:
    replies = collect(graded_replies(evaluation([10, 3])))
    grid = replies.grid(Budget(4, "truncate"))
    assert grid.tokens.tolist() == [[4, 6]]
    assert grid.thinking.tolist() == [[4, 3]]
    assert grid.closed.tolist() == [[False, True]]
    assert grid.truncated.tolist() == [[True, False]]
    assert grid.score.tolist() == [[0, 1]]
    assert not grid.forced.any()


@pytest.mark.parametrize("policy", ["force", "truncate"])
def test_a_view_leaves_the_replies_as_they_are(policy: Policy) -> None:
    replies = collect(graded_replies(evaluation([10, 3])))
    before = replies.numbers.copy()
    replies.grid(Budget(4, policy)).score[:] = 0.25
    np.testing.assert_array_equal(replies.numbers, before)
    assert replies.grid().tokens.tolist() == [[13, 6]]


def test_what_was_not_forced_at_a_budget_is_said() -> None:
    replies = collect(graded_replies(evaluation([10, 3])))
    with pytest.raises(BadInput, match="1 of 2 replies to made-up have no answer at budget 5"):
        score(replies, Budget(5))
    assert score(replies, Budget(5, "truncate")).accuracy.value == 0.5


def test_the_score_of_one_reply_in_old_form_has_no_readings() -> None:
    """What older code stored has no marks, so only the headline can be said."""
    (reply,) = graded_replies(evaluation([3]))
    old = replace(reply, marks={}, also={}, score_as_is=None, vote=None, version=1)
    assert score(collect([old])).accuracy == score(collect([reply])).accuracy
    assert score(collect([old])).readings == {}
