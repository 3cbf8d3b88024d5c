"""A model pruned block by block at K sparsities; nothing is written here.

One block is in memory at a time, with its Hessians and its sparser matrices.

In `sequential` mode, the paper's, each sparsity has rows of its own, which pass the blocks as they
were pruned. In front of the first block they are alike, and behind it as many sparsities are
measured and pruned together as there is memory for. In `dense` mode one calibration serves all
sparsities: every block is measured on what the dense model's blocks before it give (as EvoPress and
ModelOpt do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from lrm.compression.pruning.levels_at_once import levels_at_once
from lrm.compression.streaming.activations import ActivationStream
from lrm.compression.streaming.decoder import Decoder

Mode = Literal["dense", "sequential"]
MODES: tuple[Mode, ...] = ("sequential", "dense")

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


Solve = Callable[[Mapping[str, nn.Linear], Sequence[Tensor], Sequence[float]], Iterator[Solved]]
"""Prunes layers that share an input, by its Hessian, at K sparsities. There is one Hessian for all
sparsities, or one for each."""

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
            # The rows pass the dense block, unless it is the last, and leave the Hessians of its
            # inputs.
            for shared in stream.measure(index, stay=index + 1 == len(plan.sparsities)):
                yield from _solved(index, shared.layers, [shared.hessian], solve, sparsities, plan)


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
    for index in range(len(plan.sparsities)):
        matrices: list[Pruned] = []
        with decoder.block(index):
            layers = {
                name: layer
                for name, layer in decoder.linears_in(index).items()
                if name in plan.dtypes
            }
            passed = index < skip and saved is not None
            if not passed:
                matrices = _pruned_apart(decoder, index, streams, solve, plan)
            # The next block reads what this one gives with its pruned weights.
            for level, stream in enumerate(streams if index + 1 < len(plan.sparsities) else ()):
                if passed and saved is not None:
                    # Pruned before: its weights are read back.
                    weights = {name: saved(level, name) for name in layers}
                else:
                    weights = {matrix.name: matrix.levels[level] for matrix in matrices}
                with swapped_weights(layers, weights):
                    stream.advance(index)
        yield from matrices


def _pruned_apart(
    decoder: Decoder,
    index: int,
    streams: Sequence[ActivationStream],
    solve: Solve,
    plan: PruningPlan,
) -> list[Pruned]:
    """The matrices of a block, each sparsity measured on rows of its own."""
    sparsities = plan.sparsities[index]
    # Together: all in front of the first block, where one measure serves them all; then as many as
    # have Hessians in memory at the same time.
    size = levels_at_once(decoder.linears_in(index), len(streams)) if index else len(streams)
    groups: list[list[Pruned]] = []
    for start in range(0, len(streams), size):
        apart = streams[start : start + size] if index else streams[:1]
        measured = [stream.measure(index, stay=True) for stream in apart]
        asked = sparsities[start : start + size]
        groups.append(
            [
                pruned
                for alike in zip(*measured, strict=True)
                for pruned in _solved(
                    index, alike[0].layers, [one.hessian for one in alike], solve, asked, plan
                )
            ]
        )
    return [_joined(matrix) for matrix in zip(*groups, strict=True)]


def _solved(
    index: int,
    layers: Mapping[str, nn.Linear],
    hessians: Sequence[Tensor],
    solve: Solve,
    sparsities: tuple[float, ...],
    plan: PruningPlan,
) -> Iterator[Pruned]:
    """Layers with one input, as far as the plan names them, solved and as they are stored."""
    by_ceiling: dict[float | None, dict[str, nn.Linear]] = {}
    for name, layer in layers.items():
        if name in plan.dtypes:
            by_ceiling.setdefault(plan.ceilings.get(name), {})[name] = layer
    for ceiling, alike in by_ceiling.items():
        asked, limit = sparsities, {}
        if ceiling is not None:
            asked = tuple(min(ceiling, sparsity) for sparsity in sparsities)
            limit = {"ceiling": ceiling}
        for solved in solve(alike, hessians, asked):
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
    """One matrix at K sparsities from the same at some of them each."""
    first = levels[0]
    if len(levels) == 1:
        return first
    return Pruned(
        first.block,
        first.name,
        tuple(sparsity for level in levels for sparsity in level.asked),
        torch.cat([level.levels for level in levels]),
        [fact for level in levels for fact in level.facts],
        max(level.excess for level in levels),
    )
