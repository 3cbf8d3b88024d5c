"""One generation holds every budget: the views, and their equality with regenerating."""

from dataclasses import replace

import numpy as np
import pytest

from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.hops import HOPS
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.engines.transformers.engine import TransformersEngine
from lrm.generation import budgets
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.point import Budget
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt, Stop
from lrm.scoring.grading import graded_replies
from lrm.scoring.replies import collect
from lrm.scoring.stored_reply import StoredReply
from tests.support.models import TINY


def reply(thinking: int, *, closed: bool, stop: Stop = "stop", answer: int = 3) -> Completion:
    total = thinking + (answer if closed else 0)
    return Completion(tuple(range(total)), "t", (), thinking, total - thinking, closed, stop, False)


@pytest.mark.parametrize("name", budgets.CLOSINGS)
def test_every_closing_ends_the_thinking_once(name: str) -> None:
    assert budgets.CLOSINGS[name].count(THINK_CLOSE) == 1


@pytest.mark.parametrize(("budget", "fits"), [(9, False), (10, True), (11, True)])
def test_a_closed_reply_fits_from_its_own_thinking_on(budget: int, fits: bool) -> None:
    assert budgets.fits(reply(10, closed=True), budget) is fits
    assert budgets.fits(reply(10, closed=False), budget) is fits


def test_a_cut_reply_never_fits() -> None:
    assert not budgets.fits(reply(10, closed=False, stop="length"), 10)
    assert not budgets.fits(reply(10, closed=False, stop="length"), 99)


def test_forced_prompt_keeps_the_budget_and_closes() -> None:
    prompt = budgets.forced(
        Prompt("Q", 0, 99, chat=True),
        reply(10, closed=True),
        4,
        seed=1,
        answer_tokens=7,
        closing="plain",
    )
    assert (prompt.text, prompt.chat, prompt.seed) == ("Q", True, 1)
    assert prompt.prefix_ids == (0, 1, 2, 3)
    assert prompt.closing == "\n</think>\n\n"
    assert prompt.max_tokens == 7


@pytest.mark.engine
def test_budgets_equal_regenerating_under_greedy_decoding(tmp_path) -> None:
    """Every budget's view of one long generation is what generating at that budget gives."""
    checkpoint = open_checkpoint(TINY)
    questions = {benchmark: benchmark.load(6) for benchmark in (ARITHMETIC, HOPS)}
    sizes = (8, 33, 64, 160)

    def run(budgets_at: tuple[int, ...], folder: str) -> list[list[StoredReply]]:
        decoding = Decoding(temperature=0, max_tokens=max(budgets_at) + 24, answer_tokens=24)
        with ReplyCache(tmp_path / folder, checkpoint, decoding, "transformers") as store:
            engine = TransformersEngine(checkpoint)
            evaluations = evaluate(questions, decoding, budgets_at, store, engine)
            return [list(graded_replies(evaluation)) for evaluation in evaluations]

    def at(replies: list[StoredReply], budget: int) -> list[StoredReply]:
        """What is said under a budget, whatever it was asked at besides."""
        forced = {one.question: one for one in replies if one.budget == budget}
        longest = [one for one in replies if one.budget is None]
        return [replace(forced.get(one.question, one), given=0) for one in longest]

    long = run(sizes, "all")
    for size in sizes:
        alone = run((size,), str(size))
        for one, other in zip(long, alone, strict=True):
            assert at(one, size) == at(other, size)
            cut = Budget(size, "truncate")
            views, again = collect(one).tables(cut), collect(other).tables(cut)
            for name in views.keys() - {"vote"}:  # numbered as they come
                np.testing.assert_array_equal(views[name], again[name])
    assert any(one.budget == 33 for one in long[0])
    assert not all(one.budget == 160 for one in at(long[1], 160))
