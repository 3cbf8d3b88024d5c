"""A chat whose reply begins inside the opened thinking, whatever renders the chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from lrm.errors import BadInput
from lrm.records.reply import THINK_CLOSE, THINK_OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINKING = {"thinking": True, "enable_thinking": True}
"""What templates call the wish that the model thinks: DeepSeek-V3.1 and Granite, Qwen3 and SmolLM3.
One that knows neither name takes no notice."""

EXPRESSION_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What the expressions of a template may raise beside jinja2's own errors."""


Messages = list[dict[str, str]]


def render_chat(
    tokenizer: PreTrainedTokenizerBase, message: str, source: str | Path, system: str | None = None
) -> str:
    """A user's message in the tokenizer's chat template, with the thinking opened.

    `source` names the tokenizer in the BadInput for one that has no template, or whose template
    cannot be used, or takes no `system` text.
    """
    if not tokenizer.chat_template:
        raise missing_template(source)

    def render(messages: Messages) -> str:
        chat: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **THINKING
        )
        return chat

    return with_open_thinking(rendered(render, message, source, system), message, source)


def rendered(
    render: Callable[[Messages], str], message: str, source: str | Path, system: str | None
) -> str:
    """The messages in a chat template, as it has them: the user's, behind that of the `system` if
    it is not None. BadInput as of `template_errors`, and where the template drops a system text."""
    user = {"role": "user", "content": message}
    with template_errors(source, system):
        if system is None:
            return render([user])
        chat = render([{"role": "system", "content": system}, user])
        if system and chat == render([user]):
            raise BadInput(
                f"the chat template of {source} drops what the system says; leave out --system"
            )
        return chat


def with_open_thinking(chat: str, message: str, source: str | Path) -> str:
    """The rendered chat, ending in `<think>\\n`.

    Some templates (DeepSeek-R1's) open the thinking themselves, others do not. Raises BadInput if
    one has closed it behind the user's `message`: the model would answer at once, and its answer
    would be taken for thinking.
    """
    # Behind the message, or all of the chat where a template rewrites the message.
    behind = chat.rpartition(message.strip() or chat)[2]
    opened, closed = behind.rfind(THINK_OPEN), behind.rfind(THINK_CLOSE)
    if closed > opened:
        raise BadInput(
            f"the chat template of {source} closes the thinking before the model begins; ask on "
            "the paper track (--track paper), or give the model a template that leaves it open"
        )
    if opened < 0:
        return f"{chat}{THINK_OPEN}\n"
    return f"{chat.rstrip()}\n" if behind.rstrip().endswith(THINK_OPEN) else chat


@contextmanager
def template_errors(source: str | Path, system: str | None = None) -> Iterator[None]:
    """BadInput for what a chat template raises: on purpose, as some do at a `system` text, or
    because it expects what a single message of a user has not."""
    try:
        yield
    except (TemplateError, *EXPRESSION_ERRORS) as error:
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise BadInput(
            f"the chat template of {source} cannot be used ({reason}); "
            + ("leave out --system, ask " if system is not None else "ask ")
            + "on the paper track (--track paper), or mend the template"
        ) from error


def missing_template(source: str | Path) -> BadInput:
    """The error for a model whose tokenizer, from `source`, has no chat template."""
    return BadInput(
        f"checkpoint {source} has no chat template; ask on the paper track, or save the tokenizer "
        "with its template"
    )
