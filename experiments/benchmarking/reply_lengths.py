"""Replies as long as those of reasoning models, from a model that never ends one by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import exp
from random import Random
from types import TracebackType
from typing import Self

from lrm.contracts.engine import Engine, OnCompletion, OnTokens
from lrm.records.reply import Completion, Decoding, Prompt

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.7)
"""The budgets that a random model is measured at, as shares of its median thinking length."""

SPREAD = 0.96
"""Standard deviation of the logarithm of thinking lengths, taken from the outputs to AIME 2024 that
the authors of arXiv 2504.02010 released for R1-Distill-Llama-8B in AWQ 4-bit. Their median is about
6,000 tokens of thinking, followed by about 480 of answer."""


@dataclass(frozen=True)
class Lengthened:
    """An engine whose new replies end at drawn lengths. Contract: `lrm.contracts.engine.Engine`.

    Thinking lengths are log-normal around `median` tokens. A reply that ends so counts as closed,
    its last tokens as the answer.
    """

    inner: Engine
    median: int

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def identity(self) -> str:
        return f"{self.inner.identity} thinking {self.median}"

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.inner.__exit__(kind, error, trace)

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        assert on_completion, "an evaluation always takes replies as they arrive"

        def ended(index: int, reply: Completion) -> Iterable[Prompt] | None:
            if not reply.given and reply.tokens < decoding.max_tokens:
                answer = min(decoding.answer_tokens, reply.tokens)
                thinking = reply.tokens - answer
                reply = replace(reply, thinking_tokens=thinking, answer_tokens=answer)
                reply = replace(reply, closed=True, stop="stop", looped=False)
            return on_completion(index, reply)

        capped = [
            replace(prompt, max_tokens=self._length(prompt, decoding), open_tokens=0)
            for prompt in prompts
        ]
        return self.inner.generate(capped, decoding, ended, on_tokens)

    def _length(self, prompt: Prompt, decoding: Decoding) -> int:
        thinking = round(self.median * exp(Random(prompt.text).gauss(0, SPREAD)))
        return min(max(thinking, 1) + decoding.answer_tokens, decoding.max_tokens)
