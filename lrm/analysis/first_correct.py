"""How soon the correct answer appears in a reply. What comes after it was not needed for it.

Each benchmark says where a text first gives its gold answer (`Benchmark.first_said` in
`lrm.contracts.benchmark`).
A number or a name may appear there by chance, so this is the earliest point at which stopping could
have been right, not the point at which the model knew. In tokens it is taken in proportion to
characters, since token ids cannot be decoded without the model; in words it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lrm import registry
from lrm.errors import BadInput
from lrm.records.point import Interval, Unit
from lrm.records.question import Question
from lrm.scoring.stored_reply import StoredReply
from lrm.stats import intervals


@dataclass(frozen=True, slots=True)
class FirstCorrect:
    """When the correct answer first appears in the longest generations to one benchmark.

    `share` is the share of replies in which it appears at all; `tokens` is the mean length of
    those up to where it first does, and `whole` their mean whole length, both in `unit` and None
    where it appears in none.
    """

    benchmark: str
    unit: Unit
    share: Interval
    tokens: Interval | None
    whole: Interval | None


@dataclass
class FirstCorrectSearch:
    """Takes the replies to one benchmark one by one. Forced answers are skipped."""

    unit: Unit = "tokens"
    _benchmark: str = ""
    _ends: dict[str, list[float | None]] = field(default_factory=dict)
    """By question, where the correct answer first ends in each sample; None for nowhere."""
    _lengths: dict[str, list[float]] = field(default_factory=dict)

    def add(self, reply: StoredReply) -> None:
        """Takes a reply. Raises BadInput as `first_correct` does."""
        if reply.budget is not None:
            return
        self._benchmark = reply.benchmark
        self._ends.setdefault(reply.question, []).append(first_correct(reply, self.unit))
        self._lengths.setdefault(reply.question, []).append(float(sum(reply.lengths(self.unit))))

    def first(self) -> FirstCorrect:
        """The result. Raises BadInput where no reply was a longest generation."""
        if not self._ends:
            raise BadInput("The file holds no longest generation: the run is unfinished.")
        pairs = (
            [(end, length) for end, length in zip(*replies, strict=True) if end is not None]
            for replies in zip(self._ends.values(), self._lengths.values(), strict=True)
        )
        correct = [replies for replies in pairs if replies]
        return FirstCorrect(
            benchmark=self._benchmark,
            unit=self.unit,
            share=intervals.accuracy(
                [[float(end is not None) for end in ends] for ends in self._ends.values()]
            ),
            tokens=_mean([[end for end, _ in replies] for replies in correct]),
            whole=_mean([[length for _, length in replies] for replies in correct]),
        )


def _mean(values: list[list[float]]) -> Interval | None:
    return intervals.mean(values) if values else None


def first_correct(reply: StoredReply, unit: Unit = "tokens") -> float | None:
    """Length of a stored reply up to where its gold answer first appears; None if it does not.

    Raises BadInput for a benchmark that is not registered.
    """
    text, name = reply.text, reply.benchmark
    if not registry.is_installed(name):
        raise BadInput(f"How a text gives an answer to {name} is not known: leave it out.")
    question = Question(reply.question, reply.prompt or "", reply.gold)
    end = registry.benchmark(name).first_said(question, text)
    if end is None:
        return None
    if unit == "words":
        return float(len(text[:end].split()))
    return end / len(text) * sum(reply.lengths(unit))
