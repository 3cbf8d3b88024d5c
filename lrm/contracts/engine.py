"""What an engine offers, and what its class says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from lrm.records.model import Checkpoint, Format
from lrm.records.reply import Completion, Decoding, Prompt

OnCompletion = Callable[[int, Completion], Iterable[Prompt] | None]
"""Takes a finished reply and its index; may return further prompts."""

OnTokens = Callable[[int], None]
"""Takes how many tokens the replies have that are being decoded."""


class Engine(Protocol):
    """Runs one checkpoint, as a context manager.

    * **One completion per prompt, in the order of the prompts.**
    * **`on_completion(index, completion)` is called once for each, as soon as it is finished**,
      so that a caller can store it; an exception it raises ends the call. The prompts that it
      returns join the queue, in front of all that wait, and are numbered on from the last; the
      tokens they need beyond the prompt before them were announced by its `reserved_tokens`.
      Replies given to it are not kept, so that memory is bounded: the list returned is then empty.
    * `on_tokens` is called now and then while replies are decoded, by an engine that sees their
      tokens come.
    * Counts come from the engine's own token ids; **newly decoded tokens never exceed
      `Prompt.max_tokens`**, and `stop` is "length" exactly when a cap cut the reply.
    * A reply that has not closed its thinking within `Prompt.open_tokens` is cut there; what was
      decoded behind it, if anything, is not told.
    * **The same prompts and decoding give the same completions**; a reply's randomness comes from
      its `Prompt.seed` alone, so a smaller `max_tokens` gives a prefix.
    * `identity` names the engine and whatever else of it changes what a model says (the type of
      its arithmetic); replies of different identities are never mixed.
    * What cannot be answered (a prompt longer than the context) raises. **An error never becomes
      a wrong answer.**
    * The beginning-of-text token and the chat template (where `Prompt.chat` asks for it, with
      `<think>` opened) are added by the engine; `Prompt.text` is otherwise used as it is. A model
      without a template refuses a chat.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[Completion]: ...


class EngineKind(Protocol):
    """An engine's class, and what it says of itself before one is made.

    * **`formats` are the weights that it loads.** One that loads none, since the model runs
      elsewhere, names "tokenizer", and takes a checkpoint for its tokenizer alone. What is not
      named is refused when the engine is opened, before anything is loaded, with the engine that
      can (`lrm.engines.shared.loads`).
    * `ends_thinking` says whether it honours `Prompt.thinking`.
    """

    @property
    def name(self) -> str: ...

    @property
    def formats(self) -> tuple[Format, ...]: ...

    @property
    def ends_thinking(self) -> bool: ...

    def __call__(self, checkpoint: Checkpoint, /, *args: Any, **options: Any) -> Engine: ...


@runtime_checkable
class Swappable(Protocol):
    """What an engine offers that can change its weights while it runs.

    * **After `swap` it answers as one freshly started on that checkpoint would**; whatever it
      remembers of the old weights (cached keys and values) is gone.
    * A checkpoint of another shape, format or tokenizer raises `BadInput` and leaves the engine as
      it was.
    """

    def swap(self, checkpoint: Checkpoint) -> None: ...


@runtime_checkable
class RunsPacked(Protocol):
    """What an engine offers that loads packed weights: whether it has kernels for them here."""

    @property
    def has_kernels(self) -> bool: ...
