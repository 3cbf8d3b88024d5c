"""Labels: whether a conclusion is True, False or Uncertain, as a reply judges it.

* **strict** takes a declared verdict: in the last box, behind the last "Answer:", or in the last
  sentence that calls the conclusion, statement or claim true, false or uncertain.
* **lenient** also takes a verdict in other words ("follows from the premises"), and reads a reply
  that ends with the conclusion itself as True, and one that ends with its plain negation as False.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

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
from lrm.benchmarks.grading.passages import first_sentence, graded_text, sentences, statements
from lrm.benchmarks.grading.squad import normalize
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion

LABELS = {"True": "True", "False": "False", "Uncertain": "Uncertain", "Unknown": "Uncertain"}
"""The labels by the names that data sets have for them."""

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
_GROUNDS = re.compile(
    r"^\W*(?:based on|given|from|according to|by) (?:the|these|all|our|this) [^,]*,", re.IGNORECASE
)
_BEFORE_RESTATEMENT = re.compile(
    r"\b(?:conclusion|answer)\b[\s*_\"]*:|\b(?:therefore|thus|hence|so)\b,?", re.I
)


def extract_label(text: str, finished: bool = True, claim: str = "") -> ExtractedAnswer:
    """True, False or Uncertain; "Unknown" is Uncertain.

    "not true" is False, "neither true nor false" and "not necessarily true" are Uncertain. An
    enumeration ("true, false, or uncertain") and the denial of any other label answer nothing.
    `claim` is the conclusion that was asked about, which a reply may restate instead of giving a
    label. Only what is declared counts where a cap cut the reply (`finished` is false).
    """
    # Strict: a verdict in a declaration, else in the last sentence about the conclusion.
    for passage in declarations(text, ANSWER_CUE):
        if verdicts := _verdicts(passage):
            return by_both_rules(verdicts[0])
    for sentence in _sentences_on_conclusion(text):
        # The reasons may give verdicts on premises, so what comes before them is read first.
        judgement = _REASON.split(sentence, maxsplit=1)[0]
        if verdicts := _verdicts(judgement) or _verdicts(sentence):
            return by_both_rules(verdicts[-1])
    if not finished:
        return by_both_rules(None)

    # Lenient: the claim restated, else a verdict in other words, where the reply concludes.
    conclusions = [
        *declarations(text, ANSWER_CUE),
        *statements(text, _CONCLUSION),
        *sentences(text)[-1:],
    ]
    for extract in (lambda passage: _restated(passage, claim), _in_other_words):
        for passage in conclusions:
            if verdict := extract(passage):
                return by_lenient_rule(verdict)

    # Lenient, last: any label, wherever it stands.
    verdicts = _verdicts(text)
    return by_lenient_rule(verdicts[-1] if verdicts else None)


def grade_label(question: Question, completion: Completion, claim: str = "") -> Grade:
    """1 if the label equals the gold; "Unknown" is Uncertain on both sides."""
    extracted = extract_label(graded_text(completion), completion.stop == "stop", claim)
    golds = [extract_label(gold).lenient for gold in question.gold]
    return grade_extracted(extracted, lambda answer: answer in golds)


def first_label(text: str, golds: Iterable[str], claim: str) -> int | None:
    """The end, in characters, of the first sentence that gives a gold, strictly, or None; `claim`
    is what is judged."""
    labels = {extract_label(gold).lenient for gold in golds} - {None}
    return first_sentence(
        text, lambda sentence: extract_label(sentence, True, claim).strict in labels
    )


def _sentences_on_conclusion(text: str) -> Iterator[str]:
    """The sentences about the conclusion ("the conclusion ... is LABEL"), the last first."""
    for sentence in reversed(sentences(text)):
        if _ON_CONCLUSION.search(sentence) and not _HYPOTHETICAL.search(sentence):
            yield sentence


def _verdicts(text: str) -> list[str]:
    """The labels that a text gives, in order."""
    verdicts = []
    for match in _VERDICT.finditer(text.replace("*", "")):
        if match["open"]:
            verdicts.append("Uncertain")
        elif match["plain"]:
            value = match["plain"].lower()
            verdicts.append(value.capitalize() if value in ("true", "false") else "Uncertain")
        elif (match["denied"] or "").lower() == "true":
            verdicts.append("False")
    return verdicts


def _in_other_words(passage: str) -> str | None:
    """A verdict on the conclusion without any label. Doubt overrides denial, and denial assent,
    since "cannot be proved" and "not correct" hold the words of the weaker ones too."""
    for verdict, words in _IN_OTHER_WORDS.items():
        if words.search(passage):
            return verdict
    return None


def _restated(passage: str, claim: str) -> str | None:
    """True if the passage is the claim itself, False if it is the claim with one negation more or
    fewer."""
    statement = _GROUNDS.sub("", _BEFORE_RESTATEMENT.split(passage)[-1])
    if not claim or not normalize(statement):
        return None
    if normalize(statement) == normalize(claim):
        return "True"
    stems = [sorted(_stems(_NEGATIONS.sub(" ", part))) for part in (statement, claim)]
    negations = [len(_NEGATIONS.findall(part)) for part in (statement, claim)]
    if stems[0] == stems[1] and abs(negations[0] - negations[1]) == 1:
        return "False"
    return None


def _stems(text: str) -> Sequence[str]:
    """Words without the endings and helpers that a negation changes ("flies", "does not fly")."""
    words = [word for word in normalize(text).split() if word not in {"does", "do", "did"}]
    return [re.sub(r"(?:ies|es|s|y)$", "", word) for word in words]
