"""Some of the generations to read in the report: right, wrong and looping ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import heappush, heappushpop
from typing import Literal

from lrm.records.point import Unit
from lrm.records.reply import THINK_CLOSE
from lrm.report.spots import CUT_OPEN
from lrm.scoring.stored_reply import StoredReply

Outcome = Literal["right", "wrong", "looping"]

EACH = 3
SHOWN_CHARACTERS = 6_000
"""Of one text."""

ALL_CHARACTERS = 1_500_000
"""Of all samples on a page."""

SAMPLING = (
    f"Up to {EACH} replies of each outcome, benchmark and model, drawn by the hash of question and "
    "sample, so that nobody chose them; for every model the same questions come first. They are "
    f"the longest generations, with no budget. {CUT_OPEN} The middle of very long ones is left "
    "out; the run's artifacts have the whole texts."
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
    """Takes the replies of one run to one benchmark one by one, and keeps a few of each outcome."""

    unit: Unit
    _kept: dict[Outcome, list[tuple[int, str, Sample]]] = field(default_factory=dict)

    def add(self, reply: StoredReply) -> None:
        """Takes a reply. Forced answers are skipped."""
        if reply.budget is not None:
            return
        key = f"{reply.benchmark}/{reply.question}/{reply.sample}"
        rank = -int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        kept = self._kept.setdefault(_outcome(reply), [])
        if len(kept) < EACH:
            heappush(kept, (rank, key, self._sample(reply)))
        elif rank > kept[0][0]:
            heappushpop(kept, (rank, key, self._sample(reply)))

    def samples(self, variant: str) -> Iterator[tuple[int, Sample]]:
        """The samples kept, as replies of `variant`, each with its rank within its outcome."""
        for kept in self._kept.values():
            for rank, (_, _, sample) in enumerate(sorted(kept, key=lambda entry: -entry[0])):
                yield rank, replace(sample, variant=variant)

    def _sample(self, reply: StoredReply) -> Sample:
        thinking, closed, after = reply.text.partition(THINK_CLOSE)
        length = reply.tokens if self.unit == "tokens" else len(reply.text.split())
        return Sample(
            variant="",
            benchmark=reply.benchmark,
            question=reply.question,
            outcome=_outcome(reply),
            answer=reply.answer,
            gold=" or ".join(reply.gold),
            length=f"{length:,} {self.unit}",
            cut=reply.cut,
            prompt=shortened(reply.prompt or ""),
            thinking=shortened(thinking.strip() if closed else ""),
            reply=shortened((after if closed else thinking).strip()),
        )


def fitting(ranked: list[tuple[int, Sample]]) -> list[Sample]:
    """As many samples as fit the page, all of rank 0 before any of rank 1; in their given order."""
    remaining, chosen = ALL_CHARACTERS, set()
    by_rank = sorted(enumerate(ranked), key=lambda entry: (entry[1][0], entry[0]))
    for index, (_, sample) in by_rank:
        remaining -= sample.characters
        if remaining < 0:
            break
        chosen.add(index)
    return [sample for index, (_, sample) in enumerate(ranked) if index in chosen]


def shortened(text: str) -> str:
    """The text, or its two ends with a note of how much was left out between them."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"


def _outcome(reply: StoredReply) -> Outcome:
    if reply.looped:
        return "looping"
    return "right" if reply.score == 1 else "wrong"
