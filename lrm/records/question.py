"""What a benchmark asks, and how a reply was graded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["strict", "lenient"]
Truncation = Literal["truncated-is-wrong", "grade-what-is-there"]
Track = Literal["paper", "chat"]


@dataclass(frozen=True, slots=True)
class Question:
    """One item of a benchmark.

    `prompt` is the exact text shown to the model on the "paper" track and ends with the opened
    thinking block; `message` is what the user says on the "chat" track, inside the model's chat
    template. `gold` lists the accepted answers, the canonical one first; `group` names a stratum
    that is reported apart (for example "2-hop"), or is empty.
    """

    id: str
    prompt: str
    gold: tuple[str, ...]
    group: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """The answer that one extraction rule finds (None: nothing, which is not wrong) and its score.

    `vote` is what makes two answers the same one for a majority, where that is not `answer`.
    """

    answer: str | None
    score: float
    vote: str | None = None


@dataclass(frozen=True, slots=True)
class Grade:
    """What a reply answers (None: nothing found, which is not the same as wrong) and its score.

    `score` is in [0, 1] and is the benchmark's headline; `also` holds its further metrics, by
    name (for example "f1"); `marks` has the answer and score of each extraction rule, the headline
    one among them, and is empty where a benchmark knows one rule only; `vote` as in `Mark`.
    """

    answer: str | None
    score: float
    also: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[Rule, Mark] = field(default_factory=dict)
    vote: str | None = None
