"""The chat template in a GGUF file, rendered as the Hugging Face tokenizers render theirs."""

from __future__ import annotations

from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

from lrm.engines.shared.chat import THINKING, template_errors


def render_template(template: str, message: str, bos: str, eos: str, source: Path) -> str:
    """The template around one user's message, up to where the model begins to speak.

    It is rendered by transformers itself, whose environment templates are written for: sandboxed,
    with its own filters, tags and functions. Raises BadInput, which names `source`, for a template
    that cannot be rendered.
    """
    with template_errors(source):
        chats, _ = render_jinja_template(
            [[{"role": "user", "content": message}]],
            chat_template=template,
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
            **THINKING,
        )
    return str(chats[0])
