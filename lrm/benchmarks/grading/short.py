"""Short answers: what a reply to a factual question answers, in a few words.

* **strict** takes the answer as it is given: the last box, else what follows the last "Answer:" or
  "the answer is", else the whole text. It picks no words out of a sentence.
* **lenient** picks words: those in bold; else, if the question asks for a time or a number, the
  only one given; else what follows the last "is" of the sentence.

A refusal ("it cannot be determined") answers nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lrm.benchmarks.grading.extraction import ANSWER_CUE, ExtractedAnswer, by_both_rules
from lrm.benchmarks.grading.passages import (
    earliest,
    graded_text,
    last_box,
    nonblank_lines,
    sentences,
    statements,
    without_markup,
)
from lrm.benchmarks.grading.squad import exact_match, f1, normalize
from lrm.records.question import Grade, Mark, Question, Rule
from lrm.records.reply import Completion

_CODE_BLOCK = re.compile(r"^\s*```.*?^\s*```\s*$", re.DOTALL | re.MULTILINE)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_REFUSAL = re.compile(
    r"\b(?:can(?:not|'t| not)|could(?: not|n't)|unable to|not able to|not possible to)\s+(?:be\s+)?"
    r"(?:definitively\s+|accurately\s+)?"
    r"(?:answer|determin|provid|find|identif|verif|confirm|help|assist)"
    r"|\bnot\s+(?:\w+\s+)?(?:disclosed|known|specified|provided|mentioned|available|enough)\b"
    r"|n't\s+(?:\w+\s+)?(?:know|disclosed|known|specified|provided|mentioned|available|enough)\b"
    r"|\b(?:insufficient|no) (?:specific |enough )?(?:information|answer|data)\b|^unknown$",
    re.IGNORECASE,
)
_ASKS_WHEN = re.compile(r"\b(?:when|(?:what|which) (?:\w+ )?(?:year|date|day|century))\b", re.I)
_ASKS_HOW_MANY = re.compile(r"\bhow (?:many|much|long|old|far)\b|\bpopulation\b", re.IGNORECASE)
_MONTH = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december)"
)
_TIME = re.compile(
    rf"\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{3,4}})?\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+\d{{3,4}})?\b"
    rf"|\b{_MONTH}\s+\d{{3,4}}\b"
    r"|\b\d{1,2}(?:st|nd|rd|th)[\s-]+century\b|\b\d{3,4}s?\b(?:\s*(?:BCE?|CE|AD)\b)?"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\b\d[\d,]*(?:\.\d+)?(?:\s+(?:hundred|thousand|million|billion|miles?|kilomet\w+|years?))?\b"
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b(?:[\s-]+years?)?",
    re.IGNORECASE,
)
_IS = re.compile(r"\b(?:is|was|are|were|became|by|:)\s+(?:likely\s+|called\s+|named\s+)?")
_SHORT_WORDS = 6
"""A passage of at most as many words is an answer as it stands."""
_NAME = re.compile(r"(?:the |an? )?[\"“'(]?[A-Z0-9]")
_APPOSITION = re.compile(r",\s+(?:who|which|a|an|the|where|known)\b.*|\s+\([^)]*\)\.?$")

_WORD = re.compile(r"\S+")

HEADLINE: Rule = "strict"
"""The paper's MuSiQue scores of its small models show that no words were picked out of sentences:
it reports 0.3% exact match for a model in whose released outputs this rule finds none right."""


def extract_short(text: str, question: str = "", finished: bool = True) -> ExtractedAnswer:
    """The short answer under each rule; `question` is the prompt, which says whether a time or a
    number is asked for.

    None for a refusal or an empty text. Where a cap cut the reply (`finished` is false) only what
    it declares counts, and leniently its last whole line.
    """
    # A block of code is left out, unless there is nothing else.
    prose = _CODE_BLOCK.sub("", text)
    text = prose if without_markup(prose) else text
    declaration = _declaration(text)
    whole_lines = nonblank_lines(text) if finished else nonblank_lines(text)[:-1]
    passage = declaration or (whole_lines[-1] if whole_lines else "")
    if not without_markup(passage) or _REFUSAL.search(without_markup(passage)):
        return by_both_rules(None)
    as_given = declaration or (text if finished else "")
    return ExtractedAnswer(without_markup(as_given) or None, _picked_words(passage, question))


def grade_short(question: Question, completion: Completion) -> Grade:
    """Exact match as the score, and "f1" beside it, over all golds (aliases count)."""
    asked = question.prompt.rpartition("\n\n")[2]  # the paragraphs of an open book stand before it
    extracted = extract_short(graded_text(completion), asked, completion.stop == "stop")

    def mark(answer: str | None) -> Mark:
        if answer is None:
            return Mark(None, 0.0)
        return Mark(answer, exact_match(answer, question.gold), normalize(answer))

    marks: dict[Rule, Mark] = {
        "strict": mark(extracted.strict),
        "lenient": mark(extracted.lenient),
    }
    headline = marks[HEADLINE]
    also = {"f1": 0.0 if headline.answer is None else f1(headline.answer, question.gold)}
    return Grade(headline.answer, headline.score, also, marks, headline.vote)


def first_words(text: str, golds: Iterable[str]) -> int | None:
    """The end, in characters, of the first place where a gold's words stand in their order, in
    SQuAD's normal form, or None. Other words for the gold ("thirty-three") are not seen."""
    return earliest(_end_of(text, normalize(gold).split()) for gold in golds)


def _end_of(text: str, gold: list[str]) -> int | None:
    """Words that normalise to nothing (articles, dashes) may stand between those of the gold."""
    if not gold:
        return None
    words: list[tuple[str, int]] = [
        (part, match.end())
        for match in _WORD.finditer(text)
        for part in normalize(match.group()).split()
    ]
    for start in range(len(words) - len(gold) + 1):
        if all(words[start + offset][0] == part for offset, part in enumerate(gold)):
            return words[start + len(gold) - 1][1]
    return None


def _declaration(text: str) -> str | None:
    """The last box, else the last statement, that is not blank once markup is removed."""
    box = last_box(text)
    if box is not None and without_markup(box):
        return box
    return next(filter(without_markup, statements(text, ANSWER_CUE)), None)


def _picked_words(passage: str, question: str) -> str:
    """The few words of a passage that answer."""
    # 1) What is in bold.
    bold = [span for span in _BOLD.findall(passage) if without_markup(span)]
    if bold:
        return without_markup(bold[-1])

    # 2) The only time or number, if the question asks for one.
    for asks, expression in ((_ASKS_WHEN, _TIME), (_ASKS_HOW_MANY, _NUMBER)):
        values = {match.group() for match in expression.finditer(passage)}
        if asks.search(question) and len(values) == 1:
            return without_markup(values.pop())

    # 3) The passage itself, if it is short; else the last name behind an "is" of its sentence.
    if len(passage.split()) <= _SHORT_WORDS:
        return without_markup(passage)
    predicates = [_APPOSITION.sub("", part) for part in _IS.split(sentences(passage)[0])[1:]]
    names = (without_markup(part) for part in reversed(predicates) if _NAME.match(part))
    return next(filter(None, names), without_markup(passage))
