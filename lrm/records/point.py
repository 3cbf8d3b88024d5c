"""A budget, and what accuracy and how many tokens a model has under it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Literal

Policy = Literal["force", "truncate"]
Unit = Literal["tokens", "words"]
"""What the lengths of replies are counted in."""

FEWEST_DEGREES = 2
"""Of freedom, for an interval to be shown: one question shows no spread, and two next to none."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap on thinking tokens and what happens there.

    "force" closes the thinking and asks for the answer; "truncate" cuts, and what is unanswered
    is wrong.
    """

    tokens: int
    policy: Policy = "force"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"a budget must be 1 thinking token or more, got {self.tokens}")


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval.

    `freedom` is the degrees of freedom of the spread that the interval was computed from: the
    questions less one, and infinite where that is not what it comes from. With too few, the ends
    are computed and logged, but neither written nor drawn.
    """

    value: float
    low: float
    high: float
    freedom: float = field(default=inf, compare=False)

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value} lies outside its interval [{self.low}, {self.high}]")

    @property
    def shown(self) -> tuple[float, float] | tuple[None, None]:
        """Both ends, where they are to be written or drawn."""
        return (self.low, self.high) if self.freedom >= FEWEST_DEGREES else (None, None)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the accuracy-versus-conciseness plane, and the run it comes from.

    `accuracy` is in [0, 1], the mean over benchmarks; `tokens` is tokens per question.
    `sparsity` is what was asked for, `sparsity_achieved` what was measured, None where nobody did.
    `level` names a level that is no sparsity ("Q2_K"); `weights_bytes` is None where unknown.
    """

    sparsity: float
    sparsity_achieved: float | None
    budget: Budget
    accuracy: Interval
    tokens: Interval
    run_id: str
    level: str = ""
    weights_bytes: float | None = None
