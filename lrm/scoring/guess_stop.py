"""Why a reply ended, guessed from its text, for replies from elsewhere that do not say it."""

from __future__ import annotations

import re

from lrm.records.reply import THINK_CLOSE, Stop
from lrm.replies import loops

FEWEST_WORDS = 200
"""A reply with fewer words and no closing tag counts as a direct answer, not as a cut one."""

_ENDED = re.compile(r"[^\w\s,;:(\[{<=+\u2013\u2014-]$")
_LABELLED = re.compile(r"\w\W*:\W*\w")


def guess_stop(text: str) -> Stop:
    """ "length" if the text ends in a loop, or if its thinking was never closed and it breaks off.

    It breaks off if it does not end in a full stop, bracket, quote or markup, and its last line is
    not of the form "Answer: ...".
    """
    if text_loops(text):
        return "length"
    if THINK_CLOSE in text or len(text.split()) < FEWEST_WORDS:
        return "stop"
    ended = _ENDED.search(text.rstrip()) or _LABELLED.search(text.rstrip().rpartition("\n")[2])
    return "stop" if ended else "length"


def text_loops(text: str) -> bool:
    """Whether a text ends in a loop of words. The last word may be cut off."""
    words = text.split()
    return loops(words) or loops(words[:-1])
