"""One level of compression: compressed, evaluated, and turned into the numbers that are logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from lrm.generation.evaluate import Evaluation, Item
from lrm.records import Budget, Checkpoint, Format, LevelKey, Point, Policy, Rule
from lrm.scoring.scores import Score, interval, logged, score
from lrm.scoring.truncation import judge
from lrm.stats import intervals

HEADLINE: Policy = "force"


@dataclass(frozen=True)
class Level:
    """A checkpoint at one level, with every benchmark's evaluation and all budgets in it.

    `loaded_as` is how its weights were stored when the engine loaded them: converted, or unpacked,
    where the engine does not run them as they are.
    """

    key: LevelKey
    checkpoint: Checkpoint
    evaluations: Sequence[Evaluation]
    budgets: Sequence[int]
    loaded_as: Format = "dense"
    _scores: dict[Budget, dict[str, Score]] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """The sparsity asked for: none where the levels are recipes."""
        return 0.0 if isinstance(self.key, str) else self.key

    @property
    def achieved(self) -> float | None:
        """The share of zeros that was measured; None where weights are packed, or not here."""
        return self.checkpoint.measured.get("sparsity/achieved")

    def scores(self, budget: Budget) -> Mapping[str, Score]:
        """Scores by benchmark."""
        if budget not in self._scores:
            self._scores[budget] = {
                evaluation.benchmark.name: score(evaluation.at(budget))
                for evaluation in self.evaluations
            }
        return self._scores[budget]

    def point(self, budget: Budget) -> Point:
        """The mean over benchmarks, as one point of the plane, not yet recorded in a run."""
        scores = self.scores(budget).values()
        return Point(
            sparsity=self.sparsity,
            sparsity_achieved=self.achieved,
            budget=budget,
            accuracy=intervals.average([score.accuracy for score in scores]),
            tokens=intervals.average([score.tokens for score in scores]),
            run_id="",
            level=self.key if isinstance(self.key, str) else "",
            weights_bytes=self.checkpoint.measured.get("weights/bytes"),
        )

    def curves(self) -> dict[str, dict[int, float]]:
        """Every metric over the budgets: the headline policy's by plain name, the other's under
        its own."""
        curves: dict[str, dict[int, float]] = {}
        for policy in get_args(Policy):
            prefix = "" if policy == HEADLINE else f"{policy}/"
            for tokens in self.budgets:
                for name, value in self.metrics(Budget(tokens, policy)).items():
                    curves.setdefault(prefix + name, {})[tokens] = value
        return curves

    def metrics(self, budget: Budget) -> dict[str, float]:
        """One budget's numbers, over all benchmarks and for each."""
        return logged(self.scores(budget))

    @property
    def summary(self) -> dict[str, float]:
        """What does not depend on the budget."""
        return {**self.checkpoint.measured, "config/sparsity": self.sparsity}


def objectives(point: Point) -> dict[str, float]:
    """A point's numbers under the names they are logged by."""
    return interval("accuracy", point.accuracy) | {
        "tokens/mean": point.tokens.value,
        "tokens/low": point.tokens.low,
        "tokens/high": point.tokens.high,
    }


def generation_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Every reply and every forced answer of a benchmark, as JSON rows that can be graded again.

    `budget` is null for the longest generation, else the budget whose forced answer it is.
    """
    for question, place, reply in evaluation.generations():
        grade = evaluation.benchmark.grade(question, reply)
        yield sample_row(place.benchmark, Item(question, place.sample, reply, grade)) | {
            "budget": place.budget,
            "prompt": question.prompt,
            "gold": list(question.gold),
            "prompt_ids": list(reply.prompt_ids),
            "token_ids": list(reply.token_ids),
            "given": reply.given,
        }


def sample_row(benchmark: str, item: Item) -> dict[str, Any]:
    """One reply as people read it: its score, and the answer that each extraction rule finds."""
    reply = item.completion
    return {
        "benchmark": benchmark,
        "question": item.question.id,
        "group": item.question.group,
        "sample": item.sample,
        "score": judge(item.grade, reply).score,
        "answer": item.grade.answer,
        "strict": _read(item, "strict"),
        "lenient": _read(item, "lenient"),
        "tokens": reply.tokens,
        "thinking_tokens": reply.thinking_tokens,
        "answer_tokens": reply.answer_tokens,
        "closed": reply.closed,
        "stop": reply.stop,
        "looped": reply.looped,
        "text": reply.text,
    }


def _read(item: Item, rule: Rule) -> str | None:
    return judge(item.grade, item.completion, rule, "grade-what-is-there").answer
