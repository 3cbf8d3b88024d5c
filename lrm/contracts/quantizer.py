"""What a quantizer offers, and what its class says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from lrm.contracts.method import Method
from lrm.records.model import Calibration, Checkpoint, Format


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
