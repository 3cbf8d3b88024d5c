"""The replies of a model to one benchmark at one budget, as arrays. The analysis works on these."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lrm.errors import BadInput

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """The outcome of every reply to one benchmark's questions at one budget.

    Arrays have shape [questions, samples]. `score` (headline: a truncated reply is wrong) is in
    [0, 1], and NaN where a question has fewer samples than others; the other arrays are 0 or False
    there. Every question has at least one reply.

    `questions` are ids, in order; `groups` has the stratum of each ("2-hop"), or "". `tokens` and
    `thinking` are lengths of the whole reply and of its thinking, in the variant's unit.
    `truncated`: a cap cut the reply; `looped`: it repeated itself until the cap; `forced`: the
    budget ended its thinking; `answered`: an answer was found in it, correct or not.
    """

    questions: tuple[str, ...]
    groups: tuple[str, ...]
    score: NDArray[np.floating]
    tokens: Floats
    thinking: Floats
    closed: Bools
    truncated: Bools
    looped: Bools
    forced: Bools
    answered: Bools

    def __post_init__(self) -> None:
        shape = self.score.shape
        if len(shape) != 2 or 0 in shape:
            raise BadInput(f"A benchmark needs one reply or more; the scores have shape {shape}.")
        wrong = [f.name for f in fields(self)[2:] if getattr(self, f.name).shape != shape]
        if wrong or len(self.questions) != shape[0] or len(self.groups) != shape[0]:
            raise BadInput(
                f"{', '.join(wrong) or 'questions or groups'} must have the shape of the scores, "
                f"{shape}: one row a question, one column a sample."
            )
        empty = np.flatnonzero(np.isnan(self.score).all(axis=1))
        if len(empty):
            raise BadInput(
                f"Question {self.questions[empty[0]]} has no score: leave it out or grade it."
            )
        if len(set(self.questions)) < len(self.questions):
            raise BadInput("A question appears twice in a grid: give each id once.")

    @property
    def present(self) -> Bools:
        """Where there is a reply, [questions, samples]."""
        return np.asarray(~np.isnan(self.score))

    @property
    def replies(self) -> int:
        return int(np.count_nonzero(self.present))

    def per_question(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Mean [questions] of `values` [questions, samples] over each question's samples."""
        present = self.present
        total = np.where(present, values, 0).sum(axis=1, dtype=np.float64)
        return np.asarray(total / present.sum(axis=1), dtype=np.float64)

    def padded(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """`values` [questions, samples] with NaN where there is no reply, as `lrm.stats` takes
        them."""
        return np.where(self.present, values, np.nan).astype(np.float64)

    def take(self, rows: NDArray[np.intp]) -> Grid:
        """The grid of the questions at these indices, in this order."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self)[2:]}
        return Grid(
            tuple(self.questions[i] for i in rows), tuple(self.groups[i] for i in rows), **arrays
        )
