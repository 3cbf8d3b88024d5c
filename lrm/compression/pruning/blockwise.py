"""A model pruned block by block at K sparsities; nothing is written here.

One block is in memory at a time, with its Hessians and its sparser matrices.

In `dense` mode one calibration serves all sparsities: every block is measured on what the dense
model's blocks before it give (as EvoPress and ModelOpt do). In `sequential` mode, the paper's,
each sparsity has rows of its own, which pass the blocks as they were pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lrm.compression.streaming.activations import ActivationStream, Shared
from lrm.compression.streaming.decoder import Decoder

Mode = Literal["dense", "sequential"]
MODES: tuple[Mode, ...] = ("dense", "sequential")

Facts = Mapping[str, float | bool]
"""What is reported of a pruned matrix beside its sparsity: its error, its damping."""


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """What is to become of a model.

    `sparsities` are K for each block; `dtypes` names the modules to prune and what each is stored
    as. Modules it does not name stay dense. `ceilings` has the highest sparsity of those modules
    that are not to be as sparse as the rest.
    """

    sparsities: Sequence[tuple[float, ...]]
    dtypes: Mapping[str, torch.dtype]
    ceilings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pruned:
    """One matrix of a block at K sparsities: [K, rows, columns], as it is stored.

    `asked` are its sparsities, `facts` the rows of its report. `excess` is the share of zeros that
    it may have beyond what was asked, where sizes or the input leave no choice.
    """

    block: int
    name: str
    asked: tuple[float, ...]
    levels: Tensor
    facts: Sequence[Facts]
    excess: float


@dataclass(frozen=True, slots=True)
class Solved:
    """What a method makes of one layer: as in `Pruned`, but in any dtype."""

    name: str
    levels: Tensor
    facts: Sequence[Facts]
    excess: float


Solve = Callable[[Shared, Sequence[float]], Iterator[Solved]]
"""Prunes layers that share an input, at K sparsities."""

Saved = Callable[[int, str], Tensor]
"""The matrix of a block that was pruned before, by level (0 to K - 1) and module."""


def in_dense_mode(
    decoder: Decoder, rows: Sequence[Sequence[int]], solve: Solve, plan: PruningPlan, skip: int = 0
) -> Iterator[Pruned]:
    """Yields the matrices of all blocks but the first `skip`; the model stays as it is."""
    stream = ActivationStream(decoder, rows)
    for index, sparsities in enumerate(plan.sparsities):
        with decoder.block(index):
            # A block that was pruned before is only passed.
            if index < skip:
                stream.advance(index)
                continue
            # The rows pass the dense block, and leave the Hessians of its inputs.
            for shared in stream.measure(index):
                yield from _solved(index, shared, solve, sparsities, plan)


def in_sequential_mode(
    decoder: Decoder,
    rows: Sequence[Sequence[int]],
    solve: Solve,
    plan: PruningPlan,
    skip: int = 0,
    saved: Saved | None = None,
) -> Iterator[Pruned]:
    """As `in_dense_mode`; the first `skip` blocks are passed with the weights that `saved` gives.

    A block's layers are all measured with the block still dense, as the authors' code does.
    """
    # Each sparsity has activations of its own, alike in front of the first block.
    forks = len(plan.sparsities[0]) - 1
    dense = ActivationStream(decoder, rows, forks)
    streams = [dense, *(dense.fork() for _ in range(forks))]
    for index, sparsities in enumerate(plan.sparsities):
        levels: list[list[Pruned]] = []
        with decoder.block(index):
            layers = {
                name: layer
                for name, layer in decoder.linears_in(index).items()
                if name in plan.dtypes
            }
            for level, (stream, sparsity) in enumerate(zip(streams, sparsities, strict=True)):
                if index < skip and saved is not None:
                    # Pruned before: its weights are read back.
                    weights = {name: saved(level, name) for name in layers}
                else:
                    # Measured with the block still dense, then pruned.
                    levels.append(
                        [
                            pruned
                            for shared in stream.measure(index, stay=True)
                            for pruned in _solved(index, shared, solve, (sparsity,), plan)
                        ]
                    )
                    weights = {pruned.name: pruned.levels[0] for pruned in levels[-1]}
                # The next block reads what this one gives with its pruned weights.
                with swapped_weights(layers, weights):
                    stream.advance(index)
        # From one list a level to one matrix of all levels.
        for matrix in zip(*levels, strict=True):
            yield _joined(matrix)


def _solved(
    index: int, shared: Shared, solve: Solve, sparsities: tuple[float, ...], plan: PruningPlan
) -> Iterator[Pruned]:
    """The layers of `shared` that the plan names, solved and as they are stored."""
    by_ceiling: dict[float | None, dict[str, nn.Linear]] = {}
    for name, layer in shared.layers.items():
        if name in plan.dtypes:
            by_ceiling.setdefault(plan.ceilings.get(name), {})[name] = layer
    for ceiling, layers in by_ceiling.items():
        asked, limit = sparsities, {}
        if ceiling is not None:
            asked = tuple(min(ceiling, sparsity) for sparsity in sparsities)
            limit = {"ceiling": ceiling}
        for solved in solve(Shared(layers, shared.hessian), asked):
            dtype = plan.dtypes[solved.name]
            levels = solved.levels.to(dtype, memory_format=torch.contiguous_format)
            facts = [{**fact, **limit} for fact in solved.facts]
            yield Pruned(index, solved.name, asked, levels, facts, solved.excess)


@contextmanager
def swapped_weights(
    layers: Mapping[str, nn.Linear], weights: Mapping[str, Tensor]
) -> Iterator[None]:
    """The layers have other weights meanwhile."""
    dense = {name: layer.weight.data for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            layer.weight.data = weights[name].to(dense[name])
        yield
    finally:
        for name, layer in layers.items():
            layer.weight.data = dense[name]


def _joined(levels: Sequence[Pruned]) -> Pruned:
    """One matrix at K sparsities from the same at one sparsity each."""
    first = levels[0]
    return Pruned(
        first.block,
        first.name,
        tuple(sparsity for level in levels for sparsity in level.asked),
        torch.cat([level.levels for level in levels]),
        [fact for level in levels for fact in level.facts],
        max(level.excess for level in levels),
    )
