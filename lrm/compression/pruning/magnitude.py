"""Pruning by magnitude, the baseline that measures nothing: the smallest weights go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.module_filter import ceilings
from lrm.compression.pruning import masks, parameters, save
from lrm.compression.pruning.blockwise import Pruned, Saved
from lrm.compression.pruning.masks import (
    UNSTRUCTURED,
    Groups,
    lowest_in_all,
    lowest_in_groups,
    zeros,
)
from lrm.contracts.method import OnModule, Params
from lrm.records.model import Checkpoint


@dataclass(frozen=True)
class Magnitude:
    """Each matrix of the blocks loses its smallest weights, the rest stay.

    `pattern` and `protect` as in `lrm.compression.pruning.sparsegpt_method.SparseGPT`.
    """

    name: ClassVar[str] = "magnitude"
    version: ClassVar[int] = 2
    caution: ClassVar[None] = None

    sparsity: float
    pattern: str = UNSTRUCTURED
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parameters.check(self)

    def at(self, level: float) -> Self:
        return replace(self, sparsity=level)

    def params(self) -> Params:
        return parameters.params(self)

    def check(self, checkpoint: Checkpoint) -> None:
        save.check(self, checkpoint)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        return save.write(self, checkpoint, outs, partial(_prune, self), on_module)


def _prune(
    method: Magnitude,
    source: Weights,
    modules: Sequence[str],
    levels: Sequence[float],
    skip: int,
    saved: Saved,
) -> Iterator[Pruned]:
    """Prunes one matrix after the other, each a block of its own."""
    groups = masks.parse(method.pattern, method.sparsity)
    limits = ceilings(source.sizes(), method.protect)
    for index, name in enumerate(modules[skip:], skip):
        dense = source.read(f"{name}.weight")
        asked = tuple(min(level, limits.get(name, 1)) for level in levels)
        facts = [{"ceiling": limits[name]} if name in limits else {}] * len(levels)
        excess = zeros(dense) + 1 / dense.numel()
        yield Pruned(index, name, asked, _without_smallest(dense, asked, groups), facts, excess)


def _without_smallest(dense: Tensor, levels: Sequence[float], groups: Groups | None) -> Tensor:
    """A matrix [rows, columns] at K sparsities: [K, rows, columns], in its own dtype."""
    size = dense.float().abs()
    smallest = [
        lowest_in_groups(size, groups) if groups else lowest_in_all(size, level) for level in levels
    ]
    return torch.stack([dense.masked_fill(mask, 0) for mask in smallest])
