"""Where in a text an answer is first said, by kind of answer.

All functions return the end of the earliest such passage, in characters, or None. What they can
miss: a number or a name may stand there by chance, as a step or a guess that is dropped again, and
an answer in other words ("thirty-three") is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from lrm.benchmarks.grading.integers import canonical
from lrm.benchmarks.grading.labels import extract_label
from lrm.benchmarks.grading.letters import extract_letter
from lrm.benchmarks.grading.squad import normalize

_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
_WORD = re.compile(r"\S+")


def integer(text: str, golds: Iterable[str]) -> int | None:
    """A gold as a number of its own: "33", not in "331", "33/4", "1,033" or "-33"."""
    return _earliest(_integer(text, gold) for gold in golds)


def words(text: str, golds: Iterable[str]) -> int | None:
    """A gold's words in their order, in SQuAD's normal form."""
    return _earliest(_words(text, normalize(gold).split()) for gold in golds)


def option(text: str, golds: Iterable[str], options: Mapping[str, str]) -> int | None:
    """A sentence that `extract_letter` reads as a gold; `options` maps "(A)" to its text."""
    letters = {extract_letter(gold).lenient for gold in golds} - {None}
    return _sentence(text, lambda said: extract_letter(said, True, options).lenient in letters)


def label(text: str, golds: Iterable[str], claim: str) -> int | None:
    """A sentence that `extract_label` reads, strictly, as a gold; `claim` is what is judged."""
    verdicts = {extract_label(gold).lenient for gold in golds} - {None}
    return _sentence(text, lambda said: extract_label(said, True, claim).strict in verdicts)


def _earliest(ends: Iterable[int | None]) -> int | None:
    return min((end for end in ends if end is not None), default=None)


def _integer(text: str, gold: str) -> int | None:
    number = re.escape(canonical(gold))
    match = re.search(rf"(?<![\w./^-])(?<![0-9],)0*{number}(?![\w/^]|\.[0-9]|,[0-9]{{3}})", text)
    return match.end() if match else None


def _words(text: str, gold: list[str]) -> int | None:
    """Words that normalise to nothing (articles, dashes) may stand between those of the gold."""
    if not gold:
        return None
    said: list[tuple[str, int]] = [
        (part, match.end())
        for match in _WORD.finditer(text)
        for part in normalize(match.group()).split()
    ]
    for i in range(len(said) - len(gold) + 1):
        if all(said[i + j][0] == part for j, part in enumerate(gold)):
            return said[i + len(gold) - 1][1]
    return None


def _sentence(text: str, is_gold: Callable[[str], bool]) -> int | None:
    """The end of the first sentence or line that reads as a gold."""
    for match in _SENTENCE.finditer(text):
        if is_gold(match.group()):
            return match.end()
    return None
