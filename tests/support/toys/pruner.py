"""The pruner that looks at nothing: the first columns of every row go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import torch

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.module_filter import ceilings
from lrm.compression.pruning import masks, parameters, save
from lrm.compression.pruning.blockwise import Pruned, Saved
from lrm.contracts.method import OnModule, Params
from lrm.records.model import Checkpoint


@dataclass(frozen=True)
class Columns:
    """Contract: `lrm.contracts.pruner.Pruner`. With `reverse` 1 the last columns go."""

    name: ClassVar[str] = "columns"
    version: ClassVar[int] = 1
    caution: ClassVar[None] = None

    sparsity: float
    pattern: str = masks.UNSTRUCTURED
    protect: tuple[str, ...] = ()
    reverse: int = 0

    def __post_init__(self) -> None:
        parameters.check(self)

    def at(self, level: float) -> Self:
        return replace(self, sparsity=level)

    def params(self) -> Params:
        return parameters.params(self) | {"reverse": self.reverse}

    def check(self, checkpoint: Checkpoint) -> None:
        save.check(self, checkpoint)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        return save.write(self, checkpoint, outs, partial(prune, self), on_module)


def prune(
    method: Columns,
    source: Weights,
    modules: Sequence[str],
    levels: Sequence[float],
    skip: int,
    saved: Saved,
) -> Iterator[Pruned]:
    """See `lrm.compression.pruning.save.Prune`."""
    groups = masks.parse(method.pattern, method.sparsity)
    limits = ceilings(source.sizes(), method.protect)
    for index, name in enumerate(modules[skip:], skip):
        dense = source.read(f"{name}.weight")
        scores = torch.arange(dense.shape[1]).expand_as(dense) * (-1 if method.reverse else 1)
        asked = tuple(min(level, limits.get(name, 1)) for level in levels)
        lowest = [
            masks.lowest_in_groups(scores.contiguous(), groups)
            if groups
            else masks.lowest_in_rows(scores, level)
            for level in asked
        ]
        pruned = torch.stack([dense.masked_fill(mask, 0) for mask in lowest])
        facts = [{"ceiling": limits[name]} if name in limits else {}] * len(levels)
        yield Pruned(
            index, name, asked, pruned, facts, masks.zeros(dense) + len(dense) / dense.numel()
        )
