"""How a model's tokens stand for text: what a reply starts from, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrm.engines.shared.reply import Reply
from lrm.errors import BadInput
from lrm.records import THINK_CLOSE, Completion, Decoding, Prompt, Stop
from lrm.replies import Decode, assemble, find_close


def check_room(index: int, size: int, more: int, context: int) -> None:
    """BadInput unless `more` tokens fit behind the `size` of prompt `index`."""
    if size + more > context:
        raise BadInput(
            f"prompt {index} has {size} tokens and asks for up to {more} more, but the model reads "
            f"at most {context} tokens in all; lower the budgets, or shorten the prompt"
        )


def refuse_thinking(prompts: Sequence[Prompt], engine: str) -> None:
    """BadInput if a prompt asks an engine that cannot to end its thinking by itself."""
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
            f"the model's vocabulary cannot spell {THINK_CLOSE}, so nothing would tell where its "
            "thinking ends; give a model that reasons in that tag"
        )
    return ids


class Codec:
    """A model's vocabulary in both directions, where its replies end, and how much it reads.

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
        self, index: int, prompt: Prompt, asked: list[int], decoding: Decoding, context: int
    ) -> Reply:
        """The reply to a prompt whose own text is the tokens `asked`, before anything is decoded;
        BadInput if it cannot fit into `context`."""
        given = [*prompt.prefix_ids, *self.encode(prompt.closing)]
        size = len(asked) + len(given)
        if not size:
            raise BadInput(f"prompt {index} is empty and its tokenizer adds nothing; give it text")
        check_room(
            index, size, max(prompt.max_tokens, prompt.reserved_tokens - len(given)), context
        )
        reply = Reply(index, [*asked, *given], len(asked), len(given), prompt.max_tokens)
        close = find_close(given, self.decode, self.close_ids) if given else None
        if close is not None:
            reply.close(len(given) - close, decoding.answer_tokens)
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
        )
