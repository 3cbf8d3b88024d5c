"""A model's tokens and the text they stand for: what a reply starts from, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrm.engines.shared.reply import Reply
from lrm.errors import BadInput
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt, Stop
from lrm.replies import Decode, assemble, find_close


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


class Codec:
    """A model's vocabulary in both directions, the tokens that end a reply, and its context.

    `encode` adds no token of its own (no beginning of text); `eos` holds every token that ends a
    reply; `context` is the longest prompt and reply together, in tokens; `close_ids` is the closing
    tag in the model's own tokens.
    """

    def __init__(
        self, encode: Callable[[str], list[int]], decode: Decode, eos: frozenset[int], context: int
    ) -> None:
        self.encode, self.decode, self.eos, self.context = encode, decode, eos, context
        self.close_ids = closing_ids(encode, decode)

    def begin(
        self, index: int, prompt: Prompt, prompt_ids: list[int], decoding: Decoding, context: int
    ) -> Reply:
        """The reply to a prompt before anything is decoded.

        `prompt_ids` are the tokens of the prompt's own text. Raises BadInput if it cannot fit into
        `context` tokens.
        """
        given = [*prompt.prefix_ids, *self.encode(prompt.closing)]
        present = len(prompt_ids) + len(given)
        if not present:
            raise BadInput(f"prompt {index} is empty and its tokenizer adds nothing; give it text")
        reserved = max(prompt.max_tokens, prompt.reserved_tokens - len(given))
        check_context(index, present, reserved, context)
        reply = Reply(
            index,
            [*prompt_ids, *given],
            len(prompt_ids),
            len(given),
            limit=prompt.max_tokens,
            open_limit=prompt.open_tokens,
        )
        # A prompt may close the thinking itself; then only the answer is decoded.
        close = find_close(given, self.decode, self.close_ids) if given else None
        if close is not None:
            reply.close_thinking(len(given) - close, decoding.answer_tokens)
        return reply

    def completion(self, reply: Reply, stop: Stop, decoding: Decoding) -> Completion:
        """The finished reply."""
        return assemble(
            reply.ids[reply.prompt_tokens :],
            given=reply.given,
            prompt_ids=reply.ids[: reply.prompt_tokens],
            stop=stop,
            answer_tokens=decoding.answer_tokens,
            decode=self.decode,
            close_ids=self.close_ids,
            open_tokens=reply.open_limit,
        )
