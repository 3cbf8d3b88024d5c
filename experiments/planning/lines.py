"""The lines of a plan: a quantity, its value, and where that is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GB = 1e9
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A quantity and its value; `source` is a formula, or says what was measured or assumed."""

    quantity: str
    value: str
    source: str = ""


def section(heading: str, lines: Sequence[PlanLine]) -> str:
    """The heading, and below it the lines in three columns."""
    first = max(len(line.quantity) for line in lines)
    second = max(len(line.value) for line in lines)
    body = [
        f"  {line.quantity.ljust(first)}  {line.value.rjust(second)}  {line.source}".rstrip()
        for line in lines
    ]
    return "\n".join((heading, *body))


def gb(size: float) -> str:
    """Bytes as GB of 1,000,000,000."""
    return f"{size / GB:,.1f} GB"


def gpus(count: int) -> str:
    """The number of GPUs as text: "1 GPU", "2 GPUs"."""
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.0f} s"
