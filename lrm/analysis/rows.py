"""From stored rows (`generations/<benchmark>.jsonl.gz`) to grids, at every budget.

A row without a budget holds the longest generation, a row with one the answer forced there. A reply
whose thinking fits a budget is taken as it is (`lrm.budgets.fits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from lrm.analysis.grid import Grid
from lrm.budgets import fits, truncated
from lrm.errors import BadInput
from lrm.records import Completion, Policy
from lrm.replies import THINK_CLOSE
from lrm.scores import Unit
from lrm.tables import some

NUMBERS = np.dtype(
    [(name, np.float32) for name in ("score", "tokens", "thinking")]
    + [(name, np.bool_) for name in ("closed", "truncated", "looped", "forced", "answered")]
)
"""The arrays of a grid."""


class Reply(NamedTuple):
    """One stored reply without its text."""

    score: float
    completion: Completion
    answered: bool
    forced: bool = False


@dataclass
class Replies:
    """All stored replies of one run to one benchmark.

    `longest` and `forced[budget]` are by question and sample number; `groups` by question, in the
    order in which questions came.
    """

    benchmark: str = ""
    unit: Unit = "tokens"
    groups: dict[str, str] = field(default_factory=dict)
    longest: dict[tuple[str, int], Reply] = field(default_factory=dict)
    forced: dict[int, dict[tuple[str, int], Reply]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes one row. Raises BadInput if it is there already, or holds no sound score."""
        place = (str(row["question"]), int(row["sample"]))
        budget = row.get("budget")
        self.benchmark = self.benchmark or row["benchmark"]
        if row["benchmark"] != self.benchmark:
            raise BadInput(
                f"The rows mix {self.benchmark} and {row['benchmark']}: give one at a time."
            )
        known = self.longest if budget is None else self.forced.setdefault(int(budget), {})
        if place in known:
            told = "" if budget is None else f" at budget {budget}"
            raise BadInput(
                f"Question {place[0]} of {self.benchmark}, sample {place[1]}, stands twice{told}: "
                "the file of generations is damaged, or two runs were joined."
            )
        self.groups.setdefault(place[0], str(row.get("group") or ""))
        known[place] = _reply(row, self.unit, budget is not None)

    def missing(self, budget: int) -> str | None:
        """One sentence that says which answers forced at this budget are not there; None if all."""
        known = self.forced.get(budget, {})
        lacking = [
            place
            for place, reply in self.longest.items()
            if not fits(reply.completion, budget) and place not in known
        ]
        if not lacking:
            return None
        ids = list(dict.fromkeys(question for question, _ in lacking))
        return (
            f"{len(lacking)} of {len(self.longest)} replies to {self.benchmark} have no answer at "
            f"budget {budget} (questions {some(ids)}): the run is unfinished, or never asked at "
            "that budget; let it finish, or leave the budget out."
        )

    def grid(self, budget: int | None = None, policy: Policy = "force") -> Grid:
        """The view under a budget. Raises BadInput where answers that it needs are missing."""
        if not self.longest:
            raise BadInput(
                f"{self.benchmark or 'The file'} holds no longest generation: the run is "
                "unfinished; let it finish."
            )
        if budget is None:
            return self._arrays(self.longest)
        if policy == "force" and (sentence := self.missing(budget)):
            raise BadInput(sentence)
        answers = self.forced.get(budget, {})
        seen = {}
        for place, reply in self.longest.items():
            if fits(reply.completion, budget):
                seen[place] = reply
            elif policy == "truncate":
                seen[place] = Reply(0.0, truncated(reply.completion, budget), answered=False)
            else:
                seen[place] = answers[place]
        return self._arrays(seen)

    def _arrays(self, replies: Mapping[tuple[str, int], Reply]) -> Grid:
        samples: dict[str, list[int]] = {}
        for question, sample in replies:
            samples.setdefault(question, []).append(sample)
        ids = [question for question in self.groups if question in samples]
        shape = len(ids), max(map(len, samples.values()))
        at = np.array([(i, j) for i, q in enumerate(ids) for j in range(len(samples[q]))]).T
        ordered = [replies[q, sample] for q in ids for sample in sorted(samples[q])]

        table = np.zeros(shape, NUMBERS)
        table["score"] = np.nan
        table[at[0], at[1]] = np.array([_numbers(reply) for reply in ordered], NUMBERS)
        return Grid(
            questions=tuple(ids),
            groups=tuple(self.groups[question] for question in ids),
            **{name: table[name].copy() for name in NUMBERS.names or ()},
        )


def _numbers(reply: Reply) -> tuple[float, ...]:
    """What a grid holds of a reply, in the order of NUMBERS."""
    score, completion, answered, forced = reply
    return (
        score,
        completion.tokens,
        completion.thinking_tokens,
        completion.closed,
        completion.stop == "length",
        completion.looped,
        forced,
        answered,
    )


def collect(rows: Iterable[Mapping[str, Any]], unit: Unit = "tokens") -> Replies:
    """Reads the rows of one benchmark once; texts and token ids are let go."""
    replies = Replies(unit=unit)
    for row in rows:
        replies.add(row)
    return replies


def grids(
    rows: Iterable[Mapping[str, Any]],
    budgets: Sequence[int] = (),
    policy: Policy = "force",
    unit: Unit = "tokens",
) -> dict[int | None, Grid]:
    """A grid for each budget, and under None that of the longest generations.

    `rows` are those of one benchmark, as a run stores them. Raises BadInput for a score that is NaN
    or outside [0, 1], for a reply that stands twice, and for forced answers that are missing.
    """
    replies = collect(rows, unit)
    return {budget: replies.grid(budget, policy) for budget in (None, *budgets)}


def unit_of(rows: Iterable[Mapping[str, Any]]) -> Unit:
    """What lengths can be counted in: words where some row does not know its tokens."""
    return "words" if any(row.get("tokens") is None for row in rows) else "tokens"


def lengths(row: Mapping[str, Any], unit: Unit) -> tuple[int, int]:
    """Lengths of a stored reply's thinking and of what follows it.

    Where the share of the thinking is not known, all counts as thinking.
    """
    if unit == "words":
        thinking, tag, rest = row["text"].partition(THINK_CLOSE)
        return len(thinking.split()), len((tag + rest).split())
    if row.get("tokens") is None:
        raise BadInput(
            f"Question {row['question']} of {row['benchmark']} has no token count: count in words."
        )
    thinking_tokens = row.get("thinking_tokens")
    if thinking_tokens is None:
        return int(row["tokens"]), 0
    return int(thinking_tokens), int(row["tokens"]) - int(thinking_tokens)


def _reply(row: Mapping[str, Any], unit: Unit, forced: bool) -> Reply:
    score = row["score"]
    if not isinstance(score, int | float) or not isfinite(score) or not 0 <= score <= 1:
        raise BadInput(
            f"The score of question {row['question']} of {row['benchmark']}, sample "
            f"{row['sample']}, is {score!r}, not a number from 0 to 1: grade the run again."
        )
    thinking, answer = lengths(row, unit)
    completion = Completion(
        token_ids=(),
        text="",
        prompt_ids=(),
        thinking_tokens=thinking,
        answer_tokens=answer,
        closed=row["closed"],
        stop=row["stop"],
        looped=row["looped"],
    )
    return Reply(float(score), completion, row["answer"] is not None, forced)
