"""Letters: which of the options (A), (B) and so on a reply chooses.

See `lrm.benchmarks.grading.extraction` for the two rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from lrm.benchmarks.grading.extraction import (
    ANSWER_CUE,
    GAP,
    IS,
    ExtractedAnswer,
    by_both_rules,
    by_lenient_rule,
    declarations,
    grade_extracted,
)
from lrm.benchmarks.grading.passages import (
    first_sentence,
    graded_text,
    nonblank_lines,
    without_latex,
)
from lrm.benchmarks.grading.squad import normalize
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

LETTERS = "ABCDEFGH"
"""Letters of options; (A) to (D) where nothing says how many there are."""

_CHOICE_CUE = re.compile(
    rf"(?<!this\s)\b(?:answer|option|choice|index|letter)\b[\s*_]*(?:{IS}){GAP}"
    r"|\bfinal\s+answer\b[\s*_#]*\n\s*",
    re.IGNORECASE,
)
_WITHDRAWN = re.compile(r"\s*,?\s*but\b")
_NO_OPTION = re.compile(r"\bnone of (?:the|these|them)\b", re.IGNORECASE)
_REJECTED = re.compile(r"(?:\bnot|n't|\bthan|\binstead of)\s+(?:[Oo]ption\s+)?$")
_LIST_LINK = re.compile(r"(?:\s|,|/|&|\band\b|\bor\b|\bboth\b)*(?:,|/|&|\band\b|\bor\b)\s*")

_CLOCK_TIME = re.compile(r"(\d)\s*([ap])\.?m\b\.?", re.IGNORECASE)
_TO = re.compile(r"(?<=[ap]m)\s*(?:-|\u2013|\u2014|\band\b|\buntil\b|\btill\b)\s*(?=\d)")


@dataclass(frozen=True, slots=True)
class _Letters:
    """How the letters A to `last` are written: anywhere, named as options, and alone on a line."""

    anywhere: re.Pattern[str]
    named: re.Pattern[str]
    alone: re.Pattern[str]
    bare: re.Pattern[str]


@cache
def _letters(last: str) -> _Letters:
    return _Letters(
        anywhere=re.compile(
            rf"\(([A-{last}])\)|(?<![\w'])"
            rf"(?:([B-{last}])|(A)(?!\s+[a-z])|(A)(?=\s+(?:because|is|as|since)\b))(?![\w'])"
        ),
        named=re.compile(
            rf"\(([A-{last}])\)|\b(?:[Oo]ption|[Cc]hoice)\s+([A-{last}])\b|\*\*([A-{last}])\*\*"
        ),
        alone=re.compile(rf"\W*([A-{last}])\W*"),
        bare=re.compile(rf"\W*\(?([A-{last}])\)?(?:\W+(.*))?"),
    )


def _letters_of(options: Mapping[str, str]) -> _Letters:
    return _letters(max(options)[1] if options else "D")


def extract_letter(
    text: str, finished: bool = True, options: Mapping[str, str] | None = None
) -> ExtractedAnswer:
    """The option answered, as "(A)", "(B)" and so on. An article "A" before a word is no option.

    A declaration that lists several options ("(A) or (B)") declares none. `options` maps "(A)" to
    its text: the lenient rule takes the last option named by its letter, else the one whose text
    the reply ends on. Not so where a cap cut the reply (`finished` is false).
    """
    texts = options or {}

    # Strict: the weightiest declaration that names an option, or says that none is right.
    for passage in (*declarations(text, _CHOICE_CUE), *_bare_option(text, texts)):
        if listed := _listed_options(without_latex(passage), texts):
            return by_both_rules(listed[0] if len(listed) == 1 else None)
        if _NO_OPTION.search(passage):
            return by_both_rules(None)
    if not finished:
        return by_both_rules(None)

    # Lenient: an option's text in a box, after a cue or on the last line says more than a letter
    # in passing, so these passages are read before the text as a whole.
    for passage in (*declarations(text, ANSWER_CUE), *nonblank_lines(text)[-1:]):
        if option := _last_named_option(passage, texts) or _last_quoted_option(passage, texts):
            return by_lenient_rule(option)
    return by_lenient_rule(_last_named_option(text, texts) or _last_quoted_option(text, texts))


def grade_letter(
    question: Question, completion: Completion, options: Mapping[str, str] | None = None
) -> Grade:
    """1 if the option equals the gold, which may be written "A" or "(A)"."""
    extracted = extract_letter(graded_text(completion), completion.stop == "stop", options)
    golds = [extract_letter(gold, True, options).lenient for gold in question.gold]
    return grade_extracted(extracted, lambda answer: answer in golds)


def first_letter(text: str, golds: Iterable[str], options: Mapping[str, str]) -> int | None:
    """The end, in characters, of the first sentence that chooses a gold, leniently, or None."""
    letters = {extract_letter(gold, True, options).lenient for gold in golds} - {None}
    return first_sentence(
        text, lambda sentence: extract_letter(sentence, True, options).lenient in letters
    )


def _letter_in(match: re.Match[str]) -> str:
    """The letter, whichever alternative of the expression matched."""
    return match.group(match.lastindex or 0)


def _listed_options(passage: str, options: Mapping[str, str]) -> list[str]:
    """The first option named and those listed with it, each once ("(A) 5pm or (B)" lists two);
    none where they are withdrawn at once ("(A), but")."""
    matches = [
        match
        for match in _letters_of(options).anywhere.finditer(passage)
        if not _REJECTED.search(passage[: match.start()])
    ]
    listed: list[str] = []
    for match, following in zip(matches, [*matches[1:], None], strict=False):
        listed.append(f"({_letter_in(match)})")
        between = passage[match.end() : following.start() if following else None]
        # The option's own text may stand between two letters of a list; it is no other words.
        between = between.replace(options.get(listed[-1], "\n"), "", 1)
        if following is None or not _LIST_LINK.fullmatch(between):
            return [] if _WITHDRAWN.match(between) else list(dict.fromkeys(listed))
    return []


def _bare_option(text: str, options: Mapping[str, str]) -> Iterator[str]:
    """The text itself, if it is an option and nothing else."""
    match = _letters_of(options).bare.fullmatch(text.strip())
    if not match:
        return
    option = f"({match[1]})"
    own_texts = (_comparable(""), _comparable(options.get(option, "")))
    if _comparable(match[2] or "") in own_texts:
        yield option


def _last_named_option(text: str, options: Mapping[str, str]) -> str | None:
    """The last option named by its letter, or standing alone on a line."""
    letters = _letters_of(options)
    alone = (letters.alone.fullmatch(line) for line in text.splitlines())
    named = list(letters.named.finditer(text)) or list(filter(None, alone))
    return f"({_letter_in(named[-1])})" if named else None


def _last_quoted_option(text: str, options: Mapping[str, str]) -> str | None:
    """The option whose text is the last to be quoted; "7 am - 9 am" is "7am to 9am"."""
    comparable = _comparable(text)
    positions = {name: comparable.rfind(_comparable(option)) for name, option in options.items()}
    last = max(positions, key=lambda name: positions[name], default=None)
    return last if last is not None and positions[last] >= 0 else None


def _comparable(text: str) -> str:
    """A text in the form in which options are compared: spans of time written alike, whole words
    between spaces."""
    spans = _TO.sub(" to ", _CLOCK_TIME.sub(r"\1\2m", without_latex(text).lower()))
    return f" {normalize(spans)} "
