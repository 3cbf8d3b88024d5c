"""The engine that thinks about as many letters as it is told, and answers with their number."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

from lrm.contracts.engine import OnCompletion, OnTokens
from lrm.records.model import Checkpoint, Format
from lrm.records.reply import THINK_CLOSE, Completion, Decoding, Prompt
from tests.support.scripted_engine import ScriptedEngine


class CountingEngine:
    """Contract: `lrm.contracts.engine.Engine`. `thoughts` is how many letters it thinks about at
    most; one in five of its replies never answers."""

    name: ClassVar[str] = "counting"
    formats: ClassVar[tuple[Format, ...]] = ("dense",)
    ends_thinking: ClassVar[bool] = False

    def __init__(
        self, checkpoint: Checkpoint, thoughts: int = 60, context: int | None = None
    ) -> None:
        self.thoughts = thoughts
        self._scripted = ScriptedEngine(self._reply, context or 1 << 20)

    @property
    def identity(self) -> str:
        return f"{self.name} {self.thoughts}"

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
        return self._scripted.generate(prompts, decoding, on_completion, on_tokens)

    def _reply(self, prompt: Prompt) -> str:
        word = prompt.text.partition("?")[0].rpartition(" ")[2]
        count = prompt.seed * 7 % self.thoughts
        if prompt.seed % 5 == 0:
            return "and on, " * count
        return f"{'é' * count}{THINK_CLOSE}\n\nThe answer is {word.count('a')}."
