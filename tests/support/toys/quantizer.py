"""The quantizer that rounds: each weight of the blocks to the nearest of some steps, kept dense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.staging import staged
from lrm.contracts.method import OnModule, Params
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.records.model import Calibration, Checkpoint, Format


@dataclass(frozen=True)
class Rounding:
    """Contract: `lrm.contracts.quantizer.Quantizer`. A level is the number of steps in 1: "8"."""

    name: ClassVar[str] = "rounding"
    format: ClassVar[Format] = "dense"
    version: ClassVar[int] = 1
    level_fields: ClassVar[tuple[str, ...]] = ("steps",)
    searched: ClassVar[tuple[str, ...]] = ("f16", "64", "8")
    engine: ClassVar[str] = "transformers"

    steps: int = 8
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"steps must be 1 or more, got {self.steps}.")

    @classmethod
    def of(cls, level: str, calibration: Calibration | None, **options: Any) -> Self:
        return cls(**options).at(level)

    @staticmethod
    def open(path: Path) -> Checkpoint:
        return open_checkpoint(path)

    @property
    def level(self) -> str:
        return str(self.steps)

    def at(self, level: str) -> Self:
        if not level.isdecimal():
            raise BadInput(f"{level!r} is no level of {self.name}: write a number, as in 8.")
        return replace(self, steps=int(level))

    def params(self) -> Params:
        return {
            "method": self.name,
            "method_version": self.version,
            "recipe": self.level,
            "scale": self.scale,
        }

    def check(self, checkpoint: Checkpoint) -> None:
        if checkpoint.format != "dense":
            raise BadInput(f"{checkpoint.path} is stored as {checkpoint.format}, and not dense.")

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.level: out})[self.level]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[str, Path], on_module: OnModule | None = None
    ) -> dict[str, Checkpoint]:
        self.check(checkpoint)
        made = {}
        for done, (level, out) in enumerate(outs.items(), 1):
            made[level] = self.at(level)._write(checkpoint, out)
            if on_module:
                on_module(done, len(outs))
        return made

    def _write(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        identity = of_json([checkpoint.revision, dict(self.params())])
        with staged(checkpoint, out, identity) as copy:
            rows = []
            for name in copy.weights.linears():
                weight, step = copy.weights.read(name), self.scale / self.steps
                copy.weights.overwrite(name, (weight / step).round() * step)
                rows.append({"module": name, "weights": weight.numel()})
            method = f"{self.name}:{self.level}"
            return copy.publish({"method": method, "params": self.params(), "modules": rows})
