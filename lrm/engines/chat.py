"""A user's message in a model's own chat template, with the thinking opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrm.errors import BadInput
from lrm.replies import THINK_OPEN


def opened_chat(tokenizer: Any, message: str, source: str | Path) -> str:
    """The rendered chat. It ends in `<think>\\n`, which templates that open the thinking themselves
    end in already (DeepSeek-R1's) and others do not. `source` says whose template is missing."""
    if not tokenizer.chat_template:
        raise BadInput(
            f"checkpoint {source} has no chat template; ask on the paper track, "
            "or save the tokenizer with its template"
        )
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    opened = text.rstrip() if text.rstrip().endswith(THINK_OPEN) else text + THINK_OPEN
    return f"{opened}\n"
