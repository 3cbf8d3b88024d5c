"""What a pruner offers, and what its class says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lrm.contracts.method import Method


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
      `lrm.records.model.Calibration`. All other fields have defaults, and are options on the
      command line: numbers, texts, or tuples of texts, which are joined by "+" there.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, *args: Any, **options: Any) -> Pruner: ...
