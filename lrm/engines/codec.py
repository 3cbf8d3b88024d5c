"""How a model's tokens stand for text: what a reply starts from, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

from lrm.engines.reply import Reply
from lrm.errors import BadInput
from lrm.records import Completion, Decoding, Prompt, Stop
from lrm.replies import THINK_CLOSE, Decode, assemble, find_close


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
        self.close_ids = encode(THINK_CLOSE)

    def begin(
        self, index: int, prompt: Prompt, asked: list[int], decoding: Decoding, context: int
    ) -> Reply:
        """The reply to a prompt whose own text is the tokens `asked`, before anything is decoded;
        BadInput if it cannot fit into `context`."""
        given = [*prompt.spoken, *self.encode(prompt.closing)]
        size = len(asked) + len(given)
        if not size:
            raise BadInput(f"prompt {index} is empty and its tokenizer adds nothing; give it text")
        if size + prompt.max_tokens > context:
            raise BadInput(
                f"prompt {index} has {size} tokens and asks for up to {prompt.max_tokens} more, "
                f"but the model reads at most {context}; shorten the prompt or lower max_tokens"
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
            prompt_tokens=reply.prompt_tokens,
            stop=stop,
            answer_tokens=decoding.answer_tokens,
            decode=self.decode,
            close_ids=self.close_ids,
        )
