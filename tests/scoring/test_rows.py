"""Stored rows to grids: the views at every budget, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any, get_args

import numpy as np
import pytest

from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.errors import BadInput
from lrm.generation.evaluate import Evaluation, evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.point import Budget, Policy, Unit
from lrm.records.reply import Decoding, Prompt
from lrm.scoring import scores
from lrm.scoring.grading import graded_replies
from lrm.scoring.grid import Grid
from lrm.scoring.replies import collect
from lrm.scoring.stored_reply import to_line
from tests.support import reference_scores
from tests.support.models import TINY
from tests.support.scripted_engine import ScriptedEngine
from tests.support.stored_runs import stored

BUDGETS = (10, 20, 60)
POLICIES: tuple[Policy, ...] = get_args(Policy)


def answer(prompt: Prompt) -> str:
    """Thinks for 8 to 71 bytes and says a number that is right for some questions only."""
    thinking = "so " * (3 + prompt.seed % 22)
    if prompt.seed % 7 == 0:
        return thinking  # never closes
    return f"{thinking}</think>\n\nAnswer: {prompt.seed % 3}"


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluation]:
    decoding = Decoding(max_tokens=100, answer_tokens=40, samples=4)
    questions = ARITHMETIC.load(12)
    checkpoint = open_checkpoint(TINY)
    folder = tmp_path_factory.mktemp("replies")
    with ReplyCache(folder, checkpoint, decoding, "scripted") as store:
        yield evaluate({ARITHMETIC: questions}, decoding, BUDGETS, store, ScriptedEngine(answer))[0]


@pytest.fixture(scope="module")
def rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [json.loads(to_line(reply)) for reply in graded_replies(evaluation)]


def grids(
    rows: Iterable[dict[str, Any]],
    budgets: Iterable[int] = (),
    policy: Policy = "force",
    unit: Unit = "tokens",
) -> dict[int | None, Grid]:
    """A grid for each budget, and under None that of the longest generations."""
    replies = collect(map(stored, rows), unit)
    return {
        budget: replies.grid(None if budget is None else Budget(budget, policy))
        for budget in (None, *budgets)
    }


@pytest.mark.parametrize("policy", ["force", "truncate"])
@pytest.mark.parametrize("budget", BUDGETS)
def test_views_of_stored_rows_are_those_of_the_evaluation(
    evaluation: Evaluation, rows: list[dict[str, Any]], budget: int, policy: Policy
) -> None:
    grid = grids(rows, BUDGETS, policy)[budget]
    given = evaluation.benchmark, evaluation.questions, 4, evaluation.replies
    items = list(reference_scores.items_at(*given, Budget(budget, policy)))
    shape = (12, 4)

    def told(value: Callable[[reference_scores.Item], object]) -> np.ndarray:
        return np.array([value(item) for item in items]).reshape(shape)

    assert grid.questions == tuple(question.id for question in evaluation.questions)
    assert grid.groups == tuple(question.group for question in evaluation.questions)
    np.testing.assert_array_equal(grid.score, told(lambda item: reference_scores.judge(item).score))
    np.testing.assert_array_equal(grid.tokens, told(lambda item: item.completion.tokens))
    np.testing.assert_array_equal(grid.thinking, told(lambda item: item.completion.thinking_tokens))
    np.testing.assert_array_equal(grid.closed, told(lambda item: item.completion.closed))
    np.testing.assert_array_equal(
        grid.truncated, told(lambda item: item.completion.stop == "length")
    )
    np.testing.assert_array_equal(grid.looped, told(lambda item: item.completion.looped))
    np.testing.assert_array_equal(grid.forced, told(lambda item: item.forced))
    np.testing.assert_array_equal(grid.answered, told(lambda item: item.grade.answer is not None))
    assert 0 < grid.forced.mean() < 1 or policy == "truncate"
    score = scores.score(collect(map(stored, rows)), Budget(budget, policy))
    assert asdict(score) == asdict(reference_scores.score(items))


def test_the_longest_generations_are_under_none(rows: list[dict[str, Any]]) -> None:
    grid = grids(rows, BUDGETS)[None]
    assert not grid.forced.any()
    assert grid.tokens.sum() == sum(row["tokens"] for row in rows if row["budget"] is None)


def row(question: str = "q1", sample: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "benchmark": "aime",
        "question": question,
        "group": "",
        "sample": sample,
        "score": 1.0,
        "answer": "1",
        "tokens": 9,
        "thinking_tokens": 6,
        "closed": True,
        "stop": "stop",
        "looped": False,
        "text": "a b </think> c",
    } | changes


def test_questions_may_have_unequal_samples() -> None:
    grid = grids([row("q1", 0), row("q1", 3, score=0.0), row("q2", 7)])[None]
    np.testing.assert_array_equal(grid.score, [[1, 0], [1, np.nan]])
    assert grid.replies == 3
    np.testing.assert_array_equal(grid.per_question(grid.score), [0.5, 1.0])
    np.testing.assert_array_equal(grid.per_question(grid.tokens), [9, 9])


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.5, None, "1"])
def test_a_score_that_is_none_is_refused(score: Any) -> None:
    with pytest.raises(BadInput, match=r"question q2 of aime, sample 0"):
        grids([row(), row("q2", score=score)])


def test_a_reply_that_stands_twice_is_refused() -> None:
    with pytest.raises(BadInput, match=r"q1 of aime, sample 0, appears twice:"):
        grids([row(), row()])
    with pytest.raises(BadInput, match=r"appears twice at budget 4"):
        grids([row(), row(budget=4), row(budget=4)])


def test_two_benchmarks_are_not_mixed() -> None:
    with pytest.raises(BadInput, match="mix aime and folio"):
        grids([row(), row("q2", benchmark="folio")])


def test_forced_answers_that_are_missing_are_said(rows: list[dict[str, Any]]) -> None:
    unfinished = [one for one in rows if one["budget"] != 20]
    replies = collect(map(stored, unfinished))
    sentence = replies.missing(20)
    assert sentence is not None
    lacking = sum(one["budget"] == 20 for one in rows)
    assert sentence.startswith(f"{lacking} of 48 replies to arithmetic have no answer at budget 20")
    assert rows[0]["question"] in sentence
    with pytest.raises(BadInput, match="unfinished"):
        replies.grid(Budget(20))
    assert replies.missing(10) is None
    assert replies.grid(Budget(20, "truncate")).replies == 48  # needs none


def test_a_run_with_no_whole_generation_is_said() -> None:
    with pytest.raises(BadInput, match="no longest generation"):
        grids([row(budget=4)])
    with pytest.raises(BadInput, match="no longest generation"):
        grids([])


def test_lengths_in_words_where_tokens_are_not_known() -> None:
    unknown = row(tokens=None, thinking_tokens=None)
    assert stored(unknown).lengths("words") == (2, 2)
    assert stored(row(thinking_tokens=None)).lengths("tokens") == (9, 0)
    with pytest.raises(BadInput, match="no token count"):
        grids([unknown])
    np.testing.assert_array_equal(grids([unknown], unit="words")[None].tokens, [[4]])


def test_what_only_looks_like_a_grid_is_refused() -> None:
    whole = grids([row("q1"), row("q2")])[None]
    arrays = {
        name: getattr(whole, name)
        for name in ("tokens", "thinking", "closed", "truncated", "looped", "forced", "answered")
    }
    with pytest.raises(BadInput, match="q2 has no score"):
        type(whole)(("q1", "q2"), ("", ""), np.array([[1.0], [np.nan]], np.float32), **arrays)
    with pytest.raises(BadInput, match="appears twice"):
        type(whole)(("q1", "q1"), ("", ""), whole.score, **arrays)
    with pytest.raises(BadInput, match="shape"):
        type(whole)(("q1",), ("",), whole.score[:1], **arrays)


def test_nothing_of_the_texts_is_kept(rows: list[dict[str, Any]]) -> None:
    replies = collect(map(stored, rows))
    assert len(replies.numbers) == len(rows)
    assert replies.numbers.dtype == np.float64
    forced = sum(int((known >= 0).sum()) for known in replies.forced.values())
    assert len(replies.longest) + forced == len(rows)


def test_questions_may_be_put_in_another_order(rows: list[dict[str, Any]]) -> None:
    ids = list(dict.fromkeys(one["question"] for one in rows))
    straight = collect(map(stored, rows))
    turned = sorted(rows, key=lambda one: -ids.index(one["question"]))
    ordered = collect(map(stored, turned)).in_order(ids)
    for budget in (None, *(Budget(tokens, policy) for tokens in BUDGETS for policy in POLICIES)):
        assert asdict(scores.score(ordered, budget)) == asdict(scores.score(straight, budget))
        one, other = straight.grid(budget), ordered.grid(budget)
        assert one.questions == other.questions
        for each in fields(one)[2:]:
            np.testing.assert_array_equal(getattr(one, each.name), getattr(other, each.name))
