"""From a reply's text to its answer under two named rules. Pure, and the same for all benchmarks.

* **strict** takes what the reply declares: the last box; else what follows its last "Answer:" or
  "the answer is" (for a label also "the conclusion is").
* **lenient** is strict where that finds something; else it reads what a careful reader would: the
  last option named, the option whose text is repeated, a verdict in other words, a conclusion
  restated. What a cap cut off is read by what it declares alone.

An answer that is not there is None, which is not the same as wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lrm.benchmarks.grading.passages import (
    boxed,
    lines,
    plain,
    readable,
    statements,
)
from lrm.benchmarks.grading.squad import normal
from lrm.records import Completion, Grade, Mark, Question, Rule

GAP = r"(?:\s|:|[*_]+(?=\s))*"
IS = r"(?:is|(?:would|should|must|will|could)\s+be)\b|:|="
CUE = re.compile(
    rf"(?<!this\s)\banswer\b[\s*_]*(?:{IS}){GAP}|\bfinal\s+answer\b[\s*_#]*\n\s*", re.IGNORECASE
)
_CHOICE_CUE = re.compile(
    rf"(?<!this\s)\b(?:answer|option|choice|index|letter)\b[\s*_]*(?:{IS}){GAP}"
    r"|\bfinal\s+answer\b[\s*_#]*\n\s*",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.;](?=\s|$)|\(|\b(?:because|since)\b", re.IGNORECASE)

_INTEGER = re.compile(r"(?<![\w./^])-?[0-9]+(?![\w/^]|\.[0-9])")

_LETTER = re.compile(
    r"\(([A-D])\)|(?<![\w'])(?:([B-D])|(A)(?!\s+[a-z])|(A)(?=\s+(?:because|is|as|since)\b))(?![\w'])"
)
_NAMED_LETTER = re.compile(r"\(([A-D])\)|\b(?:[Oo]ption|[Cc]hoice)\s+([A-D])\b|\*\*([A-D])\*\*")
_LONE_LETTER = re.compile(r"\W*([A-D])\W*")
_OPTION_ALONE = re.compile(r"\W*\(?([A-D])\)?(?:\W+(.*))?")
_WITHDRAWN = re.compile(r"\s*,?\s*but\b")
_NO_OPTION = re.compile(r"\bnone of (?:the|these|them)\b", re.IGNORECASE)
_REJECTED = re.compile(r"(?:\bnot|n't|\bthan|\binstead of)\s+(?:[Oo]ption\s+)?$")
_LIST_LINK = re.compile(r"(?:\s|,|/|&|\band\b|\bor\b|\bboth\b)*(?:,|/|&|\band\b|\bor\b)\s*")

_TIME = re.compile(r"(\d)\s*([ap])\.?m\b\.?", re.IGNORECASE)
_TO = re.compile(r"(?<=[ap]m)\s*(?:-|\u2013|\u2014|\band\b|\buntil\b|\btill\b)\s*(?=\d)")


@dataclass(frozen=True, slots=True)
class AnswerReading:
    """The answer in a text under each rule."""

    strict: str | None
    lenient: str | None


def integer(text: str, finished: bool = True) -> AnswerReading:
    """The integer answered, without leading zeros or thousands separators ("033" is "33").

    A box decides alone: if it holds no single integer, none is answered. The lenient rule takes the
    last integer mentioned.
    """
    box = boxed(text)
    if box is not None:
        value = plain(box).rpartition("=")[2]
        values = {canonical(number) for number in _INTEGER.findall(value)}
        return both(values.pop() if len(values) == 1 and "\\" not in value else None)
    for statement in statements(text, CUE):
        clause = plain(_CLAUSE_END.split(statement, maxsplit=1)[0])
        if numbers := _INTEGER.findall(clause):
            return both(canonical(numbers[-1]))
    numbers = _INTEGER.findall(plain(text)) if finished else []
    return AnswerReading(None, canonical(numbers[-1]) if numbers else None)


def letter(
    text: str, finished: bool = True, options: Mapping[str, str] | None = None
) -> AnswerReading:
    """The option answered, as "(A)" to "(D)". An article "A" before a word is no option.

    A declaration that lists several options ("(A) or (B)") declares none. `options` maps "(A)" to
    its text: the lenient rule takes the last option named by its letter, else the one whose text
    the reply ends on.
    """
    texts = options or {}
    for passage in (*declared(text, _CHOICE_CUE), *_option_alone(text, texts)):
        if named := _listed_letters(plain(passage), texts):
            return both(named[0] if len(named) == 1 else None)
        if _NO_OPTION.search(passage):
            return both(None)
    if not finished:
        return both(None)
    # An option's text in a box, after a cue or on the last line says more than a letter in passing.
    for passage in (*declared(text, CUE), *lines(text)[-1:]):
        if found := _named_letter(passage) or _option_quoted(passage, texts):
            return AnswerReading(None, found)
    return AnswerReading(None, _named_letter(text) or _option_quoted(text, texts))


def grade_integer(question: Question, completion: Completion) -> Grade:
    """1 if the integer equals the gold, whatever its zeros. A box with no integer is an answer."""
    text = readable(completion)
    golds = [canonical(gold) for gold in question.gold]
    found = integer(text, completion.stop == "stop")
    return graded(found, lambda answer: answer in golds, instead=boxed(text))


def grade_letter(
    question: Question, completion: Completion, options: Mapping[str, str] | None = None
) -> Grade:
    """1 if the option equals the gold, which may be written "A" or "(A)"."""
    found = letter(readable(completion), completion.stop == "stop", options)
    golds = [letter(gold).lenient for gold in question.gold]
    return graded(found, lambda answer: answer in golds)


def graded(found: AnswerReading, right: Callable[[str], bool], instead: str | None = None) -> Grade:
    """The grade of a reading, the lenient rule being the headline. `instead` is what was answered
    where no well-formed answer was."""

    def mark(answer: str | None) -> Mark:
        if answer is None:
            return Mark(instead, 0.0)
        return Mark(answer, float(right(answer)))

    marks: dict[Rule, Mark] = {"strict": mark(found.strict), "lenient": mark(found.lenient)}
    return Grade(marks["lenient"].answer, marks["lenient"].score, marks=marks)


def canonical(number: str) -> str:
    """A decimal integer without leading zeros; by text, since a reply's may be of any length."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    return sign + (digits.lstrip("0") or "0")


