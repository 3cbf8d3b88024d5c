"""From graded replies to the numbers that a run logs and a report shows. There is no other way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lrm.records.point import Budget, Interval, Unit
from lrm.records.question import Rule, Truncation
from lrm.scoring.grid import Grid
from lrm.scoring.pass_at_k import majority, pass_at_k, sizes
from lrm.scoring.replies import METRIC, RULES, Floats, Replies
from lrm.scoring.truncation import wrong_for_length
from lrm.stats import intervals

Tables = Mapping[str, Floats]
"""Columns of `Replies.tables`, each [questions, samples]."""


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


def accuracy(grid: Grid) -> Interval:
    """The headline accuracy, over questions and their samples."""
    return intervals.accuracy(grid.padded(grid.score))


def tokens(grid: Grid) -> Interval:
    """Mean length of a whole reply, in the unit of the grid."""
    return intervals.mean(grid.padded(grid.tokens))


def share(grid: Grid, flags: NDArray[np.bool_]) -> Interval:
    """Share of replies that have a flag, over questions and their samples."""
    return intervals.accuracy(grid.padded(flags))


def score(replies: Replies, budget: Budget | None = None, unit: Unit = "tokens") -> Score:
    """Scores the replies to one benchmark under a budget (None: the longest generations).

    `unit` is what their lengths are counted in. Raises BadInput as `Replies.tables` does.
    """
    tables = replies.tables(budget)
    grid = replies.as_grid(tables)
    rules = [rule for rule in sorted(RULES) if (tables[f"{rule}/given"] == 1).any()]
    metrics = _lengths(grid, unit) | _shares(grid, tables, rules)
    metrics |= _further(grid, tables, replies.metrics) | _repeated(grid, tables["vote"])
    return Score(
        accuracy=accuracy(grid),
        tokens=tokens(grid),
        per_question=tuple(grid.per_question(grid.score).tolist()),
        readings=_readings(grid, tables, rules),
        metrics=metrics,
    )


def logged(scores: Mapping[str, Score], unit: Unit = "tokens") -> dict[str, float]:
    """All numbers of several benchmarks, by the names they are logged under.

    Those over all benchmarks come first, each benchmark counting the same; then those of each.
    """
    overall = intervals.average([item.accuracy for item in scores.values()])
    length = intervals.average([item.tokens for item in scores.values()])
    values = interval("accuracy", overall) | {f"{unit}/mean": length.value}
    values |= {f"{unit}/low": length.low, f"{unit}/high": length.high}
    for name, item in scores.items():
        values |= interval(f"accuracy/{name}", item.accuracy) | {
            f"{unit}/{name}": item.tokens.value
        }
        values |= {f"{metric}/{name}": value for metric, value in item.metrics.items()}
        values |= {
            f"accuracy/{name}/{reading}": estimate.value
            for reading, estimate in item.readings.items()
        }
    shared = set.intersection(*(set(item.metrics) for item in scores.values()))
    for metric in sorted(shared):
        values[metric] = sum(item.metrics[metric] for item in scores.values()) / len(scores)
    return values


def interval(name: str, estimate: Interval) -> dict[str, float]:
    """An estimate and its bounds, by the names they are logged under."""
    return {name: estimate.value, f"{name}/low": estimate.low, f"{name}/high": estimate.high}


def _mean(grid: Grid, values: NDArray[np.generic]) -> float:
    """The mean over questions of their means over samples."""
    return float(grid.per_question(values).mean())


def _lengths(grid: Grid, unit: Unit) -> dict[str, float]:
    whole = grid.tokens[grid.present].astype(np.float64)
    return {
        f"{unit}/p50": float(np.percentile(whole, 50)),
        f"{unit}/p95": float(np.percentile(whole, 95)),
        f"{unit}/thinking": _mean(grid, grid.thinking),
        f"{unit}/answer": _mean(grid, grid.tokens - grid.thinking),
    }


def _shares(grid: Grid, tables: Tables, rules: list[Rule]) -> dict[str, float]:
    """How replies ended, whatever their score; "unanswered" replies hold no answer, cut or
    not."""
    return {
        "share/forced": _mean(grid, grid.forced),
        "share/truncated": _mean(grid, grid.truncated),
        "share/unclosed": _mean(grid, ~grid.closed),
        "share/looping": _mean(grid, grid.looped),
        "share/unanswered": _mean(grid, ~grid.answered),
        **{
            f"share/unanswered/{rule}": _mean(grid, 1 - tables[f"{rule}/answered"])
            for rule in rules
        },
    }


def _readings(grid: Grid, tables: Tables, rules: list[Rule]) -> dict[str, Interval]:
    """The accuracy under each extraction rule and truncation policy."""
    return {
        f"{rule}/{policy}": intervals.accuracy(_counted(grid, tables[rule], policy))
        for rule in rules
        for policy in get_args(Truncation)
    }


def _counted(grid: Grid, scores: Floats, policy: Truncation = "truncated-is-wrong") -> Floats:
    """The scores that count under a policy."""
    return np.where(grid.truncated, 0.0, scores) if wrong_for_length(True, policy) else scores


def _further(grid: Grid, tables: Tables, columns: tuple[str, ...]) -> dict[str, float]:
    """The benchmark's own further metrics, and the accuracy of each group of questions."""
    numbers = {}
    for column in sorted(columns):
        given = ~np.isnan(tables[column])
        if given.any():
            values = _counted(grid, np.where(given, tables[column], 0.0))
            numbers[column.removeprefix(METRIC)] = _mean(grid, values)
    per_question = grid.per_question(grid.score)
    for group in sorted(set(grid.groups) - {""}):
        asked = np.array([other == group for other in grid.groups])
        numbers[f"accuracy/{group}"] = float(per_question[asked].mean())
    return numbers


def _repeated(grid: Grid, votes: Floats) -> dict[str, float]:
    """pass@k and maj@k, under names that MLflow allows; none where a question has one sample.

    maj@k is over as many samples as every question has.
    """
    counts = grid.present.sum(axis=1).tolist()
    samples = min(counts)
    if samples == 1:
        return {}
    correct = (grid.score == 1).sum(axis=1).tolist()
    numbers = {
        f"pass_at_{k}": float(
            np.mean([pass_at_k(n, c, k) for n, c in zip(counts, correct, strict=True)])
        )
        for k in sizes(samples)
    }
    # A row holds a question's samples from the left, so every question has the first ones.
    voted = [[None if vote < 0 else vote for vote in row] for row in votes[:, :samples].tolist()]
    chosen = [majority(row) for row in voted]
    majorities = [
        0.0 if index is None else float(scores[index])
        for index, scores in zip(chosen, grid.score, strict=True)
    ]
    return numbers | {f"maj_at_{samples}": float(np.mean(majorities))}
