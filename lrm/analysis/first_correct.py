"""How soon the correct answer appears in a reply: what comes after it was not needed for it.

Each benchmark says where a text first gives its gold answer (`lrm.contracts.Benchmark.first_said`).
A number or a name may stand there by chance, so this is the earliest place at which stopping could
have been right, not the place at which the model knew. Places in tokens are proportional to those
in characters, since token ids cannot be decoded without the model; in words they are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrm import registry
from lrm.errors import BadInput
from lrm.records import Interval, Question, Unit
from lrm.scoring.replies import lengths
from lrm.stats import intervals


@dataclass(frozen=True, slots=True)
class FirstCorrect:
    """When the correct answer first appears in the longest generations to one benchmark.

    `share` is the share of replies in which it appears at all; `tokens` is how much of those had
    been written by then, and `whole` how long they were, both in `unit` and None where it appears
    in none.
    """

    benchmark: str
    unit: Unit
    share: Interval
    tokens: Interval | None
    whole: Interval | None


@dataclass
class FirstCorrectSearch:
    """Takes the rows of one benchmark one by one; forced answers are passed over."""

    unit: Unit = "tokens"
    _benchmark: str = ""
    _ends: dict[str, list[float | None]] = field(default_factory=dict)
    _whole: dict[str, list[float]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes a row. Raises BadInput as `first_correct` does."""
        if row.get("budget") is not None:
            return
        self._benchmark = row["benchmark"]
        self._ends.setdefault(row["question"], []).append(first_correct(row, self.unit))
        self._whole.setdefault(row["question"], []).append(float(sum(lengths(row, self.unit))))

    def first(self) -> FirstCorrect:
        """The figures of all rows. Raises BadInput where none was a longest generation."""
        if not self._ends:
            raise BadInput("The file holds no longest generation: the run is unfinished.")
        pairs = (
            [(end, size) for end, size in zip(row, whole, strict=True) if end is not None]
            for row, whole in zip(self._ends.values(), self._whole.values(), strict=True)
        )
        said = [row for row in pairs if row]
        return FirstCorrect(
            benchmark=self._benchmark,
            unit=self.unit,
            share=intervals.accuracy(
                [[float(end is not None) for end in row] for row in self._ends.values()]
            ),
            tokens=intervals.mean([[end for end, _ in row] for row in said]) if said else None,
            whole=intervals.mean([[size for _, size in row] for row in said]) if said else None,
        )


def first(rows: Iterable[Mapping[str, Any]], unit: Unit = "tokens") -> FirstCorrect:
    """Reads the rows of one benchmark once."""
    search = FirstCorrectSearch(unit)
    for row in rows:
        search.add(row)
    return search.first()


def first_correct(row: Mapping[str, Any], unit: Unit = "tokens") -> float | None:
    """Length of a stored reply up to where its gold answer first appears; None if it does not.

    Raises BadInput for a benchmark that is not registered.
    """
    text, name = row["text"], row["benchmark"]
    if name not in registry.BENCHMARKS:
        raise BadInput(f"How answers to {name} stand in a text is not known: leave it out.")
    question = Question(row["question"], row.get("prompt") or "", tuple(row["gold"]))
    end = registry.benchmark(name).first_said(question, text)
    if end is None:
        return None
    if unit == "words":
        return float(len(text[:end].split()))
    return end / len(text) * sum(lengths(row, unit))
