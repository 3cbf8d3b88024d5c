"""The three things one can add: a Benchmark, an Engine, a Method, each with its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from lrm.records import Checkpoint, Completion, Decoding, Format, Grade, Prompt, Question

OnCompletion = Callable[[int, Completion], Iterable[Prompt] | None]
"""Takes a finished reply and its index; may return further prompts."""


class Benchmark(Protocol):
    """A set of questions and the rule that grades a reply. It is data.

    * **`version` rises with any change** to the questions, the prompt or the grading.
    * **`load` returns the same questions in the same order every time**; `limit` takes the first.
      Bad data raises `BadInput` naming file and line.
    * **`grade` is pure** and grades what is there; whether a truncated reply counts is decided
      elsewhere (`lrm.scoring.truncation`). An answer that is not there is `None`, never a wrong
      answer. Where rules of extraction may differ, it gives the answer under each.
    * A question has a `prompt`, exactly as the source publishes it, and a `message`, what a user
      says inside a chat template.
    * `practice` draws questions that `load` can never return, for calibration; a benchmark with
      no such source returns an empty list.
    * `knowledge` says that the answers must be remembered, not worked out.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def knowledge(self) -> bool: ...

    def load(self, limit: int | None = None) -> list[Question]: ...

    def practice(self, count: int, seed: int) -> list[Question]: ...

    def grade(self, question: Question, completion: Completion) -> Grade: ...


class Engine(Protocol):
    """Runs one checkpoint, as a context manager.

    * **One completion per prompt, in the order of the prompts.**
    * **`on_completion(index, completion)` is called once for each, as soon as it is finished**,
      so that a caller can store it; an exception it raises ends the call. The prompts that it
      returns join the queue, before all that wait and numbered on from the last; what they need
      beyond their forerunner was announced by its `Prompt.reserved_tokens`. Replies handed over are
      not kept, so that memory is bounded: the list returned is empty then.
    * Counts come from the engine's own token ids; **newly decoded tokens never exceed
      `Prompt.max_tokens`**, and `stop` is "length" exactly when a cap cut the reply.
    * **The same prompts and decoding give the same completions**; a reply's randomness comes from
      its `Prompt.seed` alone, so a smaller `max_tokens` gives a prefix.
    * `identity` names the engine and whatever else of it changes what a model says (the type of
      its arithmetic); replies of different identities are never mixed.
    * What cannot be answered (a prompt longer than the context) raises. **An error never becomes
      a wrong answer.**
    * The beginning-of-text token and the chat template (where `Prompt.chat` asks for it, with
      `<think>` opened) are the engine's business, done in one place; `Prompt.text` is otherwise
      used as it is. A model without a template refuses a chat.
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
    ) -> list[Completion]: ...


class EngineKind(Protocol):
    """An engine's class, and what it says of itself before one is made.

    * **`formats` are the weights that it loads.** One that loads none, since the model runs
      elsewhere, names "tokenizer", and takes a checkpoint for its tokenizer alone. What is not
      named is refused when the engine is opened, before anything is loaded, with the engine that
      can (`lrm.formats.check`).
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


class Method(Protocol):
    """A compression method: a frozen dataclass of its own parameters.

    The same object is the command-line value, the logged parameters and the cache key, so
    **unknown or out-of-range parameters are refused when it is made**.

    * **`apply` writes only under `out`**, under a temporary name renamed when whole; tokenizer,
      chat template and generation config travel along.
    * **What was stopped goes on** when it is asked for again, even after kill -9, and gives the
      same bytes as if it had not been.
    * **`measured` is read back from the saved weights**, and a miss beyond tolerance raises.
    * `apply_levels` writes one checkpoint per level (a sparsity, or the name of a recipe), each as
      `apply` would at that level, and shares between them what can be shared;
      `on_module(done, total)` tells how far it is.
    * A failed factorisation raises damping, records it, and then fails. **A method never silently
      becomes another one.**
    """

    @property
    def name(self) -> str: ...

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint: ...

    def apply_levels(
        self,
        checkpoint: Checkpoint,
        outs: Mapping[Any, Path],
        on_module: Callable[[int, int], None] | None = None,
    ) -> dict[Any, Checkpoint]: ...

    def params(self) -> Mapping[str, str | int | float]: ...
