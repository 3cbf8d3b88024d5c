"""Questions in, an Evaluation out: every reply, and every smaller budget as a view of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lrm.contracts import Benchmark, Engine
from lrm.generation import budgets as views
from lrm.generation.reply_cache import ReplyCache
from lrm.records import Budget, Completion, Decoding, Grade, Prompt, Question, Track


@dataclass(frozen=True, slots=True)
class Item:
    """One reply to one question under one budget, graded on what is there (`lrm.scoring.truncation`
    says what counts). `forced`: the budget ended its thinking."""

    question: Question
    sample: int
    completion: Completion
    grade: Grade
    forced: bool = False

    def light(self) -> Item:
        """The same without the reply's text and token ids."""
        return replace(self, completion=self.completion.light())


class ReplyKey(NamedTuple):
    """Which reply: to a benchmark's question, in a sample, at a budget or (None) at its longest."""

    benchmark: str
    question: str
    sample: int
    budget: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """A benchmark's questions answered by one checkpoint.

    `replies` holds the longest generations, and the answers at each of `budgets` that they did not
    fit; it may read each from disk when it is asked for, so items come one at a time.
    """

    benchmark: Benchmark
    questions: tuple[Question, ...]
    decoding: Decoding
    budgets: tuple[int, ...]
    replies: Mapping[ReplyKey, Completion]

    def at(self, budget: Budget) -> Iterator[Item]:
        """The same evaluation under a smaller budget, questions in order, samples within."""
        for question, place in self._longest():
            yield self._item(question, place, budget)

    def generations(self) -> Iterator[tuple[Question, ReplyKey, Completion]]:
        """Every reply, each longest one followed by its answers at smaller budgets."""
        for question, place in self._longest():
            for budget in (None, *self.budgets):
                at = place._replace(budget=budget)
                if at in self.replies:
                    yield question, at, self.replies[at]

    def _longest(self) -> Iterator[tuple[Question, ReplyKey]]:
        for question in self.questions:
            for sample in range(self.decoding.samples):
                yield question, ReplyKey(self.benchmark.name, question.id, sample)

    def _item(self, question: Question, place: ReplyKey, budget: Budget) -> Item:
        sample, reply = place.sample, self.replies[place]
        if views.fits(reply, budget.tokens):
            return Item(question, sample, reply, self.benchmark.grade(question, reply))
        if budget.policy == "truncate":
            return Item(question, sample, views.truncated(reply, budget.tokens), Grade(None, 0.0))
        answer = self.replies[place._replace(budget=budget.tokens)]
        return Item(question, sample, answer, self.benchmark.grade(question, answer), forced=True)


def seed_of(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on nothing but its parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def fresh(question: Question, track: Track, seed: int, max_tokens: int) -> Prompt:
    """A question on a track: the paper's exact text, or a message for the chat template."""
    if track == "chat":
        return Prompt(question.message, seed, max_tokens, chat=True)
    return Prompt(question.prompt, seed, max_tokens)


def evaluate(
    benchmarks: Mapping[Benchmark, Sequence[Question]],
    decoding: Decoding,
    budgets: Sequence[int],
    store: ReplyCache,
    engine: Engine,
    on_reply: Callable[[int, bool], None] = lambda tokens, forced: None,
    track: Track = "paper",
    closing: str = "plain",
) -> list[Evaluation]:
    """Answers all questions of all benchmarks, and forces answers at each budget in `budgets`.

    All of it is one queue: a reply's answers are asked as soon as it is there, while the model
    still has its tokens cached and other replies go on. `on_reply(tokens, forced)` is called for
    each reply with the tokens decoded for it (0 if it was stored), and whether it is an answer at a
    budget. `closing` names what ends the thinking at a budget (`lrm.generation.budgets.CLOSINGS`).
    """
    reserved_tokens = views.reserved_tokens(budgets, decoding, closing)
    asked = {
        ReplyKey(benchmark.name, question.id, sample): replace(
            fresh(
                question,
                track,
                seed_of(decoding.seed, benchmark.name, question.id, sample),
                decoding.max_tokens,
            ),
            reserved_tokens=reserved_tokens,
        )
        for benchmark, questions in benchmarks.items()
        for question in questions
        for sample in range(decoding.samples)
    }

    def forced(place: ReplyKey, reply: Completion) -> dict[ReplyKey, Prompt]:
        if place.budget is not None:
            return {}
        return {
            place._replace(budget=budget): views.forced(
                asked[place],
                reply,
                budget,
                seed=seed_of(decoding.seed, *place[:3], "force", budget),
                answer_tokens=decoding.answer_tokens,
                closing=closing,
            )
            for budget in sorted(budgets, reverse=True)
            if not views.fits(reply, budget)
        }

    def told(place: ReplyKey, tokens: int) -> None:
        on_reply(tokens, place.budget is not None)

    replies = store.replies(asked, decoding, engine, told, forced)
    return [
        Evaluation(benchmark, tuple(questions), decoding, tuple(budgets), replies)
        for benchmark, questions in benchmarks.items()
    ]
