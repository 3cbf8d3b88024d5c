"""One generation holds every budget: the views, and their equality with regenerating."""

import pytest

from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.hops import HOPS
from lrm.compression.checkpoint.folder import open_checkpoint
from lrm.engines.transformers.engine import TransformersEngine
from lrm.generation import budgets
from lrm.generation.evaluate import Evaluation, evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records import THINK_CLOSE, Budget, Completion, Decoding, Prompt, Stop
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


def test_truncated_counts_exactly_the_budget() -> None:
    cut = budgets.truncated(reply(10, closed=True), 4)
    assert cut.token_ids == (0, 1, 2, 3)
    assert (cut.tokens, cut.thinking_tokens, cut.answer_tokens) == (4, 4, 0)
    assert not cut.closed
    assert cut.stop == "length"


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

    def run(budgets_at: tuple[int, ...], folder: str) -> list[Evaluation]:
        decoding = Decoding(temperature=0, max_tokens=max(budgets_at) + 24, answer_tokens=24)
        with ReplyCache(tmp_path / folder, checkpoint, decoding, "transformers") as store:
            return evaluate(questions, decoding, budgets_at, store, TransformersEngine(checkpoint))

    long = run(sizes, "all")
    for size in sizes:
        alone = run((size,), str(size))
        for policy in ("force", "truncate"):
            for one, other in zip(long, alone, strict=True):
                budget = Budget(size, policy)
                views = [(item.completion.token_ids, item.grade) for item in one.at(budget)]
                again = [(item.completion.token_ids, item.grade) for item in other.at(budget)]
                assert views == again
    assert any(item.forced for item in long[0].at(Budget(33)))
    assert not all(item.forced for item in long[1].at(Budget(160)))
