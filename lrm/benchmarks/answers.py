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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrm.benchmarks.passages import (
    boxed,
    lines,
    plain,
    readable,
    sentences,
    statements,
)
from lrm.benchmarks.squad import normal
from lrm.records import Completion, Grade, Mark, Question, Rule

_GAP = r"(?:\s|:|[*_]+(?=\s))*"
_BE = r"(?:is|(?:would|should|must|will|could)\s+be)\b|:|="
CUE = re.compile(
    rf"(?<!this\s)\banswer\b[\s*_]*(?:{_BE}){_GAP}|\bfinal\s+answer\b[\s*_#]*\n\s*", re.IGNORECASE
)
_CHOICE_CUE = re.compile(
    rf"(?<!this\s)\b(?:answer|option|choice|index|letter)\b[\s*_]*(?:{_BE}){_GAP}"
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
_REJECTED = re.compile(r"(?:\bnot|n't|\bthan|\binstead of)\s+(?:[Oo]ption\s+)?$")
_LIST_LINK = re.compile(r"(?:\s|,|/|&|\band\b|\bor\b|\bboth\b)*(?:,|/|&|\band\b|\bor\b)\s*")

_LABEL = r"(?:true|false|uncertain|unknown|undetermined|indeterminate)\b"
_VERDICT = re.compile(
    rf"""
      (?P<open>\bneither\s+true\s+nor\s+false\b
        | (?:\bnot|n't|\bcannot)\s+(?:be\s+)?(?:necessarily|definite(?:ly)?|definitively|certainly)
          \s+(?:be\s+)?(?:true|false)\b(?:\s*,?\s*n?or\s+(?:true|false)\b)?)
    | (?P<listed>\b{_LABEL}(?:\s*(?:[,/]\s*(?:n?or\s+)?|n?or\s+){_LABEL})+)
    | (?:\bnot|n't|\bcannot)\s+(?:be\s+)?(?P<denied>{_LABEL})
    | \b(?P<plain>{_LABEL})
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TIME = re.compile(r"(\d)\s*([ap])\.?m\b\.?", re.IGNORECASE)
_TO = re.compile(r"(?<=[ap]m)\s*(?:-|\u2013|\u2014|\band\b|\buntil\b|\btill\b)\s*(?=\d)")
_HYPOTHETICAL = re.compile(
    r"^\W*(?:if|suppose|assuming)\b|\bpossible that\b|\bwould (?:make|render)\b", re.IGNORECASE
)
_REASON = re.compile(r"\b(?:because|since|as|for|given that|due to)\b", re.IGNORECASE)
_CONCLUSION = re.compile(
    rf"\bconclusion\b[\s*_\"]*(?:{_BE}|(?:would|should|must|can)\s+be\b){_GAP}", re.IGNORECASE
)
_ON_CONCLUSION = re.compile(r"\b(?:conclusion|statement|claim)\b", re.IGNORECASE)
_IN_OTHER_WORDS = {
    "Uncertain": re.compile(
        r"\b(?:(?:can(?:not|'t| not)|impossible to|unable to|not possible to|insufficient\w* "
        r"(?:\w+ )*to)\b[^.]*\b(?:determin|conclud|confirm|establish|verif|deduc|infer|support)"
        r"|(?:not|n't) (?:necessarily|definitively|logically )?\s*follow"
        r"|(?:not|n't) enough (?:information|evidence)|insufficient (?:information|evidence))",
        re.IGNORECASE,
    ),
    "False": re.compile(
        r"\b(?:incorrect|invalid|contradict\w*|not (?:valid|correct|supported)|unsupported"
        r"|does not hold|doesn't hold|refuted?|disproved?)\b",
        re.IGNORECASE,
    ),
    "True": re.compile(
        r"\b(?:correct|valid|holds|(?:logically|directly|necessarily) follows"
        r"|follows (?:logically|directly|necessarily|from)|(?:is|are) supported|supports"
        r"|consistent with|proved|proven|confirmed)\b",
        re.IGNORECASE,
    ),
}
_NEGATIONS = re.compile(r"\b(?:not|cannot|never|neither|nor|no)\b|n't\b", re.IGNORECASE)
_RESTATES = re.compile(
    r"\b(?:conclusion|answer)\b[\s*_\"]*:|\b(?:therefore|thus|hence|so)\b,?", re.I
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer in a text under each rule."""

    strict: str | None
    lenient: str | None


def integer(text: str, finished: bool = True) -> Reading:
    """The integer answered, without leading zeros or thousands separators ("033" is "33").

    A box decides alone: if it holds no single integer, none is answered. The lenient rule takes the
    last integer mentioned.
    """
    box = boxed(text)
    if box is not None:
        value = plain(box).rpartition("=")[2]
        numbers = _INTEGER.findall(value)
        only = len(numbers) == 1 and "\\" not in value
        return _both(canonical(numbers[0]) if only else None)
    for statement in statements(text, CUE):
        clause = plain(_CLAUSE_END.split(statement, maxsplit=1)[0])
        if numbers := _INTEGER.findall(clause):
            return _both(canonical(numbers[-1]))
    numbers = _INTEGER.findall(plain(text)) if finished else []
    return Reading(None, canonical(numbers[-1]) if numbers else None)


def letter(text: str, finished: bool = True, options: Mapping[str, str] | None = None) -> Reading:
    """The option answered, as "(A)" to "(D)". An article "A" before a word is no option.

    A declaration that lists several options ("(A) or (B)") declares none. `options` maps "(A)" to
    its text: the lenient rule takes the last option named by its letter, else the one whose text
    the reply ends on.
    """
    texts = options or {}
    for passage in (*_declared(text, _CHOICE_CUE), *_option_alone(text, texts)):
        if named := _listed_letters(plain(passage), texts):
            return _both(named[0] if len(named) == 1 else None)
    if not finished:
        return _both(None)
    # An option's text in a box, after a cue or on the last line says more than a letter in passing.
    for passage in (*_declared(text, CUE), *lines(text)[-1:]):
        if found := _named_letter(passage) or _option_quoted(passage, texts):
            return Reading(None, found)
    return Reading(None, _named_letter(text) or _option_quoted(text, texts))


def label(text: str, finished: bool = True, claim: str = "") -> Reading:
    """True, False or Uncertain; "Unknown" is Uncertain.

    "not true" is False, "neither true nor false" and "not necessarily true" are Uncertain. An
    enumeration ("true, false, or uncertain") and a denial of anything else answer nothing. `claim`
    is the conclusion that was asked about: where no verdict is given, the lenient rule takes other
    words for one ("follows from the premises"), and a reply that ends on the claim itself as True,
    on its plain negation as False.
    """
    for passage in _declared(text, CUE):
        if verdicts := _verdicts(passage):
            return _both(verdicts[0])
    for passage in _on_conclusion(text):
        if verdicts := _verdicts(_REASON.split(passage, maxsplit=1)[0]) or _verdicts(passage):
            return _both(verdicts[-1])
    if not finished:
        return _both(None)
    declared = [*_declared(text, CUE), *statements(text, _CONCLUSION), *sentences(text)[-1:]]
    for read in (lambda passage: _restated(passage, claim), _in_other_words):
        for passage in declared:
            if found := read(passage):
                return Reading(None, found)
    verdicts = _verdicts(text)
    return Reading(None, verdicts[-1] if verdicts else None)


def grade_integer(question: Question, completion: Completion) -> Grade:
    """1 if the integer equals the gold, whatever its zeros. A box with no integer is an answer."""
    text = readable(completion)
    golds = [canonical(gold) for gold in question.gold]
    found = integer(text, completion.stop == "stop")
    return _graded(found, lambda answer: answer in golds, instead=boxed(text))


def grade_letter(
    question: Question, completion: Completion, options: Mapping[str, str] | None = None
) -> Grade:
    """1 if the option equals the gold, which may be written "A" or "(A)"."""
    found = letter(readable(completion), completion.stop == "stop", options)
    golds = [letter(gold).lenient for gold in question.gold]
    return _graded(found, lambda answer: answer in golds)


def grade_label(question: Question, completion: Completion, claim: str = "") -> Grade:
    """1 if the label equals the gold; "Unknown" is Uncertain on both sides."""
    found = label(readable(completion), completion.stop == "stop", claim)
    golds = [label(gold).lenient for gold in question.gold]
    return _graded(found, lambda answer: answer in golds)


def _graded(found: Reading, right: Callable[[str], bool], instead: str | None = None) -> Grade:
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


def _both(answer: str | None) -> Reading:
    return Reading(answer, answer)


def _declared(text: str, cue: re.Pattern[str]) -> Iterator[str]:
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


def _on_conclusion(text: str) -> Iterator[str]:
    """What the text says of the conclusion, the last first: "the conclusion ... is LABEL"."""
    for sentence in reversed(sentences(text)):
        if _ON_CONCLUSION.search(sentence) and not _HYPOTHETICAL.search(sentence):
            yield sentence


def _verdicts(text: str) -> list[str]:
    """The labels that a text gives, in order."""
    given = []
    for match in _VERDICT.finditer(text.replace("*", "")):
        if match["open"]:
            given.append("Uncertain")
        elif match["plain"]:
            value = match["plain"].lower()
            given.append(value.capitalize() if value in ("true", "false") else "Uncertain")
        elif (match["denied"] or "").lower() == "true":
            given.append("False")
    return given


def _in_other_words(passage: str) -> str | None:
    """A verdict on the conclusion without any label; doubt outweighs denial, denial assent."""
    for verdict, words in _IN_OTHER_WORDS.items():
        if words.search(passage):
            return verdict
    return None


def _restated(passage: str, claim: str) -> str | None:
    """True if the passage is the claim itself, False if it is the claim with one negation more or
    fewer."""
    said = _RESTATES.split(passage)[-1]
    if not claim or not normal(said):
        return None
    if normal(said) == normal(claim):
        return "True"
    without = [sorted(_stems(_NEGATIONS.sub(" ", text))) for text in (said, claim)]
    negations = [len(_NEGATIONS.findall(text)) for text in (said, claim)]
    if without[0] == without[1] and abs(negations[0] - negations[1]) == 1:
        return "False"
    return None


def _stems(text: str) -> Sequence[str]:
    """Words without the endings and helpers that a negation changes ("flies", "does not fly")."""
    words = [word for word in normal(text).split() if word not in {"does", "do", "did"}]
    return [re.sub(r"(?:ies|es|s|y)$", "", word) for word in words]
