"""A chat whose reply begins inside the opened thinking, whatever renders the chat template."""

from __future__ import annotations

from pathlib import Path

from lrm.errors import BadInput
from lrm.records.reply import THINK_OPEN


def with_open_thinking(chat: str) -> str:
    """The rendered chat, ending in `<think>\\n`. Some templates (DeepSeek-R1's) open the thinking
    themselves, others do not."""
    opens_it = chat.rstrip().endswith(THINK_OPEN)
    return f"{chat.rstrip() if opens_it else chat + THINK_OPEN}\n"


def missing_template(source: str | Path) -> BadInput:
    """The error for a model whose tokenizer, from `source`, has no chat template."""
    return BadInput(
        f"checkpoint {source} has no chat template; ask on the paper track, or save the tokenizer "
        "with its template"
    )
