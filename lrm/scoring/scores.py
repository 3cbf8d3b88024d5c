"""From graded replies to the numbers a run logs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import get_args

import numpy as np

from lrm.generation.evaluate import Item
from lrm.records import Interval, Mark, Rule, Truncation, Unit
from lrm.scoring import pass_at_k as repeats
from lrm.scoring.truncation import TRUNCATION, judge, wrong_for_length
from lrm.stats import intervals


@dataclass(frozen=True, slots=True)
class Score:
    """A benchmark under one budget.

    `accuracy` is the headline: the benchmark's own extraction rule, and a truncated reply is wrong.
    `readings` has the accuracy under each rule and truncation policy, by "rule/policy".
    `per_question` is the mean score of each question, in order; `metrics` are further numbers by
    the name under which they are logged: means and percentiles of length, shares of replies, and
    pass@k and maj@k where questions were sampled several times.
    """

    accuracy: Interval
    tokens: Interval
    per_question: tuple[float, ...]
    readings: Mapping[str, Interval]
    metrics: Mapping[str, float]


def score(items: Iterable[Item], unit: Unit = "tokens") -> Score:
    """Scores one benchmark's items, which come question by question.

    `unit` is what the lengths of the replies are counted in.
    """
    light = (item.light() for item in items)
    rows = Rows([list(group) for _, group in groupby(light, key=lambda item: item.question.id)])
    marks = [[_mark(item) for item in row] for row in rows.rows]
    metrics = rows.lengths(unit) | rows.shares() | rows.further()
    return Score(
        accuracy=intervals.accuracy([[mark.score for mark in row] for row in marks]),
        tokens=intervals.mean(rows.each(lambda item: item.completion.tokens)),
        per_question=tuple(float(np.mean([mark.score for mark in row])) for row in marks),
        readings=rows.readings(),
        metrics=metrics | _repeated(marks),
    )


def logged(scores: Mapping[str, Score], unit: Unit = "tokens") -> dict[str, float]:
    """All numbers of several benchmarks by the names they are logged under: over all, each
    benchmark counting the same, and for each."""
    accuracy = intervals.average([one.accuracy for one in scores.values()])
    tokens = intervals.average([one.tokens for one in scores.values()])
    values = interval("accuracy", accuracy) | {f"{unit}/mean": tokens.value}
    values |= {f"{unit}/low": tokens.low, f"{unit}/high": tokens.high}
    for name, one in scores.items():
        values |= interval(f"accuracy/{name}", one.accuracy) | {f"{unit}/{name}": one.tokens.value}
        values |= {f"{metric}/{name}": value for metric, value in one.metrics.items()}
        values |= {
            f"accuracy/{name}/{reading}": found.value for reading, found in one.readings.items()
        }
    shared = set.intersection(*(set(one.metrics) for one in scores.values()))
    for metric in sorted(shared):
        values[metric] = sum(one.metrics[metric] for one in scores.values()) / len(scores)
    return values


def interval(name: str, found: Interval) -> dict[str, float]:
    """An estimate and its bounds, by the names they are logged under."""
    return {name: found.value, f"{name}/low": found.low, f"{name}/high": found.high}


@dataclass(frozen=True, slots=True)
class Rows:
    """The items of a benchmark, one row a question."""

    rows: Sequence[Sequence[Item]]

    def each(self, value: Callable[[Item], float]) -> list[list[float]]:
        return [[float(value(item)) for item in row] for row in self.rows]

    def overall(self, value: Callable[[Item], float]) -> float:
        return _mean(self.each(value))

    def lengths(self, unit: Unit) -> dict[str, float]:
        whole = [length for row in self.each(lambda item: item.completion.tokens) for length in row]
        return {
            f"{unit}/p50": float(np.percentile(whole, 50)),
            f"{unit}/p95": float(np.percentile(whole, 95)),
            f"{unit}/thinking": self.overall(lambda item: item.completion.thinking_tokens),
            f"{unit}/answer": self.overall(lambda item: item.completion.answer_tokens),
        }

    def shares(self) -> dict[str, float]:
        """How replies ended, whatever they score; "unanswered" counts what is there."""
        found = {
            "share/forced": self.overall(lambda item: item.forced),
            "share/truncated": self.overall(lambda item: item.completion.stop == "length"),
            "share/unclosed": self.overall(lambda item: not item.completion.closed),
            "share/looping": self.overall(lambda item: item.completion.looped),
            "share/unanswered": self.overall(lambda item: item.grade.answer is None),
        }
        for rule in self._rules:
            unanswered = [
                [_mark(item, rule, "grade-what-is-there").answer is None for item in row]
                for row in self.rows
            ]
            found[f"share/unanswered/{rule}"] = _mean(unanswered)
        return found

    def readings(self) -> dict[str, Interval]:
        return {
            f"{rule}/{policy}": intervals.accuracy(
                [[_mark(item, rule, policy).score for item in row] for row in self.rows]
            )
            for rule in self._rules
            for policy in get_args(Truncation)
        }

    def further(self) -> dict[str, float]:
        """The benchmark's own further metrics, and the accuracy of each group of questions."""
        names = {name for row in self.rows for item in row for name in item.grade.also}
        groups = {row[0].question.group for row in self.rows} - {""}
        found = {}
        for name in sorted(names):
            found[name] = _mean([[_also(item, name) for item in row] for row in self.rows])
        for group in sorted(groups):
            asked = [row for row in self.rows if row[0].question.group == group]
            found[f"accuracy/{group}"] = _mean(
                [[_mark(item).score for item in row] for row in asked]
            )
        return found

    @property
    def _rules(self) -> list[Rule]:
        return sorted({rule for row in self.rows for item in row for rule in item.grade.marks})


def _mark(item: Item, rule: Rule | None = None, truncation: Truncation = TRUNCATION) -> Mark:
    return judge(item.grade, item.completion, rule, truncation)


def _also(item: Item, name: str) -> float:
    return 0.0 if wrong_for_length(item.completion) else item.grade.also.get(name, 0.0)


def _mean(rows: Sequence[Sequence[float]]) -> float:
    """The mean over questions of their means over samples."""
    return float(np.mean([np.mean(row) for row in rows]))


def _repeated(marks: Sequence[Sequence[Mark]]) -> dict[str, float]:
    """pass@k and maj@k, in the names that MLflow allows, over what every question was sampled."""
    samples = min(map(len, marks))
    if samples == 1:
        return {}
    right = [sum(mark.score == 1 for mark in row) for row in marks]
    found = {
        f"pass_at_{k}": float(
            np.mean(
                [
                    repeats.pass_at_k(len(row), count, k)
                    for row, count in zip(marks, right, strict=True)
                ]
            )
        )
        for k in repeats.sizes(samples)
    }
    majorities = [repeats.majority(row[:samples]).score for row in marks]
    return found | {f"maj_at_{samples}": float(np.mean(majorities))}
