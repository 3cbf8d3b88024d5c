"""The graded replies of one run to one benchmark as arrays: what every score is computed from.

`collect` takes stored replies, live from a search or read back from a run. A reply without a budget
is the longest generation; one with a budget is the answer forced there. A longest generation whose
thinking fits a budget is taken as it is (`lrm.generation.budgets.ends_at`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lrm.errors import BadInput
from lrm.generation.budgets import ends_at
from lrm.records.point import Budget, Unit
from lrm.records.question import Mark, Rule
from lrm.scoring.grid import Grid
from lrm.scoring.stored_reply import StoredReply
from lrm.tables import some

RULES: tuple[Rule, ...] = get_args(Rule)
COLUMNS = (
    *("score", "tokens", "thinking", "closed", "truncated", "looped", "forced", "answered"),
    *("vote", "characters", "stop_guessed"),
    *(f"{rule}{suffix}" for rule in RULES for suffix in ("", "/answered", "/given")),
)
"""The numbers of each reply, in one row.

* The arrays of a grid: "score" to "answered".
* "vote": a number for its vote, -1 for none. "characters": NaN where not known. "stop_guessed".
* For each extraction rule: its score, whether it found an answer, and whether the benchmark has
  such a rule. Score and answer do not depend on whether a cap cut the reply; where the benchmark
  has no such rule they are the headline's.
* Further metrics of the benchmark follow, NaN where a reply has none."""

METRIC = "metric/"
"""The prefix of the columns of further metrics."""

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
"""Row indices into `Replies.numbers`, one for each longest generation."""

SampleKey = tuple[str, int]
"""A question and the number of one of its samples."""


@dataclass(frozen=True)
class Replies:
    """All replies of one run to one benchmark, without their texts.

    `numbers` [replies, columns] has a row for each reply; `columns` names its columns. `longest`
    are the rows of the longest generations, and `keys` their questions and samples: question by
    question, in the order in which questions came, and sample by sample. `present` [questions,
    samples] says where in a grid they lie, `ends` [longest] the smallest budget that each fits.
    `forced[budget]` are the rows of the answers forced at a budget, -1 where there is none.
    """

    benchmark: str
    questions: tuple[str, ...]
    groups: tuple[str, ...]
    present: NDArray[np.bool_]
    keys: Sequence[SampleKey]
    columns: tuple[str, ...]
    numbers: Floats
    longest: Rows
    ends: Floats
    forced: Mapping[int, Rows]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Further metrics of the benchmark, by the names of their columns."""
        return self.columns[len(COLUMNS) :]

    def missing(self, budget: int) -> str | None:
        """A sentence on the forced answers that are missing at this budget; None if none is."""
        lacking = np.flatnonzero((self.ends > budget) & (self._forced(budget) < 0))
        if not len(lacking):
            return None
        ids = list(dict.fromkeys(self.keys[i][0] for i in lacking.tolist()))
        return (
            f"{len(lacking)} of {len(self.keys)} replies to {self.benchmark} have no answer at "
            f"budget {budget} (questions {some(ids)}): the run is unfinished, or never asked at "
            "that budget; let it finish, or leave the budget out."
        )

    def column(self, name: str) -> Floats:
        """A column of the longest generations [longest]."""
        return np.asarray(self.numbers[self.longest, self.columns.index(name)])

    def tables(self, budget: Budget | None = None) -> dict[str, Floats]:
        """Each column under a budget (None: the longest generations), by name.

        Tables are [questions, samples], NaN where a question has fewer samples than others. Raises
        BadInput where there is no longest generation, or forced answers are missing.
        """
        seen = self._seen(budget)
        tables = {}
        for index, name in enumerate(self.columns):
            tables[name] = np.full(self.present.shape, nan)
            tables[name][self.present] = seen[:, index]
        return tables

    def grid(self, budget: Budget | None = None) -> Grid:
        """The grid under a budget. Raises BadInput as `tables` does."""
        return self.as_grid(self.tables(budget))

    def as_grid(self, tables: Mapping[str, Floats]) -> Grid:
        """The grid from `tables` of these replies."""

        def flags(name: str) -> NDArray[np.bool_]:
            return np.asarray(self.present & (tables[name] == 1))

        def amounts(name: str) -> NDArray[np.float32]:
            return np.where(self.present, tables[name], 0).astype(np.float32)

        return Grid(
            questions=self.questions,
            groups=self.groups,
            score=tables["score"],
            tokens=amounts("tokens"),
            thinking=amounts("thinking"),
            closed=flags("closed"),
            truncated=flags("truncated"),
            looped=flags("looped"),
            forced=flags("forced"),
            answered=flags("answered"),
        )

    def in_order(self, questions: Iterable[str]) -> Replies:
        """The same replies, their questions in the order of `questions`."""
        rank = {question: i for i, question in enumerate(questions)}
        questions_in_order = sorted(
            range(len(self.questions)), key=lambda i: rank[self.questions[i]]
        )
        rows_in_order = sorted(range(len(self.keys)), key=lambda i: rank[self.keys[i][0]])
        return replace(
            self,
            questions=tuple(self.questions[i] for i in questions_in_order),
            groups=tuple(self.groups[i] for i in questions_in_order),
            present=self.present[questions_in_order],
            keys=[self.keys[i] for i in rows_in_order],
            longest=self.longest[rows_in_order],
            ends=self.ends[rows_in_order],
            forced={budget: rows[rows_in_order] for budget, rows in self.forced.items()},
        )

    def _forced(self, budget: int) -> Rows:
        return self.forced.get(budget, np.full(len(self.keys), -1))

    def _seen(self, budget: Budget | None) -> Floats:
        """The numbers under a budget, [longest, columns]."""
        if not self.keys:
            raise BadInput(
                f"{self.benchmark or 'The file'} holds no longest generation: the run is "
                "unfinished; let it finish."
            )
        if budget is None:
            return self.numbers[self.longest]
        beyond = self.ends > budget.tokens
        if budget.policy == "truncate":
            seen = self.numbers[self.longest]
            seen[beyond] = self._cut_at(budget.tokens)
            return seen
        if sentence := self.missing(budget.tokens):
            raise BadInput(sentence)
        return self.numbers[np.where(beyond, self._forced(budget.tokens), self.longest)]

    def _cut_at(self, tokens: int) -> list[float]:
        """The numbers of a reply that is cut within its thinking and so has no answer."""
        cut = {"tokens": tokens, "thinking": tokens, "truncated": 1, "vote": -1, "characters": nan}
        return [cut.get(name, nan if name in self.metrics else 0) for name in self.columns]


