"""An engine whose replies come from a function: for tests, or to try a pipeline without a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.engines.shared.prompt_checks import check_context, refuse_thinking
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt, Stop
from lrm.replies import assemble


class ScriptedEngine:
    """Replies to each prompt with `answer(prompt)`, the whole text that follows `Prompt.text`.

    A token is one byte of UTF-8 and its id is the byte. The text ends the reply of itself; what
    is given (`prefix_ids`, `closing`) stands before it as it is, and the reply goes on with the
    part of the text that comes after as many bytes as were given, or, if something closes the
    thinking, after the text's own closing tag. So a forced answer says what the reply would have
    said, cut or not. `context` is the longest prompt and reply together, in tokens.
    """

    name = "scripted"
    identity = "scripted"

    def __init__(self, answer: Callable[[Prompt], str], context: int = 1 << 20) -> None:
        self.answer = answer
        self.context = context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        """See `lrm.contracts.engine.Engine`. BadInput first of all if a prompt does not fit."""
        refuse_thinking(prompts, self.name)
        for index, prompt in enumerate(prompts):
            given = len(prompt.prefix_ids) + len(prompt.closing.encode())
            reserved = max(prompt.max_tokens, prompt.reserved_tokens - given)
            check_context(index, len(prompt.text.encode()) + given, reserved, self.context)
        if not on_completion:
            return [self._reply(prompt, decoding) for prompt in prompts]
        waiting, count = deque(enumerate(prompts)), len(prompts)
        while waiting:
            index, prompt = waiting.popleft()
            further = list(on_completion(index, self._reply(prompt, decoding)) or ())
            waiting.extendleft(reversed(list(enumerate(further, count))))
            count += len(further)
        return []

    def _reply(self, prompt: Prompt, decoding: Decoding) -> Completion:
        script = self.answer(prompt).encode()
        given = bytes(prompt.prefix_ids) + prompt.closing.encode()
        _, tag, after = script.partition(THINK_CLOSE.encode())
        rest = after if tag and THINK_CLOSE in prompt.closing else script[len(given) :]
        stop: Stop = "length" if len(rest) > prompt.max_tokens else "stop"
        return assemble(
            list(given + rest[: prompt.max_tokens]),
            given=len(given),
            prompt_ids=prompt.text.encode(),
            stop=stop,
            answer_tokens=decoding.answer_tokens,
            decode=lambda ids: bytes(ids).decode(errors="replace"),
            close_ids=list(THINK_CLOSE.encode()),
            open_tokens=prompt.open_tokens,
        )
