"""Where in a reply an answer may stand: after the thinking, in a box, behind a cue. Pure text.

`math-verify` was tried for boxes and left out. It takes the last number of any text, so that it
never finds nothing; it reads `\\text{33 minutes}` as a product, not as 33; and a tower of powers in
a box keeps its comparison busy until a 5 s alarm, which only a main thread may set (version 0.9.0).
What the answers of these benchmarks need is a whole number in LaTeX dress.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lrm.records import Completion
from lrm.replies import THINK_CLOSE

LAST_WORDS = 2000
"""Characters at the end of a cut reply that are read: what it said before, it has reconsidered."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s*([0-9]+|[A-Z])(?![\w{])")
_LATEX_NOISE = re.compile(
    r"\\(?:text\w*|math[a-z]+|mbox|left|right|displaystyle|underline)\b"
    r"|\\[,!;: $%()\[\]]|\^(?:\s*\{)?\s*\\circ\b(?:\s*\})?|\$|\*\*|__"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SCRIPT = re.compile(r"[\^_]\{[^{}]*\}")
_NO_DECIMALS = re.compile(r"(?<=[0-9])\.0+(?![0-9])")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\{,\})(?=[0-9]{3}(?![0-9]))")
_HEDGE = re.compile(r"\b(?:maybe|perhaps|possibly|might|alternatively)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[*_\"')\]]*\s+(?=[*_\"'(\[#-]*[A-Z0-9\\])|\n+")


def after_thinking(text: str) -> str:
    """The part of a reply that is graded: what follows its thinking.

    That is the text after the last closing tag with anything behind it (a forced reply may go on
    thinking and close a second time); all of the text where no tag stands; nothing where nothing
    follows the tag.
    """
    head, *parts = text.split(THINK_CLOSE)
    if not parts:
        return head
    return next((part for part in reversed(parts) if part.strip()), "")


def readable(completion: Completion) -> str:
    """The text that is graded: after the thinking; of a reply that a cap cut, its last words."""
    text = after_thinking(completion.text)
    return text if completion.stop == "stop" else text[-LAST_WORDS:]


def boxed(text: str) -> str | None:
    r"""What the last \boxed{...} holds, nested braces included, the innermost of nested boxes.

    Blank and unclosed boxes do not count; \boxed 5 and \fbox{5} do.
    """
    open_braces: list[tuple[bool, int]] = []
    last_start, found = -1, None
    for brace in _BRACES.finditer(text):
        if brace.group().endswith("{") and brace.group() != r"\{":
            open_braces.append((brace.group() != "{", brace.end()))
        elif brace.group() == "}" and open_braces:
            is_box, start = open_braces.pop()
            content = text[start : brace.start()].strip()
            if is_box and start > last_start and content:
                last_start, found = start, content
    for bare in _BARE_BOX.finditer(text):
        if bare.start() > last_start:
            last_start, found = bare.start(), bare[1]
    return found


def statements(text: str, cue: re.Pattern[str]) -> Iterator[str]:
    """What stands between each cue and the end of its line, the last first.

    Blank ones are left out, and hedged ones ("maybe the answer is").
    """
    for match in reversed(list(cue.finditer(text))):
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.end())
        statement = text[match.end() : None if end < 0 else end].strip()
        before = re.split(r"[.!?]\s", text[start : match.start()])[-1]
        if statement and not _HEDGE.search(before):
            yield statement


def sentences(text: str) -> list[str]:
    """Sentences and lines, in order. "No. 5" and quoted full stops before small letters hold."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def lines(text: str) -> list[str]:
    """The lines that say something once Markdown and LaTeX are gone, in order."""
    return [line for line in text.splitlines() if bare(line)]


def plain(text: str) -> str:
    """Text without LaTeX dress, thousands separators and ".0"; of exponents a "^" stays."""
    undressed = _LATEX_NOISE.sub("", text)
    flat = _SCRIPT.sub("^", _FRACTION.sub(r"\1/\2", undressed))
    return _NO_DECIMALS.sub("", _THOUSANDS.sub("", flat))


def bare(text: str) -> str:
    """Text without Markdown, LaTeX text commands, quotes and the final full stop."""
    return _LATEX_NOISE.sub("", text).strip(" \t\r\n*_`#>-\"'“”{}").rstrip(".").strip()
