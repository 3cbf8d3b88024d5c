"""From stored rows (`generations/<benchmark>.jsonl.gz`) to grids, at every budget.

A row without a budget holds the longest generation, a row with one the answer forced there. A reply
whose thinking fits a budget is taken as it is (`lrm.generation.budgets.ends_at`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrm.errors import BadInput
from lrm.generation.budgets import ends_at
from lrm.records import THINK_CLOSE, Policy, Unit
from lrm.scoring.grid import Grid
from lrm.tables import some

NUMBERS = np.dtype(
    [(name, np.float32) for name in ("score", "tokens", "thinking")]
    + [(name, np.bool_) for name in ("closed", "truncated", "looped", "forced", "answered")]
)
"""The arrays of a grid, of each reply."""

Numbers = tuple[float, ...]
"""What NUMBERS has of one reply."""

Place = tuple[str, int]
"""A question and the number of one of its samples."""


@dataclass(frozen=True)
class Replies:
    """All stored replies of one run to one benchmark, without their texts.

    `longest` has the longest generations [replies] at `places`: question by question, in the order
    in which questions came, and sample by sample. `present` [questions, samples] says where in a
    grid they stand, `ends` [replies] which budget they fit (`lrm.generation.budgets.ends_at`).
    `forced[budget]` has the answers forced at a budget.
    """

    benchmark: str
    questions: tuple[str, ...]
    groups: tuple[str, ...]
    present: NDArray[np.bool_]
    places: Sequence[Place]
    longest: NDArray[np.void]
    ends: NDArray[np.float64]
    forced: Mapping[int, Mapping[Place, Numbers]]

    def beyond(self, budget: int) -> list[int]:
        """Where in `longest` a thinking does not fit the budget."""
        return [int(i) for i in np.flatnonzero(self.ends > budget)]

    def missing(self, budget: int) -> str | None:
        """One sentence that says which answers forced at this budget are not there; None if all."""
        known = self.forced.get(budget, {})
        lacking = [self.places[i] for i in self.beyond(budget) if self.places[i] not in known]
        if not lacking:
            return None
        ids = list(dict.fromkeys(question for question, _ in lacking))
        return (
            f"{len(lacking)} of {len(self.places)} replies to {self.benchmark} have no answer at "
            f"budget {budget} (questions {some(ids)}): the run is unfinished, or never asked at "
            "that budget; let it finish, or leave the budget out."
        )

    def grid(self, budget: int | None = None, policy: Policy = "force") -> Grid:
        """The view under a budget. Raises BadInput where answers that it needs are missing."""
        if not self.places:
            raise BadInput(
                f"{self.benchmark or 'The file'} holds no longest generation: the run is "
                "unfinished; let it finish."
            )
        if budget is None:
            return self._grid(self.longest)
        if policy == "force" and (sentence := self.missing(budget)):
            raise BadInput(sentence)
        seen, beyond = self.longest.copy(), self.beyond(budget)
        if policy == "truncate":
            cut = {"tokens": budget, "thinking": budget, "truncated": True}
            seen[beyond] = tuple(cut.get(name, 0) for name in NUMBERS.names or ())
        else:
            answers = self.forced.get(budget, {})
            seen[beyond] = [answers[self.places[i]] for i in beyond]
        return self._grid(seen)

    def _grid(self, seen: NDArray[np.void]) -> Grid:
        """`seen` [replies] laid out, one row a question."""
        table = np.zeros(self.present.shape, NUMBERS)
        table["score"] = np.nan
        table[self.present] = seen
        arrays = {name: table[name].copy() for name in NUMBERS.names or ()}
        return Grid(self.questions, self.groups, **arrays)


def collect(rows: Iterable[Mapping[str, Any]], unit: Unit = "tokens") -> Replies:
    """Reads the rows of one benchmark once; texts and token ids are let go.

    Raises BadInput for a reply that is there already, or holds no sound score.
    """
    benchmark = ""
    groups: dict[str, str] = {}
    longest: dict[Place, Numbers] = {}
    forced: dict[int, dict[Place, Numbers]] = {}
    for row in rows:
        place = str(row["question"]), int(row["sample"])
        budget = row.get("budget")
        benchmark = benchmark or row["benchmark"]
        if row["benchmark"] != benchmark:
            raise BadInput(f"The rows mix {benchmark} and {row['benchmark']}: give one at a time.")
        known = longest if budget is None else forced.setdefault(int(budget), {})
        if place in known:
            told = "" if budget is None else f" at budget {budget}"
            raise BadInput(
                f"Question {place[0]} of {benchmark}, sample {place[1]}, stands twice{told}: "
                "the file of generations is damaged, or two runs were joined."
            )
        groups.setdefault(place[0], str(row.get("group") or ""))
        known[place] = _numbers(row, unit, budget is not None)
    rank = {question: i for i, question in enumerate(groups)}
    places = sorted(longest, key=lambda place: (rank[place[0]], place[1]))
    samples = Counter(question for question, _ in places)
    counts = np.array([*samples.values()], int)
    numbers = np.array([longest[place] for place in places], NUMBERS)
    columns = (numbers[name].tolist() for name in ("closed", "truncated", "thinking"))
    return Replies(
        benchmark=benchmark,
        questions=tuple(samples),
        groups=tuple(groups[question] for question in samples),
        present=np.arange(counts.max(initial=0)) < counts[:, None],
        places=places,
        longest=numbers,
        ends=np.array([ends_at(*one) for one in zip(*columns, strict=True)], float),
        forced=forced,
    )


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


def _numbers(row: Mapping[str, Any], unit: Unit, forced: bool) -> Numbers:
    score = row["score"]
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise BadInput(
            f"The score of question {row['question']} of {row['benchmark']}, sample "
            f"{row['sample']}, is {score!r}, not a number from 0 to 1: grade the run again."
        )
    thinking, answer = lengths(row, unit)
    return (
        score,
        thinking + answer,
        thinking,
        row["closed"],
        row["stop"] == "length",
        row["looped"],
        forced,
        row["answer"] is not None,
    )
