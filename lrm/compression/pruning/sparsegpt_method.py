"""SparseGPT as a method: its parameters, and how it prunes layers that share an input.

Zeros are stored like any other weight: unstructured sparsity makes checkpoints neither smaller nor
faster. The algorithm itself is in `lrm.compression.pruning.sparsegpt`.
"""

from __future__ import annotations

import math
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
from lrm.compression.pruning.masks import UNSTRUCTURED, Groups
from lrm.compression.streaming.sums import gram
from lrm.contracts.method import OnModule, Params
from lrm.errors import BadInput, CompressionFailed
from lrm.records.model import Calibration, Checkpoint

MOST_ENTRIES = 2**29
"""Weights in one tall problem, 2 GiB in float32, unless a single layer has more."""


@dataclass(frozen=True)
class SparseGPT:
    """SparseGPT (arXiv 2301.00774) in the linear layers of the blocks.

    `damping` is relative to the mean of a Hessian's diagonal. `block` counts columns: masks are
    chosen, and pruned weights compensated for, block by block. `pattern` is "unstructured" or N:M.
    Modules named by `protect` stay dense, or denser than the rest (see
    `lrm.compression.checkpoint.module_filter.ceilings`). `mode` and `allocation`: see
    `lrm.compression.pruning.calibrated.Calibrated`.
    """

    name: ClassVar[str] = "sparsegpt"
    version: ClassVar[int] = 4  # rises when the same parameters give other weights

    sparsity: float
    calibration: Calibration
    damping: float = 0.01
    block: int = 128
    mode: Mode = "sequential"
    pattern: str = UNSTRUCTURED
    protect: tuple[str, ...] = ()
    allocation: str = "uniform"

    def __post_init__(self) -> None:
        calibrated.check(self)
        if not 0 < self.damping < math.inf:
            raise BadInput(f"damping must be more than 0, got {self.damping}; 0.01 is usual.")
        groups = masks.parse(self.pattern, self.sparsity)
        if self.block < 1 or (groups and self.block % groups.of):
            whole = f" and a multiple of {groups.of}" if groups else ""
            raise BadInput(
                f"block must be 1 column or more{whole}, got {self.block}; 128 is usual."
            )

    @property
    def caution(self) -> str | None:
        return calibrated.caution(self)

    def at(self, level: float) -> Self:
        return replace(self, sparsity=level)

    def params(self) -> Params:
        return calibrated.params(self) | {"damping": self.damping, "block": self.block}

    def check(self, checkpoint: Checkpoint) -> None:
        save.check(self, checkpoint)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        """All levels come from one calibration; `on_module` is called after each matrix."""
        return save.write(self, checkpoint, outs, partial(calibrated.prune, self), on_module)

    def solve(self) -> Solve:
        """How layers with one input are pruned."""
        return solver(self.damping, self.block, masks.parse(self.pattern, self.sparsity))


def solver(damping: float, block: int, groups: Groups | None) -> Solve:
    """SparseGPT; the facts are the error of the outputs (before rounding to the stored dtype, as
    a share), the damping and the seconds of all levels."""

    def solve(
        layers: Mapping[str, nn.Linear], hessians: Sequence[Tensor], levels: Sequence[float]
    ) -> Iterator[Solved]:
        began = time.perf_counter()
        # One factorisation for all layers that read this input, and all levels that do.
        try:
            factors = [sparsegpt.factorise(hessian, damping) for hessian in hessians]
        except CompressionFailed as error:
            raise CompressionFailed(f"{', '.join(layers)}: {error}") from error
        dampings = [factor.damping for factor in factors] * (len(levels) // len(factors))
        for portion in _portions(layers, len(levels)):
            # One tall problem for as many layers as fit.
            weights = [layer.weight.detach() for layer in portion.values()]
            wide = [weight.to(factors[0].upper.dtype) for weight in weights]
            solutions = sparsegpt.prune(wide, factors, levels, block, groups)
            for name, dense, solution in zip(portion, weights, solutions, strict=True):
                # What the outputs lose, as a share of what they were.
                squared = gram(dense)
                powers = torch.stack([sparsegpt.power(squared, hessian) for hessian in hessians])
                errors = sparsegpt.share(solution.lost, powers.expand_as(solution.lost))
                seconds = time.perf_counter() - began
                facts = [
                    {
                        "error": error,
                        "damping": taken,
                        "damping_raised": taken > damping,
                        "seconds_all_levels": seconds,
                    }
                    for error, taken in zip(errors.tolist(), dampings, strict=True)
                ]
                rounding = math.ceil(dense.shape[1] / block) / dense.numel()
                zeros = [(factor.dead | (dense == 0)).float().mean() for factor in factors]
                yield Solved(name, solution.levels, facts, float(max(zeros)) + rounding)
                began = time.perf_counter()

    return solve


def _portions(layers: Mapping[str, nn.Linear], levels: int) -> Iterator[dict[str, nn.Linear]]:
    """Runs of layers that are small enough to be one tall problem."""
    portion: dict[str, nn.Linear] = {}
    for name, layer in layers.items():
        size = sum(other.weight.numel() for other in [*portion.values(), layer])
        if portion and size * levels > MOST_ENTRIES:
            yield portion
            portion = {}
        portion[name] = layer
    yield portion
