"""A model's tokens and the text they stand for: what a reply starts from, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable

from lrm.engines.shared.prompt_checks import check_context, closing_ids
from lrm.engines.shared.reply import Reply
from lrm.errors import BadInput
from lrm.records.reply import Completion, Decoding, Prompt, Stop
from lrm.replies import Decode, assemble, find_close


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
