"""Labels: whether a conclusion is True, False or Uncertain, as a reply judges it.

* **strict** takes a verdict that is declared: in the last box, behind the last "Answer:", or in the
  last sentence that says of the conclusion, statement or claim that it is so.
* **lenient** takes other words for a verdict too ("follows from the premises"), and a reply that
  ends on the conclusion itself as True, on its plain negation as False.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lrm.benchmarks.grading.answers import CUE, GAP, IS, AnswerReading, both, declared, graded
from lrm.benchmarks.grading.passages import readable, sentences, statements
from lrm.benchmarks.grading.squad import normal
from lrm.records import Completion, Grade, Question

_LABEL = r"(?:true|false|uncertain|unknown|undetermined|indeterminate|inconclusive)\b"
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
_HYPOTHETICAL = re.compile(
    r"^\W*(?:if|suppose|assuming)\b|\bpossible that\b|\bwould (?:make|render)\b", re.IGNORECASE
)
_REASON = re.compile(r"\b(?:because|since|as|for|given that|due to)\b", re.IGNORECASE)
_CONCLUSION = re.compile(
    rf"\bconclusion\b[\s*_\"]*(?:{IS}|(?:would|should|must|can)\s+be\b){GAP}", re.IGNORECASE
)
_ON_CONCLUSION = re.compile(r"\b(?:conclusion|statement|claim)\b", re.IGNORECASE)
_IN_OTHER_WORDS = {
    "Uncertain": re.compile(
        r"\b(?:(?:can(?:not|'t| not)|impossible to|unable to|not possible to|insufficient\w* "
        r"(?:\w+ )*to)\b[^.]{0,200}\b"
        r"(?:determin|conclud|confirm|establish|verif|deduc|infer|support)"
        r"|(?:not|n't) (?:necessarily|definitively|logically )?\s*follow"
        r"|(?:not|n't) enough (?:information|evidence)|insufficient (?:information|evidence)"
        r"|not necessarily\b|(?:may|might) or (?:may|might) not\b|not supported|unsupported)",
        re.IGNORECASE,
    ),
    "False": re.compile(
        r"\b(?:incorrect|invalid|contradict\w*|not (?:valid|correct)"
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
_ON_GROUNDS = re.compile(
    r"^\W*(?:based on|given|from|according to|by) (?:the|these|all|our|this) [^,]*,", re.IGNORECASE
)
_RESTATES = re.compile(
    r"\b(?:conclusion|answer)\b[\s*_\"]*:|\b(?:therefore|thus|hence|so)\b,?", re.I
)


def label(text: str, finished: bool = True, claim: str = "") -> AnswerReading:
    """True, False or Uncertain; "Unknown" is Uncertain.

    "not true" is False, "neither true nor false" and "not necessarily true" are Uncertain. An
    enumeration ("true, false, or uncertain") and a denial of anything else answer nothing. `claim`
    is the conclusion that was asked about: where no verdict is given, the lenient rule takes other
    words for one ("follows from the premises"), and a reply that ends on the claim itself as True,
    on its plain negation as False.
    """
    for passage in declared(text, CUE):
        if verdicts := _verdicts(passage):
            return both(verdicts[0])
    for passage in _on_conclusion(text):
        if verdicts := _verdicts(_REASON.split(passage, maxsplit=1)[0]) or _verdicts(passage):
            return both(verdicts[-1])
    if not finished:
        return both(None)
    ends = [*declared(text, CUE), *statements(text, _CONCLUSION), *sentences(text)[-1:]]
    for read in (lambda passage: _restated(passage, claim), _in_other_words):
        for passage in ends:
            if found := read(passage):
                return AnswerReading(None, found)
    verdicts = _verdicts(text)
    return AnswerReading(None, verdicts[-1] if verdicts else None)


def grade_label(question: Question, completion: Completion, claim: str = "") -> Grade:
    """1 if the label equals the gold; "Unknown" is Uncertain on both sides."""
    found = label(readable(completion), completion.stop == "stop", claim)
    golds = [label(gold).lenient for gold in question.gold]
    return graded(found, lambda answer: answer in golds)


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
    said = _ON_GROUNDS.sub("", _RESTATES.split(passage)[-1])
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
