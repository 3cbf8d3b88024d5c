"""Some of the generations to read in the report: right, wrong and looping ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Any, Literal

from lrm.records import THINK_CLOSE, Unit

Outcome = Literal["right", "wrong", "looping"]

EACH = 3
SHOWN_CHARACTERS = 6_000
"""Of one text."""

ALL_CHARACTERS = 1_500_000
"""Of all samples on a page."""

SAMPLING = (
    f"Up to {EACH} replies of each outcome, benchmark and model, drawn by the hash of question and "
    "sample, so that nobody chose them; for every model the same questions come first. They are "
    "the longest generations, with no budget. The middle of very long ones is left out; the run's "
    "artifacts have the whole texts."
)


@dataclass(frozen=True)
class Sample:
    """One reply as it is shown."""

    variant: str
    benchmark: str
    question: str
    outcome: Outcome
    answer: str | None
    gold: str
    length: str
    cut: bool
    prompt: str
    thinking: str
    reply: str

    @property
    def characters(self) -> int:
        return len(self.prompt) + len(self.thinking) + len(self.reply)


@dataclass
class Picker:
    """Takes the rows of one run's benchmark one by one, and keeps a few of each outcome."""

    variant: str
    unit: Unit
    _kept: dict[Outcome, list[tuple[int, str, Sample]]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Looks at a row; forced answers are passed over."""
        if row.get("budget") is not None:
            return
        place = f"{row['benchmark']}/{row['question']}/{row['sample']}"
        rank = -int.from_bytes(hashlib.sha256(place.encode()).digest()[:8])
        kept = self._kept.setdefault(_outcome(row), [])
        if len(kept) < EACH:
            heappush(kept, (rank, place, self._sample(row)))
        elif rank > kept[0][0]:
            heappushpop(kept, (rank, place, self._sample(row)))

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """What was kept, each with its rank among those of its outcome."""
        for kept in self._kept.values():
            for rank, (_, _, sample) in enumerate(sorted(kept, key=lambda one: -one[0])):
                yield rank, sample

    def _sample(self, row: Mapping[str, Any]) -> Sample:
        thinking, closed, reply = row["text"].partition(THINK_CLOSE)
        length = row["tokens"] if self.unit == "tokens" else len(row["text"].split())
        return Sample(
            variant=self.variant,
            benchmark=row["benchmark"],
            question=str(row["question"]),
            outcome=_outcome(row),
            answer=row["answer"],
            gold=" or ".join(row["gold"]),
            length=f"{length:,} {self.unit}",
            cut=row["stop"] == "length",
            prompt=shortened(row["prompt"] or ""),
            thinking=shortened(thinking.strip() if closed else ""),
            reply=shortened((reply if closed else thinking).strip()),
        )


def fitting(ranked: list[tuple[int, Sample]]) -> list[Sample]:
    """As many as the page has room for, the first of every kind before any second."""
    room, chosen = ALL_CHARACTERS, set()
    for place, (_, sample) in sorted(enumerate(ranked), key=lambda one: (one[1][0], one[0])):
        room -= sample.characters
        if room < 0:
            break
        chosen.add(place)
    return [sample for place, (_, sample) in enumerate(ranked) if place in chosen]


def shortened(text: str) -> str:
    """The text, or its two ends with a note of how much lies between."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"


def _outcome(row: Mapping[str, Any]) -> Outcome:
    if row["looped"]:
        return "looping"
    return "right" if row["score"] == 1 else "wrong"