def both(answer: str | None) -> AnswerReading:
    return AnswerReading(answer, answer)


def declared(text: str, cue: re.Pattern[str]) -> Iterator[str]:
    """Where an answer is declared, the weightiest first: the last box, then the statements."""
    box = boxed(text)
    if box is not None:
        yield box
    yield from statements(text, cue)


def _group(match: re.Match[str]) -> str:
    return match.group(match.lastindex or 0)


def _listed_letters(passage: str, options: Mapping[str, str]) -> list[str]:
    """The first option named and those listed with it, each once ("(A) 5pm or (B)" lists two);
    none where they are withdrawn at once ("(A), but")."""
    matches = [
        match
        for match in _LETTER.finditer(passage)
        if not _REJECTED.search(passage[: match.start()])
    ]
    listed: list[str] = []
    for match, after in zip(matches, [*matches[1:], None], strict=False):
        listed.append(f"({_group(match)})")
        rest = passage[match.end() : after.start() if after else None]
        rest = rest.replace(options.get(listed[-1], "\n"), "", 1)
        if after is None or not _LIST_LINK.fullmatch(rest):
            return [] if _WITHDRAWN.match(rest) else list(dict.fromkeys(listed))
    return []


def _option_alone(text: str, options: Mapping[str, str]) -> Iterator[str]:
    """The text itself, if it is an option and nothing else."""
    match = _OPTION_ALONE.fullmatch(text.strip())
    if match and _alike(match[2] or "") in (_alike(""), _alike(options.get(f"({match[1]})", ""))):
        yield f"({match[1]})"


def _named_letter(text: str) -> str | None:
    """The last option named by its letter, or standing alone on a line."""
    lone = (_LONE_LETTER.fullmatch(line) for line in text.splitlines())
    named = list(_NAMED_LETTER.finditer(text)) or list(filter(None, lone))
    return f"({_group(named[-1])})" if named else None


def _option_quoted(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose text is the last to be quoted; "7 am - 9 am" is "7am to 9am"."""
    flat = _alike(text)
    places = {name: flat.rfind(_alike(option)) for name, option in options.items()}
    name = max(places, key=lambda option: places[option], default=None)
    return name if name is not None and places[name] >= 0 else None


def _alike(text: str) -> str:
    spans = _TO.sub(" to ", _TIME.sub(r"\1\2m", plain(text).lower()))
    return f" {normal(spans)} "
