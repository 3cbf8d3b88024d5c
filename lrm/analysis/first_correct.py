"""How soon the right answer stands in a reply: what comes after it was not needed for it.

The earliest place in the stored text at which the gold answer is said:

* integers: the gold as a number of its own ("33", not in "331", "33/4", "1,033" or "-33");
* options: a sentence that `lrm.benchmarks.grading.letters` reads as the gold option;
* labels: a sentence that `lrm.benchmarks.grading.labels` reads, strictly, as the gold label;
* short answers: the gold's words in their order, in SQuAD's normal form.

What it can miss: a number or name may stand there by chance, as a step or a guess that is dropped
again, so the place is the earliest at which stopping could have been right, not the place at which
the model knew; an answer put otherwise ("thirty-three") is not found. Places in tokens are
proportional to those in characters, since token ids cannot be decoded without the model; in words
they are exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrm.benchmarks import folio, temporal
from lrm.benchmarks.grading.integers import canonical
from lrm.benchmarks.grading.labels import extract_label
from lrm.benchmarks.grading.letters import extract_letter
from lrm.benchmarks.grading.squad import normalize
from lrm.errors import BadInput
from lrm.records import Interval, Unit
from lrm.scoring.replies import lengths
from lrm.stats import intervals

INTEGERS = ("aime", "arithmetic")
OPTIONS = ("temporal", "timeline")
LABELS = ("folio", "deduction")
SHORT = ("musique", "musique-open", "musique-dev", "musique-dev-open", "hops")

_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class FirstCorrect:
    """When the right answer first stands in the longest generations to one benchmark.

    `found` is the share of replies in which it stands at all; `tokens` how long it took in those,
    `whole` how long they were, both in `unit` and None where it stands in none.
    """

    benchmark: str
    unit: Unit
    found: Interval
    tokens: Interval | None
    whole: Interval | None


@dataclass
class FirstCorrectSearch:
    """Takes the rows of one benchmark one by one; forced answers are passed over."""

    unit: Unit = "tokens"
    _benchmark: str = ""
    _places: dict[str, list[float | None]] = field(default_factory=dict)
    _whole: dict[str, list[float]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Looks at a row. Raises BadInput as `first_correct` does."""
        if row.get("budget") is not None:
            return
        self._benchmark = row["benchmark"]
        self._places.setdefault(row["question"], []).append(first_correct(row, self.unit))
        self._whole.setdefault(row["question"], []).append(float(sum(lengths(row, self.unit))))

    def first(self) -> FirstCorrect:
        """What was found. Raises BadInput where no row was a longest generation."""
        if not self._places:
            raise BadInput("The file holds no longest generation: the run is unfinished.")
        pairs = (
            [(at, of) for at, of in zip(row, whole, strict=True) if at is not None]
            for row, whole in zip(self._places.values(), self._whole.values(), strict=True)
        )
        said = [row for row in pairs if row]
        return FirstCorrect(
            benchmark=self._benchmark,
            unit=self.unit,
            found=intervals.accuracy(
                [[float(at is not None) for at in row] for row in self._places.values()]
            ),
            tokens=intervals.mean([[at for at, _ in row] for row in said]) if said else None,
            whole=intervals.mean([[of for _, of in row] for row in said]) if said else None,
        )


def first(rows: Iterable[Mapping[str, Any]], unit: Unit = "tokens") -> FirstCorrect:
    """Reads the rows of one benchmark once."""
    search = FirstCorrectSearch(unit)
    for row in rows:
        search.add(row)
    return search.first()


def first_correct(row: Mapping[str, Any], unit: Unit = "tokens") -> float | None:
    """Length of a stored reply up to where its gold answer first stands; None if it does not.

    Raises BadInput for a benchmark whose answers it cannot look for.
    """
    text = row["text"]
    end = min(_ends(row), default=None)
    if end is None:
        return None
    if unit == "words":
        return float(len(text[:end].split()))
    return end / len(text) * sum(lengths(row, unit))


def _ends(row: Mapping[str, Any]) -> Iterator[int]:
    """Where golds first stand, by the ends of the places, in characters."""
    name, text, golds = row["benchmark"], row["text"], row["gold"]
    prompt = row.get("prompt") or ""
    found: Iterable[int | None]
    if name in INTEGERS:
        found = (_integer(text, gold) for gold in golds)
    elif name in SHORT:
        found = (_words(text, gold) for gold in golds)
    elif name in OPTIONS:
        options = dict(temporal.OPTION.findall(prompt))
        wanted = {extract_letter(gold).lenient for gold in golds}
        found = [_sentence(text, lambda said: extract_letter(said, True, options).lenient, wanted)]
    elif name in LABELS:
        claim = folio.CONCLUSION.search(prompt)
        told = claim[1] if claim else ""
        wanted = {extract_label(gold).lenient for gold in golds}
        found = [_sentence(text, lambda said: extract_label(said, True, told).strict, wanted)]
    else:
        raise BadInput(f"How answers to {name} stand in a text is not known: leave it out.")
    return (end for end in found if end is not None)


def _integer(text: str, gold: str) -> int | None:
    number = re.escape(canonical(gold))
    match = re.search(rf"(?<![\w./^-])(?<![0-9],)0*{number}(?![\w/^]|\.[0-9]|,[0-9]{{3}})", text)
    return match.end() if match else None


def _words(text: str, gold: str) -> int | None:
    """Words that normalise to nothing (articles, dashes) may stand between those of the gold."""
    wanted = normalize(gold).split()
    if not wanted:
        return None
    seen: list[tuple[str, int]] = [
        (part, match.end())
        for match in _WORD.finditer(text)
        for part in normalize(match.group()).split()
    ]
    for i in range(len(seen) - len(wanted) + 1):
        if all(seen[i + j][0] == part for j, part in enumerate(wanted)):
            return seen[i + len(wanted) - 1][1]
    return None


def _sentence(
    text: str, read: Callable[[str], str | None], wanted: Container[str | None]
) -> int | None:
    """The end of the first sentence or line that reads as one of the wanted answers."""
    for match in _SENTENCE.finditer(text):
        answer = read(match.group())
        if answer is not None and answer in wanted:
            return match.end()
    return None
