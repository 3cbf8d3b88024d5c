"""What pruners and quantizers have in common: a compression method at one level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, Self, TypeVar

from lrm.records.model import Checkpoint

OnModule = Callable[[int, int], None]
"""Takes how many parts of a compression are done, and how many there are."""

Params = Mapping[str, str | int | float]
"""What a method logs, and what its checkpoints are found again by."""

L = TypeVar("L")
"""What a level of compression is: a sparsity (float), or the name of a recipe (str)."""


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
