"""One engine kept running over the levels of a search, where it can take new weights."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from experiments.cli.engine_choice import EngineChoice
from experiments.models.conversion import made
from lrm.contracts.engine import Engine, OnCompletion, OnTokens, Swappable
from lrm.errors import BadInput
from lrm.records.model import Checkpoint
from lrm.records.reply import Completion, Decoding, Prompt


class EngineCache:
    """A context that owns the running engine, if any; `on` gives an engine for a checkpoint.

    The engine is started when a reply is first needed. For the next checkpoint its weights are
    swapped where it can; else it is ended and another one started.
    """

    def __init__(self, choice: EngineChoice) -> None:
        self.choice = choice
        self._running: Engine | None = None
        self._revision = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        if running:
            running.__exit__(kind, error, trace)

    def rest(self) -> None:
        """Ends the running engine, whose memory something else needs now."""
        self.__exit__(None, None, None)

    def on(self, checkpoint: Checkpoint) -> Engine:
        """An engine for the checkpoint, which costs nothing until it is opened."""
        return _CachedEngine(self, made(self.choice, checkpoint), checkpoint)

    def _ready(self, fresh: Engine, checkpoint: Checkpoint) -> Engine:
        if (
            self._running
            and self._revision != checkpoint.revision
            and not self._swapped(self._running, checkpoint)
        ):
            self.__exit__(None, None, None)
        if not self._running:
            self._running = fresh.__enter__()
        self._revision = checkpoint.revision
        return self._running

    def _swapped(self, running: Engine, checkpoint: Checkpoint) -> bool:
        if not isinstance(running, Swappable):
            return False
        try:
            running.swap(checkpoint)
        except BadInput:  # of another shape or format; opening another engine says what is wrong
            return False
        return True


class _CachedEngine:
    """Contract: `lrm.contracts.engine.Engine`. The running engine, for one checkpoint; leaving it
    leaves the engine running, unless something went wrong in it."""

    def __init__(self, owner: EngineCache, fresh: Engine, checkpoint: Checkpoint) -> None:
        self._owner, self._fresh, self._checkpoint = owner, fresh, checkpoint
        self._opened: Engine | None = None

    @property
    def name(self) -> str:
        return self._fresh.name

    @property
    def identity(self) -> str:
        return self._fresh.identity

    def __enter__(self) -> Self:
        self._opened = self._owner._ready(self._fresh, self._checkpoint)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened = None
        if error is not None:
            self._owner.__exit__(kind, error, trace)

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]:
        assert self._opened is not None, "the engine is not open"
        return self._opened.generate(prompts, decoding, on_completion, on_tokens)
