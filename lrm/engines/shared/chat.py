"""A user's message inside a model's chat template, with the thinking opened."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lrm.errors import BadInput
from lrm.records import THINK_OPEN


def opened(text: str) -> str:
    """A chat ends in `<think>\\n`, which templates that open the thinking themselves end in
    already (DeepSeek-R1's) and others do not."""
    return f"{text.rstrip() if text.rstrip().endswith(THINK_OPEN) else text + THINK_OPEN}\n"


def no_template(source: str | Path) -> BadInput:
    return BadInput(
        f"checkpoint {source} has no chat template; ask on the paper track, or save the tokenizer "
        "with its template"
    )


def opened_chat(tokenizer: Any, message: str, source: str | Path) -> str:
    """The chat as a Hugging Face tokenizer writes it, with the thinking opened; `source` says whose
    template is missing if there is none."""
    if not tokenizer.chat_template:
        raise no_template(source)
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    return opened(text)


def render(template: str, message: str, bos: str, eos: str) -> str:
    """The template around one user's message, up to where the model begins to speak.

    The environment is what templates are written for (huggingface.co/docs/transformers,
    chat_templating): whitespace control on, loop controls, and the two functions they may call.
    They come with the model, from strangers, so they run in a sandbox.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
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


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)
