"""Tables of results for a terminal and for a page, and how estimates are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrm.records.point import Interval


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells under a heading; `note` says how to read them."""

    heading: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def text(self) -> str:
        """The heading, the columns aligned to the right two spaces apart, and the note."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        body = [
            "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        return "\n".join((self.heading, *body, *([self.note] if self.note else [])))


def percent(interval: Interval) -> str:
    """A share with its 95% interval: "50.0% [33, 67]"."""
    return f"{100 * interval.value:.1f}%{bounds(interval, '.0f', 100)}"


def amount(interval: Interval) -> str:
    """A mean amount with its 95% interval: "102.5 [96.4, 108.7]"."""
    return f"{interval.value:,.1f}{bounds(interval, ',.1f')}"


def bounds(interval: Interval, form: str, factor: float = 1) -> str:
    """Both ends of an interval, behind its estimate: " [33, 67]"; "" where they are not shown."""
    low, high = interval.shown
    if low is None or high is None:
        return ""
    return f" [{factor * low:{form}}, {factor * high:{form}}]"


def some(words: Sequence[str], most: int = 5) -> str:
    """The first of many words, and how many more there are: "a, b and 3 more"."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 checkpoint", "8 checkpoints", "8 replies"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def signed(difference: Interval) -> str:
    """A difference of shares in percentage points, with its interval: "+5.5 [-23, +33]"."""
    return (
        f"{100 * difference.value:+.1f} [{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]"
    )


def times(ratio: Interval) -> str:
    """A ratio with its interval: "1.20 x [1.10, 1.31]"."""
    return f"{ratio.value:.2f} x [{ratio.low:.2f}, {ratio.high:.2f}]"
