"""Questions in, an Evaluation out: every reply, and an answer at every smaller budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lrm.contracts.benchmark import Benchmark
from lrm.contracts.engine import Engine, OnTokens
from lrm.generation import budgets as views
from lrm.generation.reply_cache import ReplyCache
from lrm.records.question import Question, Track
from lrm.records.reply import Completion, Decoding, Prompt


class ReplyKey(NamedTuple):
    """Which reply: to which question of a benchmark, in which sample, and at which budget (None:
    the longest generation)."""

    benchmark: str
    question: str
    sample: int
    budget: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """A benchmark's questions answered by one checkpoint.

    `replies` holds the longest generations, and the forced answers at each of `budgets` that their
    thinking exceeds. Each is read from the reply cache when it is asked for, so one at a time is in
    memory; the cache must still be open.
    """

    benchmark: Benchmark
    questions: tuple[Question, ...]
    decoding: Decoding
    budgets: tuple[int, ...]
    replies: Mapping[ReplyKey, Completion]

    def generations(self) -> Iterator[tuple[Question, ReplyKey, Completion]]:
        """Every reply once: questions in order, samples within, and each longest reply followed by
        its answers at smaller budgets."""
        for question in self.questions:
            for sample in range(self.decoding.samples):
                longest = ReplyKey(self.benchmark.name, question.id, sample)
                for budget in (None, *self.budgets):
                    key = longest._replace(budget=budget)
                    if key in self.replies:
                        yield question, key, self.replies[key]


def seed_of(*parts: object) -> int:
    """A seed in [0, 2**63) that depends only on its parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def fresh(
    question: Question,
    track: Track,
    decoding: Decoding,
    benchmark: str,
    sample: int,
    system: str | None = None,
) -> Prompt:
    """A question on a track: the paper's exact text, or a message for the chat template, behind
    the text of the `system`, if there is one."""
    seed = seed_of(decoding.seed, benchmark, question.id, sample)
    if track == "chat":
        return Prompt(question.message, seed, decoding.max_tokens, chat=True, system=system)
    return Prompt(question.prompt, seed, decoding.max_tokens)


def evaluate(
    benchmarks: Mapping[Benchmark, Sequence[Question]],
    decoding: Decoding,
    budgets: Sequence[int],
    cache: ReplyCache,
    engine: Engine,
    on_reply: Callable[[int, bool], None] = lambda tokens, forced: None,
    track: Track = "paper",
    closing: str = "plain",
    system: str | None = None,
    on_tokens: OnTokens | None = None,
) -> list[Evaluation]:
    """Answers all questions of all benchmarks, and forces answers at each budget in `budgets`.

    All of it is one queue: a reply's answers are asked as soon as it is there, while the model
    still has its tokens cached and other replies go on. `on_reply(tokens, forced)` is called for
    each reply with the tokens decoded for it (0 if it was stored), and whether it is an answer at a
    budget; `on_tokens` is the engine's. `closing` names what ends the thinking at a budget
    (`lrm.generation.budgets.CLOSINGS`); `system` is the system's message of the chat track.
    """
    # 1) A prompt for each sample of each question: its longest reply.
    reserved_tokens = views.reserved_tokens(budgets, decoding, closing)
    asked = {
        ReplyKey(benchmark.name, question.id, sample): replace(
            fresh(question, track, decoding, benchmark.name, sample, system),
            reserved_tokens=reserved_tokens,
            open_tokens=views.open_tokens(budgets),
        )
        for benchmark, questions in benchmarks.items()
        for question in questions
        for sample in range(decoding.samples)
    }

    # 2) What follows from a reply: an answer at each budget that its thinking exceeds.
    def forced(key: ReplyKey, reply: Completion) -> dict[ReplyKey, Prompt]:
        if key.budget is not None:
            return {}
        return {
            key._replace(budget=budget): views.forced(
                asked[key],
                reply,
                budget,
                seed=seed_of(decoding.seed, *key[:3], "force", budget),
                answer_tokens=decoding.answer_tokens,
                closing=closing,
            )
            for budget in sorted(budgets, reverse=True)
            if not views.fits(reply, budget)
        }

    def arrived(key: ReplyKey, tokens: int) -> None:
        on_reply(tokens, key.budget is not None)

    # 3) Stored replies are found again; the engine decodes the others, and what follows from them.
    replies = cache.replies(asked, decoding, engine, arrived, forced, on_tokens)

    return [
        Evaluation(benchmark, tuple(questions), decoding, tuple(budgets), replies)
        for benchmark, questions in benchmarks.items()
    ]
