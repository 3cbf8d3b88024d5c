"""Questions in, an Evaluation out: every reply, and every smaller budget as a view of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrm import budgets as views
from lrm.contracts import Benchmark, Engine
from lrm.records import Budget, Completion, Decoding, Grade, Prompt, Question, Track
from lrm.store import Generations


@dataclass(frozen=True, slots=True)
class Item:
    """One reply to one question under one budget, graded on what is there (`lrm.judging` says what
    counts). `forced`: the budget ended its thinking."""

    question: Question
    sample: int
    completion: Completion
    grade: Grade
    forced: bool = False


@dataclass(frozen=True)
class Evaluation:
    """A benchmark's questions answered by one checkpoint.

    `replies` holds the longest generation per (question id, sample), `answers` the forced answer
    per (question id, sample, budget) where the reply did not fit.
    """

    benchmark: Benchmark
    questions: tuple[Question, ...]
    decoding: Decoding
    replies: Mapping[tuple[str, int], Completion]
    answers: Mapping[tuple[str, int, int], Completion]

    def at(self, budget: Budget) -> list[Item]:
        """The same evaluation under a smaller budget, questions in order, samples within."""
        return [self._item(*place, budget) for place in self._places()]

    def _places(self) -> Iterator[tuple[Question, int]]:
        for question in self.questions:
            for sample in range(self.decoding.samples):
                yield question, sample

    def _item(self, question: Question, sample: int, budget: Budget) -> Item:
        reply = self.replies[question.id, sample]
        if views.fits(reply, budget.tokens):
            return Item(question, sample, reply, self.benchmark.grade(question, reply))
        if budget.policy == "truncate":
            return Item(question, sample, views.truncated(reply, budget.tokens), Grade(None, 0.0))
        answer = self.answers[question.id, sample, budget.tokens]
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
    store: Generations,
    engine: Engine,
    on_reply: Callable[[int], None] = lambda tokens: None,
    track: Track = "paper",
    closing: str = "plain",
) -> list[Evaluation]:
    """Answers all questions of all benchmarks, then forces answers at each budget in `budgets`.

    Both passes are one queue over all benchmarks. `on_reply(tokens)` is called for each reply
    with the tokens decoded for it (0 if it was stored). `closing` names the text that ends the
    thinking at a budget (`lrm.budgets.CLOSINGS`).
    """
    places = [
        (benchmark, question, sample)
        for benchmark, questions in benchmarks.items()
        for question in questions
        for sample in range(decoding.samples)
    ]
    asked = {
        (benchmark, question, sample): fresh(
            question,
            track,
            seed_of(decoding.seed, benchmark.name, question.id, sample),
            decoding.max_tokens,
        )
        for benchmark, question, sample in places
    }
    first = store.replies(list(asked.values()), decoding, engine, on_reply)
    replies = dict(zip(asked, first, strict=True))
    cuts = [
        (place, budget)
        for place, reply in replies.items()
        for budget in budgets
        if not views.fits(reply, budget)
    ]
    closed = [
        views.forced(
            asked[place],
            replies[place],
            budget,
            seed=seed_of(decoding.seed, place[0].name, place[1].id, place[2], "force", budget),
            answer_tokens=decoding.answer_tokens,
            closing=closing,
        )
        for place, budget in cuts
    ]
    answers = dict(zip(cuts, store.replies(closed, decoding, engine, on_reply), strict=True))
    return [
        Evaluation(
            benchmark,
            tuple(questions),
            decoding,
            {(q.id, s): reply for (b, q, s), reply in replies.items() if b is benchmark},
            {(q.id, s, n): answer for ((b, q, s), n), answer in answers.items() if b is benchmark},
        )
        for benchmark, questions in benchmarks.items()
    ]
