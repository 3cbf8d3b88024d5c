"""Short answers: what a reply to a factual question answers, in a few words.

* **strict** takes the answer as it is given: the last box, else what follows the last "Answer:" or
  "the answer is", else all of the text. No words are picked out of a sentence.
* **lenient** picks them: what is set in bold; else, where the question asks for a time or a number,
  the only one given; else what stands behind the sentence's last "is".

A refusal ("it cannot be determined") answers nothing.
"""

from __future__ import annotations

import re

from lrm.benchmarks.grading.answers import CUE, AnswerReading, both
from lrm.benchmarks.grading.passages import bare, boxed, lines, readable, sentences, statements
from lrm.benchmarks.grading.squad import exact_match, f1, normal
from lrm.records import Completion, Grade, Mark, Question, Rule

_FENCED = re.compile(r"^\s*```.*?^\s*```\s*$", re.DOTALL | re.MULTILINE)
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
_SAYS_MUCH = 6  # words
_NAME = re.compile(r"(?:the |an? )?[\"“'(]?[A-Z0-9]")
_TAIL = re.compile(r",\s+(?:who|which|a|an|the|where|known)\b.*|\s+\([^)]*\)\.?$")

HEADLINE: Rule = "strict"
"""The paper's MuSiQue scores of the small models leave no room for picking words out of sentences:
0.3% exact match for a model of whose released outputs this rule finds none right."""


def short(text: str, question: str = "", finished: bool = True) -> AnswerReading:
    """The short answer under each rule; `question` is the prompt, for what kind of thing it asks.

    None for a refusal or an empty text. A reply that a cap cut answers what it declares, and
    leniently what its last whole line says.
    """
    prose = _FENCED.sub("", text)
    text = prose if bare(prose) else text
    passage = _passage(text)
    said = lines(text) if finished else lines(text)[:-1]
    last = passage or (said[-1] if said else "")
    if not bare(last) or _REFUSAL.search(bare(last)):
        return both(None)
    whole = passage or (text if finished else "")
    return AnswerReading(bare(whole) or None, _picked(last, question))


def grade_short(question: Question, completion: Completion) -> Grade:
    """Exact match as the score, and "f1" beside it, over all golds (aliases count)."""
    asked = question.prompt.rpartition("\n\n")[2]  # behind the paragraphs of an open book
    found = short(readable(completion), asked, completion.stop == "stop")

    def mark(answer: str | None) -> Mark:
        if answer is None:
            return Mark(None, 0.0)
        return Mark(answer, exact_match(answer, question.gold), normal(answer))

    marks: dict[Rule, Mark] = {"strict": mark(found.strict), "lenient": mark(found.lenient)}
    head = marks[HEADLINE]
    also = {"f1": 0.0 if head.answer is None else f1(head.answer, question.gold)}
    return Grade(head.answer, head.score, also, marks, head.vote)


def _passage(text: str) -> str | None:
    """The last box, else the last statement that says something."""
    box = boxed(text)
    if box is not None and bare(box):
        return box
    return next((found for found in statements(text, CUE) if bare(found)), None)


def _picked(passage: str, question: str) -> str:
    """The few words of a passage that answer."""
    bold = [span for span in _BOLD.findall(passage) if bare(span)]
    if bold:
        return bare(bold[-1])
    for asks, expression in ((_ASKS_WHEN, _TIME), (_ASKS_HOW_MANY, _NUMBER)):
        given = {match.group() for match in expression.finditer(passage)}
        if asks.search(question) and len(given) == 1:
            return bare(given.pop())
    if len(passage.split()) <= _SAYS_MUCH:
        return bare(passage)
    behind = [_TAIL.sub("", part) for part in _IS.split(sentences(passage)[0])[1:]]
    named = (bare(part) for part in reversed(behind) if _NAME.match(part))
    return next(filter(None, named), bare(passage))
