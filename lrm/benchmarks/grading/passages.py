"""Where in a reply an answer may be: after the thinking, in a box, behind a cue. Pure text.

`math-verify` (version 0.9.0) was tried for boxes and is not used. It takes the last number of any
text, so it finds an answer where there is none; it reads `\\text{33 minutes}` as a product, not as
33; and a tower of powers in a box keeps its comparison busy until a 5 s alarm, which only a main
thread may set. The answers of these benchmarks need only a whole number written in LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from lrm.records.reply import THINK_CLOSE, Completion

LAST_WORDS = 2000
"""Characters at the end of a cut reply that are read. What it said earlier, it was still
reconsidering."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BRACELESS_BOX = re.compile(r"\\boxed\s*([0-9]+|[A-Z])(?![\w{])")
_LATEX_MARKUP = re.compile(
    r"\\(?:text\w*|math[a-z]+|mbox|left|right|displaystyle|underline)\b"
    r"|\\[,!;: $%()\[\]]|\^(?:\s*\{)?\s*\\circ\b(?:\s*\})?|\$|\*\*|__"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SCRIPT = re.compile(r"[\^_]\{[^{}]*\}")
_NO_DECIMALS = re.compile(r"(?<=[0-9])\.0+(?![0-9])")
_THOUSANDS = re.compile(r"(?<=[0-9])(?:,|\{,\})(?=[0-9]{3}(?![0-9]))")
_HEDGE = re.compile(r"\b(?:maybe|perhaps|possibly|might|alternatively)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[*_\"')\]]*\s+(?=[*_\"'(\[#-]*[A-Z0-9\\])|\n+")


def after_thinking(text: str) -> str:
    """The part of a reply that is graded: what follows its thinking.

    That is the text after the last closing tag that anything follows (a forced reply may go on
    thinking and close a second time). It is the whole text if there is no tag, and empty if nothing
    follows the tag.
    """
    before_tag, *parts = text.split(THINK_CLOSE)
    if not parts:
        return before_tag
    return next((part for part in reversed(parts) if part.strip()), "")


def graded_text(completion: Completion) -> str:
    """The text that is graded: after the thinking, and only the end of a reply that a cap cut."""
    text = after_thinking(completion.text)
    return text if completion.stop == "stop" else text[-LAST_WORDS:]


def last_box(text: str) -> str | None:
    r"""The content of the last \boxed{...}, nested braces included; of nested boxes the innermost.

    Blank and unclosed boxes do not count; \boxed 5 and \fbox{5} do.
    """
    open_braces: list[tuple[bool, int]] = []  # whether it opens a box, and where its content starts
    last_start, last_content = -1, None
    for brace in _BRACES.finditer(text):
        if brace.group().endswith("{") and brace.group() != r"\{":
            open_braces.append((brace.group() != "{", brace.end()))
        elif brace.group() == "}" and open_braces:
            is_box, start = open_braces.pop()
            content = text[start : brace.start()].strip()
            if is_box and start > last_start and content:
                last_start, last_content = start, content
    for braceless in _BRACELESS_BOX.finditer(text):
        if braceless.start() > last_start:
            last_start, last_content = braceless.start(), braceless[1]
    return last_content


def statements(text: str, cue: re.Pattern[str]) -> Iterator[str]:
    """The text between each cue and the end of its line, the last first.

    Blank statements are left out, and hedged ones ("maybe the answer is").
    """
    for match in reversed(list(cue.finditer(text))):
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.end())
        statement = text[match.end() : None if end < 0 else end].strip()
        sentence_before_cue = re.split(r"[.!?]\s", text[start : match.start()])[-1]
        if statement and not _HEDGE.search(sentence_before_cue):
            yield statement


def sentences(text: str) -> list[str]:
    """Sentences and lines, in order. "No. 5", and a quoted full stop before a small letter, end no
    sentence."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def first_sentence(text: str, says_gold: Callable[[str], bool]) -> int | None:
    """The end, in characters, of the first sentence or line that says a gold, or None."""
    for match in _SENTENCE.finditer(text):
        if says_gold(match.group()):
            return match.end()
    return None


def earliest(ends: Iterable[int | None]) -> int | None:
    """The least of the ends that are not None."""
    return min((end for end in ends if end is not None), default=None)


def nonblank_lines(text: str) -> list[str]:
    """The lines that are not blank once Markdown and LaTeX are removed, in order."""
    return [line for line in text.splitlines() if without_markup(line)]


def without_latex(text: str) -> str:
    """Text without LaTeX markup, thousands separators and ".0"; of exponents only a "^" stays, so
    that a power is not taken for a number."""
    unmarked = _LATEX_MARKUP.sub("", text)
    flat = _SCRIPT.sub("^", _FRACTION.sub(r"\1/\2", unmarked))
    return _NO_DECIMALS.sub("", _THOUSANDS.sub("", flat))


def without_markup(text: str) -> str:
    """Text without Markdown, LaTeX text commands, quotes and the final full stop."""
    return _LATEX_MARKUP.sub("", text).strip(" \t\r\n*_`#>-\"'“”{}").rstrip(".").strip()
