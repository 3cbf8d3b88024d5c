"""One long generation holds every smaller budget.

A prefix of a long sample is distributed exactly as a sample capped there. So a reply whose
thinking fits a budget is taken as it is. Any other is cut at the budget, and either counted as
unanswered ("truncate") or forced to answer ("force", as in s1, arXiv 2501.19393).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt

CLOSINGS = {
    "plain": "\n</think>\n\n",
    "s1": "\n</think>\n\nFinal Answer:",
    "qwen3": "\n\nConsidering the limited time by the user, I have to give the solution based on "
    "the thinking directly now.\n</think>\n\n",
}
"""Texts that end the thinking, by the name under which a run records them.

"s1" opens the answer too (Muennighoff et al. 2025, arXiv 2501.19393); "qwen3" is the sentence that
Qwen3 was trained to stop at (Qwen3 technical report, arXiv 2505.09388, thinking budget).
"""

ENGINE = "engine"
"""The name for the engine's own thinking budget (`Prompt.thinking`). A budget's reply is then
generated anew, with the seed of the longest generation, and its thinking ends in the bare tag."""


def ends_at(closed: bool, cut: bool, thinking_tokens: int) -> float:
    """The smallest budget, in tokens, within which the thinking ended by itself; inf if a cap `cut`
    it.

    A reply that ended without closing its thinking is finished, and all of it counts as thinking.
    """
    return thinking_tokens if closed or not cut else inf


def fits(reply: Completion, budget: int) -> bool:
    """Whether the thinking ended by itself within `budget` tokens."""
    return ends_at(reply.closed, reply.stop == "length", reply.thinking_tokens) <= budget


def reserved_tokens(budgets: Sequence[int], decoding: Decoding, closing: str) -> int:
    """Tokens to reserve after a question, so that every answer at a budget fits the context too.

    A closing text has at most as many tokens as bytes.
    """
    forced = max(budgets) + len(CLOSINGS.get(closing, "").encode()) + decoding.answer_tokens
    return max(forced, decoding.max_tokens)


def open_tokens(budgets: Sequence[int]) -> int:
    """After how many tokens a reply may stop whose thinking is still open: no view at a budget
    reads more of it.

    A closing tag that begins at the largest budget has at most as many tokens as bytes.
    """
    return max(budgets) + len(THINK_CLOSE.encode())


def forced(
    asked: Prompt, reply: Completion, budget: int, *, seed: int, answer_tokens: int, closing: str
) -> Prompt:
    """The prompt that makes a reply to `asked` answer after `budget` of its thinking tokens."""
    if closing == ENGINE:
        return replace(asked, thinking=budget, max_tokens=budget + answer_tokens, open_tokens=0)
    return replace(
        asked,
        seed=seed,
        max_tokens=answer_tokens,
        prefix_ids=reply.token_ids[:budget],
        closing=CLOSINGS[closing],
        open_tokens=0,
    )
