"""The chat template in a GGUF file, rendered as the Hugging Face tokenizers render theirs."""

from __future__ import annotations

from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

from lrm.engines.shared.chat import THINKING, Messages, rendered


def render_template(
    template: str, message: str, bos: str, eos: str, source: Path, system: str | None = None
) -> str:
    """The template around one user's message, up to where the model begins to speak.

    It is rendered by transformers itself, whose environment templates are written for: sandboxed,
    with its own filters, tags and functions. Raises BadInput, which names `source`, for a template
    that cannot be rendered, or takes no `system` text.
    """

    def render(messages: Messages) -> str:
        chats, _ = render_jinja_template(
            [messages],
            chat_template=template,
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
            **THINKING,
        )
        return str(chats[0])

    return rendered(render, message, source, system)
