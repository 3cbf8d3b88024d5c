"""What an engine refuses before anything is decoded: a prompt, or a model's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrm.errors import BadInput
from lrm.records.reply import THINK_CLOSE, Prompt
from lrm.replies import Decode


def check_context(index: int, present: int, reserved: int, context: int) -> None:
    """BadInput unless `reserved` more tokens fit behind the `present` ones of prompt `index` into
    the model's `context`."""
    if present + reserved > context:
        raise BadInput(
            f"prompt {index} has {present} tokens and asks for up to {reserved} more, but the "
            f"model reads at most {context} tokens in all; lower the budgets, or shorten the prompt"
        )


def refuse_thinking(prompts: Sequence[Prompt], engine: str) -> None:
    """BadInput if a prompt asks an engine to end its thinking by itself that cannot."""
    if any(prompt.thinking for prompt in prompts):
        raise BadInput(
            f"the {engine} engine does not end the thinking by itself; force the answers "
            "(--closing plain), or use the vllm engine"
        )


def closing_ids(encode: Callable[[str], list[int]], decode: Decode) -> list[int]:
    """The closing tag in a model's own tokens; BadInput if they cannot spell it."""
    ids = encode(THINK_CLOSE)
    if THINK_CLOSE not in decode(ids):
        raise BadInput(
            f"the model's vocabulary cannot spell {THINK_CLOSE}, so the end of its thinking could "
            "not be seen; give a model that reasons in that tag"
        )
    return ids
