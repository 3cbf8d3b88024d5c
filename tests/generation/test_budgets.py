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
from lrm.records.model import Checkpoint
from lrm.records.point import Budget
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt, Stop
from lrm.scoring.grading import graded_replies
from lrm.scoring.replies import collect
from lrm.scoring.stored_reply import StoredReply
from tests.support.models import TINY
from tests.support.scripted_engine import ScriptedEngine


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


@pytest.mark.parametrize("closing", ["plain", budgets.ENGINE])
def test_only_the_longest_generation_stops_in_open_thinking(closing: str) -> None:
    asked = Prompt("Q", 0, 99, open_tokens=40)
    longest = reply(40, closed=False, stop="length")
    forced = budgets.forced(asked, longest, 4, seed=1, answer_tokens=7, closing=closing)
    assert forced.open_tokens == 0


def test_no_view_reads_what_follows_open_thinking_at_the_largest_budget(
    tmp_path, monkeypatch
) -> None:
    """Thinking that ends before, at and just behind the largest budget, and that never ends."""
    sizes, decoding = (8, 20), Decoding(max_tokens=20 + 64, answer_tokens=64)
    questions = ARITHMETIC.load(14)
    lengths = {question.prompt: 15 + index for index, question in enumerate(questions)}
    tail = {True: "x" * 300, False: f"{THINK_CLOSE}\n\n\\boxed{{7}}"}
    tokens: list[int] = []

    def say(prompt: Prompt) -> str:
        return "y" * lengths[prompt.text] + tail[lengths[prompt.text] % 3 == 0]

    def run(folder: str) -> list[StoredReply]:
        with ReplyCache(tmp_path / folder, Checkpoint(tmp_path, "r"), decoding, "s") as cache:
            asked = {ARITHMETIC: questions}
            engine = ScriptedEngine(say)
            told = [(0, False)]
            (made,) = evaluate(asked, decoding, sizes, cache, engine, lambda *one: told.append(one))
            tokens.append(sum(one for one, _ in told))
            return list(graded_replies(made))

    stopped = run("stopped")
    monkeypatch.setattr(budgets, "open_tokens", lambda sizes: 0)
    whole = run("whole")
    assert tokens[0] < tokens[1]
    assert [one for one in stopped if one.budget] == [one for one in whole if one.budget]
    for size in sizes:
        for policy in ("force", "truncate"):
            one, other = (collect(made).tables(Budget(size, policy)) for made in (stopped, whole))
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])


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
