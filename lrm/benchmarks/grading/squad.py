"""Exact match and F1 of short answers, as SQuAD counts them.

Rajpurkar et al. 2016, arXiv 1606.05250, official evaluation script: case, punctuation, articles and
spacing are removed before words are compared. Case is folded fully, which for ASCII is lower case,
and treats every other letter alike in both cases too.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """SQuAD's normal form of an answer: small letters, no punctuation, no articles, one space."""
    folded = text.upper().casefold().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", folded).split())


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1 if the answer equals any gold in normal form, else 0."""
    return float(any(normalize(answer) == normalize(gold) for gold in golds))


def f1(answer: str, golds: Sequence[str]) -> float:
    """The best F1 of shared words over the golds, in [0, 1].

    Where either side normalises to nothing, 1 if both do, else 0 (the rule of SQuAD 2.0,
    arXiv 1806.03822), so that it is never below `exact_match`.
    """
    words = normalize(answer).split()
    return max((_word_f1(words, normalize(gold).split()) for gold in golds), default=0.0)


def _word_f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    shared = (Counter(answer) & Counter(gold)).total()
    return 2 * shared / (len(answer) + len(gold))
