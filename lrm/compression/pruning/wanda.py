"""Wanda (Sun et al., arXiv 2306.11695), the baseline that measures inputs but mends nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from lrm.compression.pruning import calibrated, masks, save, sparsegpt
from lrm.compression.pruning.blockwise import Mode, Solve, Solved
from lrm.compression.pruning.masks import (
    UNSTRUCTURED,
    Groups,
    lowest_in_groups,
    lowest_in_rows,
    zeros,
)
from lrm.contracts.method import OnModule, Params
from lrm.records.model import Calibration, Checkpoint


@dataclass(frozen=True)
class Wanda:
    """A weight scores |W_ij| ||X_j||; each row loses its lowest.

    The fields are those of `lrm.compression.pruning.sparsegpt_method.SparseGPT`.
    """

    name: ClassVar[str] = "wanda"
    version: ClassVar[int] = 2

    sparsity: float
    calibration: Calibration
    mode: Mode = "sequential"
    pattern: str = UNSTRUCTURED
    protect: tuple[str, ...] = ()
    allocation: str = "uniform"

    def __post_init__(self) -> None:
        calibrated.check(self)

    @property
    def caution(self) -> str | None:
        return calibrated.caution(self)

    def at(self, level: float) -> Self:
        return replace(self, sparsity=level)

    def params(self) -> Params:
        return calibrated.params(self)

    def check(self, checkpoint: Checkpoint) -> None:
        save.check(self, checkpoint)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        return save.write(self, checkpoint, outs, partial(calibrated.prune, self), on_module)

    def solve(self) -> Solve:
        """How layers with one input are pruned."""
        return solver(masks.parse(self.pattern, self.sparsity))


def solver(groups: Groups | None) -> Solve:
    """Wanda; the facts are the error of the outputs, as a share, and the seconds."""

    def solve(
        layers: Mapping[str, nn.Linear], hessians: Sequence[Tensor], levels: Sequence[float]
    ) -> Iterator[Solved]:
        # Levels that read the same input are scored and measured together.
        shares = [list(levels)] if len(hessians) == 1 else [[level] for level in levels]
        for name, layer in layers.items():
            began = time.perf_counter()
            dense = layer.weight.detach().to(hessians[0].dtype)
            pruned: list[Tensor] = []
            errors: list[float] = []
            for hessian, asked in zip(hessians, shares, strict=True):
                scores = dense.abs() * hessian.diagonal().sqrt()
                lowest = (
                    lowest_in_groups(scores, groups) if groups else lowest_in_rows(scores, level)
                    for level in asked
                )
                pruned += [dense.masked_fill(mask, 0) for mask in lowest]
                made = torch.stack(pruned[-len(asked) :])
                errors += sparsegpt.relative_error(dense, made, hessian).tolist()
            seconds = time.perf_counter() - began
            facts = [{"error": error, "seconds_all_levels": seconds} for error in errors]
            yield Solved(name, torch.stack(pruned), facts, zeros(dense) + 1 / dense.numel())

    return solve
