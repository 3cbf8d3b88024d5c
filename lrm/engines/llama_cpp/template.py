"""The chat template in a GGUF file, rendered as the Hugging Face tokenizers render theirs."""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lrm.errors import BadInput


def render_template(template: str, message: str, bos: str, eos: str) -> str:
    """The template around one user's message, up to where the model begins to speak.

    Templates come with models from strangers, so they run in a sandbox. Its settings are those that
    templates are written for (huggingface.co/docs/transformers, chat_templating): no blank lines
    left by blocks, loop controls, and the two functions they may call. Raises BadInput for a
    template that cannot be rendered.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    try:
        return environment.from_string(template).render(
            messages=[{"role": "user", "content": message}],
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
        )
    except TemplateError as error:
        raise BadInput(
            f"the model's chat template cannot be used ({error}); ask on the paper track"
        ) from error


def _raise_exception(reason: str) -> NoReturn:
    raise TemplateError(reason)
