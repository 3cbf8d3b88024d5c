"""AWQ (Lin et al., arXiv 2306.00978), by llm-compressor's `AWQModifier`, duo scaling tried both
ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from lrm.compression.packed import packing
from lrm.compression.packed.measured import open_packed
from lrm.contracts.method import OnModule, Params
from lrm.records.model import Calibration, Checkpoint, Format


@dataclass(frozen=True)
class AWQ:
    """Scales up the weights that meet large inputs before it rounds, and the inputs down.

    Values have a zero point of their own in each group. The fields: see
    `lrm.compression.packed.packing.Packing`.
    """

    name: ClassVar[str] = "awq"
    format: ClassVar[Format] = "compressed-tensors"
    version: ClassVar[int] = 1  # rises when the same parameters give other weights
    level_fields: ClassVar[tuple[str, ...]] = ("bits",)
    searched: ClassVar[tuple[str, ...]] = packing.SEARCHED
    engine: ClassVar[str] = "transformers"  # on the unpacked weights

    calibration: Calibration
    bits: int = 4
    group: int = 128
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        packing.check_parameters(self)

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
        return packing.params(self)

    def settings(self) -> Mapping[str, str | float]:
        return {"act_order": "none", "damping": 0.0}

    def check(self, checkpoint: Checkpoint) -> None:
        packing.check(self, checkpoint)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.level: out})[self.level]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[str, Path], on_module: OnModule | None = None
    ) -> dict[str, Checkpoint]:
        return packing.write(self, checkpoint, outs, on_module)
