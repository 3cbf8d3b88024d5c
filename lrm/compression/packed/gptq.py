"""GPTQ (Frantar et al., arXiv 2210.17323), by llm-compressor's `GPTQModifier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from lrm.compression.packed import packing
from lrm.compression.packed.measured import open_packed
from lrm.contracts.method import OnModule, Params
from lrm.errors import BadInput
from lrm.records.model import Calibration, Checkpoint, Format

ORDERS = ("static", "weight", "none")


@dataclass(frozen=True)
class GPTQ:
    """Quantizes column after column, each error made up for by the columns that are left.

    Values are symmetric around zero. `act_order`: "static" takes the columns with the largest
    inputs first but groups them as they lie, "weight" groups them in that order too, "none" takes
    them as they lie. `damping` is the share of the Hessian's mean diagonal added to it. The other
    fields: see `lrm.compression.packed.packing.Packing`.
    """

    name: ClassVar[str] = "gptq"
    format: ClassVar[Format] = "compressed-tensors"
    version: ClassVar[int] = 1  # rises when the same parameters give other weights
    level_fields: ClassVar[tuple[str, ...]] = ("bits",)
    searched: ClassVar[tuple[str, ...]] = packing.SEARCHED
    engine: ClassVar[str] = "transformers"  # on the unpacked weights

    calibration: Calibration
    bits: int = 4
    group: int = 128
    protect: tuple[str, ...] = ()
    act_order: str = "static"
    damping: float = 0.01

    def __post_init__(self) -> None:
        packing.check_parameters(self)
        if self.act_order not in ORDERS:
            raise BadInput(f"act_order must be {' or '.join(ORDERS)}, got {self.act_order!r}.")
        if not 0 < self.damping < 1:
            raise BadInput(f"damping must be in (0, 1), got {self.damping}.")

    @classmethod
    def of(cls, level: str, calibration: Calibration | None, **options: Any) -> Self:
        return cls(packing.required(calibration, cls.name), **options).at(level)

    @staticmethod
    def open(path: Path) -> Checkpoint:
        return open_packed(path)

    @property
    def level(self) -> str:
        return packing.level_of(self)

    def at(self, level: str) -> Self:
        bits, group, protect = packing.parsed(level, self)
        return replace(self, bits=bits, group=group, protect=protect)

    def params(self) -> Params:
        return {**packing.params(self), **self.settings()}

    def settings(self) -> Mapping[str, str | float]:
        return {"act_order": self.act_order, "damping": self.damping}

    def check(self, checkpoint: Checkpoint) -> None:
        packing.check(self, checkpoint)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.level: out})[self.level]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[str, Path], on_module: OnModule | None = None
    ) -> dict[str, Checkpoint]:
        return packing.write(self, checkpoint, outs, on_module)
