"""What one can add to the project, each with its contract: a Benchmark, an Engine, a Pruner, a
Quantizer.

Adding one takes a file with it, a line in `lrm.registry`, and an entry in its behaviour suite
(`tests/benchmarks/test_benchmarks.py`, `tests/engines/test_engines.py`,
`tests/compression/test_methods.py`). A benchmark is registered as an object. Of the others the
class is registered, since they are made anew for each checkpoint or each level; what is asked of
the class itself stands in `EngineKind`, `PrunerKind` and `QuantizerKind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from lrm.records import (
    Calibration,
    Checkpoint,
    Completion,
    Decoding,
    Format,
    Grade,
    Prompt,
    Question,
)

OnCompletion = Callable[[int, Completion], Iterable[Prompt] | None]
"""Takes a finished reply and its index; may return further prompts."""

OnModule = Callable[[int, int], None]
"""Takes how many parts of a compression are done, and how many there are."""

Params = Mapping[str, str | int | float]
"""What a method logs, and what its checkpoints are found again by."""

L = TypeVar("L")
"""What a level of compression is: a sparsity (float), or the name of a recipe (str)."""


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
    * **`first_said` is pure too.** It takes any text and returns the end, in characters, of the
      earliest passage that says the gold answer; None if there is none. It may be deceived by a
      number or a name that stands there by chance, but it reads no other question's answer.
    * `practice` draws questions that `load` can never return, for calibration; a benchmark with
      no such source returns an empty list.
    * `knowledge` says that the answers must be remembered, not worked out. `open_book_of` names
      the benchmark that asks the same questions without the paragraphs shown here; it is "" where
      there is none.
    * `calibrates` says that models are calibrated on its practice questions: on those of all such
      benchmarks, in the order of the registry. Where `knowledge` holds too, only models that were
      trained on that knowledge are. **One benchmark more that calibrates changes every
      calibration**, and so every checkpoint that is made from one.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def knowledge(self) -> bool: ...

    @property
    def open_book_of(self) -> str: ...

    @property
    def calibrates(self) -> bool: ...

    def load(self, limit: int | None = None) -> list[Question]: ...

    def practice(self, count: int, seed: int) -> list[Question]: ...

    def grade(self, question: Question, completion: Completion) -> Grade: ...

    def first_said(self, question: Question, text: str) -> int | None: ...


class Engine(Protocol):
    """Runs one checkpoint, as a context manager.

    * **One completion per prompt, in the order of the prompts.**
    * **`on_completion(index, completion)` is called once for each, as soon as it is finished**,
      so that a caller can store it; an exception it raises ends the call. The prompts that it
      returns join the queue, in front of all that wait, and are numbered on from the last; the
      tokens they need beyond the prompt before them were announced by its `reserved_tokens`.
      Replies given to it are not kept, so that memory is bounded: the list returned is then empty.
    * Counts come from the engine's own token ids; **newly decoded tokens never exceed
      `Prompt.max_tokens`**, and `stop` is "length" exactly when a cap cut the reply.
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


class Method(Protocol[L]):
    """A compression method at one level: a frozen dataclass of its own parameters.

    The same object is the command-line value, the logged parameters and the cache key, so
    **unknown or out-of-range parameters are refused when it is made** (`BadInput`).

    * **`apply` writes only under `out`**, under a temporary name renamed when whole; tokenizer,
      chat template and generation config travel along.
    * **What was stopped goes on** when it is asked for again, even after kill -9, and gives the
      same bytes as if it had not been.
    * **`measured` is read back from the saved weights**, and a miss beyond tolerance raises
      `CompressionFailed`.
    * `apply_levels` writes one checkpoint per level, each as `apply` would at that level, and
      shares between them what can be shared; `on_module(done, total)` says how far it is.
    * `at` is the same method at another level.
    * `params` is what decides the weights: equal params, equal bytes. It has the keys "method" and
      "method_version", and the version rises when the same parameters give other weights.
    * `check` raises `BadInput` if the checkpoint cannot be compressed so, as far as the headers of
      its files tell. It is called before any work is done.
    * A failed factorisation raises damping, records it, and then fails. **A method never silently
      becomes another one.**
    """

    @property
    def name(self) -> str: ...

    def at(self, level: L) -> Self: ...

    def params(self) -> Params: ...

    def check(self, checkpoint: Checkpoint) -> None: ...

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint: ...

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[L, Path], on_module: OnModule | None = None
    ) -> dict[L, Checkpoint]: ...


class Pruner(Method[float], Protocol):
    """A method whose levels are sparsities, in [0, 1): the share of weights that become zero.

    * **A level of 0 is a copy, bit for bit.**
    * `pattern` is "unstructured" or N:M, and `protect` names modules that stay dense, or denser
      than the rest (see `lrm.compression.checkpoint.module_filter.ceilings`).
    * `caution` is what one should know before one trusts the outcome, None if nothing.
    """

    @property
    def sparsity(self) -> float: ...

    @property
    def pattern(self) -> str: ...

    @property
    def protect(self) -> Sequence[str]: ...

    @property
    def caution(self) -> str | None: ...


class PrunerKind(Protocol):
    """A pruner's class. It is called with its fields by name.

    * **The field `sparsity` is the level.** A field `calibration`, if there is one, takes a
      `lrm.records.Calibration`. All other fields have defaults, and are options on the command
      line: numbers, texts, or tuples of texts, which are joined by "+" there.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, *args: Any, **options: Any) -> Pruner: ...


class Quantizer(Method[str], Protocol):
    """A method whose levels are recipes: "Q2_K", or "4-g128".

    * `level` is the recipe's full name, and behind a slash what is protected: "Q2_K/final-mlp".
      **Two levels are the same one exactly if their `level` is equal**, however they were written.
    """

    @property
    def level(self) -> str: ...


class QuantizerKind(Protocol):
    """A quantizer's class.

    * `of` makes the method at a level; `BadInput` if it is none, or needs a calibration and gets
      None. `options` are its fields but for `calibration` and for those named in `level_fields`,
      which the level says.
    * `open` opens what was written at a path, with what was measured.
    * `format` is how its checkpoints are stored.
    * `searched` are the levels that a search tries unless some are named, the model itself ("f16")
      among them; `engine` runs them unless another is named.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, *args: Any, **options: Any) -> Quantizer: ...

    @property
    def format(self) -> Format: ...

    @property
    def level_fields(self) -> Sequence[str]: ...

    @property
    def searched(self) -> Sequence[str]: ...

    @property
    def engine(self) -> str: ...

    def of(self, level: str, calibration: Calibration | None, **options: Any) -> Quantizer: ...

    def open(self, path: Path) -> Checkpoint: ...