def collect(replies: Iterable[StoredReply], unit: Unit = "tokens") -> Replies:
    """The replies to one benchmark as arrays. Raises BadInput as `ReplyCollector.add` does."""
    collector = ReplyCollector(unit)
    for reply in replies:
        collector.add(reply)
    return collector.replies()


class ReplyCollector:
    """Takes the replies of one run to one benchmark one by one, and keeps only their numbers."""

    def __init__(self, unit: Unit = "tokens") -> None:
        self._unit: Unit = unit
        self._benchmark = ""
        self._groups: dict[str, str] = {}
        self._longest: dict[SampleKey, int] = {}
        self._forced: dict[int, dict[SampleKey, int]] = {}
        self._votes: dict[str, int] = {}
        self._count = 0
        self._numbers = array("d")
        self._metrics: dict[str, array[float]] = {}

    def add(self, reply: StoredReply) -> None:
        """Takes a reply.

        Raises BadInput where it was taken already, belongs to another benchmark, or has no score in
        [0, 1]; and where lengths are counted in tokens and its tokens are not known.
        """
        key, budget = (reply.question, reply.sample), reply.budget
        self._benchmark = self._benchmark or reply.benchmark
        if reply.benchmark != self._benchmark:
            raise BadInput(
                f"The rows mix {self._benchmark} and {reply.benchmark}: give one at a time."
            )
        known = self._longest if budget is None else self._forced.setdefault(budget, {})
        if key in known:
            at = "" if budget is None else f" at budget {budget}"
            raise BadInput(
                f"Question {key[0]} of {self._benchmark}, sample {key[1]}, appears twice{at}: "
                "the file of generations is damaged, or two runs were joined."
            )
        self._numbers.extend(self._row(reply))
        self._groups.setdefault(reply.question, reply.group)
        known[key] = self._count
        for name in reply.also:
            self._metrics.setdefault(name, array("d", [nan] * self._count))
        for name, values in self._metrics.items():
            values.append(reply.also.get(name, nan))
        self._count += 1

    def replies(self) -> Replies:
        """All replies taken, as arrays."""
        rank = {question: i for i, question in enumerate(self._groups)}
        keys = sorted(self._longest, key=lambda key: (rank[key[0]], key[1]))
        samples = Counter(question for question, _ in keys)
        counts = np.array([*samples.values()], int)
        numbers = np.array(self._numbers).reshape(self._count, len(COLUMNS))
        longest = np.array([self._longest[key] for key in keys], np.intp)
        columns = (
            numbers[longest, COLUMNS.index(name)].tolist()
            for name in ("closed", "truncated", "thinking")
        )
        return Replies(
            benchmark=self._benchmark,
            questions=tuple(samples),
            groups=tuple(self._groups[question] for question in samples),
            present=np.arange(counts.max(initial=0)) < counts[:, None],
            keys=keys,
            columns=(*COLUMNS, *(f"{METRIC}{name}" for name in self._metrics)),
            numbers=np.column_stack([numbers, *self._metrics.values()]),
            longest=longest,
            ends=np.array([ends_at(*row) for row in zip(*columns, strict=True)], float),
            forced={
                budget: np.array([rows.get(key, -1) for key in keys], np.intp)
                for budget, rows in self._forced.items()
            },
        )

    def _row(self, reply: StoredReply) -> tuple[float, ...]:
        """A reply's numbers, in the order of COLUMNS."""
        score = reply.score
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise BadInput(
                f"The score of question {reply.question} of {reply.benchmark}, sample "
                f"{reply.sample}, is {score!r}, not a number from 0 to 1: grade the run again."
            )
        thinking, after = reply.lengths(self._unit)
        vote = reply.counted_vote
        as_is = score if reply.score_as_is is None else reply.score_as_is
        headline = Mark(reply.answer, as_is)
        marks = [reply.marks.get(rule, headline) for rule in RULES]
        return (
            score,
            thinking + after,
            thinking,
            reply.closed,
            reply.cut,
            reply.looped,
            reply.budget is not None,
            reply.answer is not None,
            -1 if vote is None else self._votes.setdefault(vote, len(self._votes)),
            nan if reply.characters is None else reply.characters,
            bool(reply.stop_guessed),
            *(
                number
                for rule, mark in zip(RULES, marks, strict=True)
                for number in (mark.score, mark.answer is not None, rule in reply.marks)
            ),
        )
