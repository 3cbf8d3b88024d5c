"""A model pruned block by block at K sparsities; nothing is written here.

One block is held at a time, with its Hessians and its sparser matrices.

In `dense` mode one calibration serves all sparsities: every block is measured on what the dense
model's blocks before it give (as EvoPress and ModelOpt do). In `sequential` mode, the paper's,
each sparsity has rows of its own, which pass the blocks as they were pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lrm.compression.streaming.activations import Flow, Shared
from lrm.compression.streaming.decoder import Decoder

Mode = Literal["dense", "sequential"]
MODES: tuple[Mode, ...] = ("dense", "sequential")


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
    facts: Sequence[dict[str, Any]]
    excess: float


@dataclass(frozen=True, slots=True)
class Solved:
    """What a method makes of one layer: as in `Pruned`, but in any dtype."""

    name: str
    levels: Tensor
    facts: Sequence[dict[str, Any]]
    excess: float


Solve = Callable[[Shared, Sequence[float]], Iterator[Solved]]
"""Prunes layers that share an input, at K sparsities."""

Saved = Callable[[int, str], Tensor]
"""The matrix of a block that was pruned before, by level (0 to K - 1) and module."""


def in_dense_mode(
    decoder: Decoder, rows: Sequence[Sequence[int]], solve: Solve, plan: PruningPlan, skip: int = 0
) -> Iterator[Pruned]:
    """Yields the matrices of all blocks but the first `skip`; the model stays as it is."""
    flow = Flow(decoder, rows)
    for index, sparsities in enumerate(plan.sparsities):
        with decoder.block(index):
            if index < skip:
                flow.advance(index)
                continue
            for shared in flow.measure(index):
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
    forks = len(plan.sparsities[0]) - 1
    first = Flow(decoder, rows, forks)
    flows = [first, *(first.fork() for _ in range(forks))]
    for index, sparsities in enumerate(plan.sparsities):
        levels: list[list[Pruned]] = []
        with decoder.block(index):
            layers = {
                name: layer
                for name, layer in decoder.linears_in(index).items()
                if name in plan.dtypes
            }
            for level, (flow, sparsity) in enumerate(zip(flows, sparsities, strict=True)):
                if index < skip and saved is not None:
                    weights = {name: saved(level, name) for name in layers}
                else:
                    levels.append(
                        [
                            pruned
                            for shared in flow.measure(index, stay=True)
                            for pruned in _solved(index, shared, solve, (sparsity,), plan)
                        ]
                    )
                    weights = {pruned.name: pruned.levels[0] for pruned in levels[-1]}
                with _wearing(layers, weights):
                    flow.advance(index)
        for same in zip(*levels, strict=True):
            yield _joined(same)


def _solved(
    index: int, shared: Shared, solve: Solve, sparsities: tuple[float, ...], plan: PruningPlan
) -> Iterator[Pruned]:
    """The layers of `shared` that the plan names, solved and as they are stored."""
    alike: dict[float | None, dict[str, nn.Linear]] = {}
    for name, layer in shared.layers.items():
        if name in plan.dtypes:
            alike.setdefault(plan.ceilings.get(name), {})[name] = layer
    for most, layers in alike.items():
        asked, told = sparsities, {}
        if most is not None:
            asked = tuple(min(most, sparsity) for sparsity in sparsities)
            told = {"ceiling": most}
        for one in solve(Shared(layers, shared.hessian), asked):
            levels = one.levels.to(plan.dtypes[one.name], memory_format=torch.contiguous_format)
            facts = [{**fact, **told} for fact in one.facts]
            yield Pruned(index, one.name, asked, levels, facts, one.excess)


@contextmanager
def _wearing(layers: Mapping[str, nn.Linear], weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The layers with other weights for a while."""
    dense = {name: layer.weight.data for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            layer.weight.data = weights[name].to(dense[name])
        yield
    finally:
        for name, layer in layers.items():
            layer.weight.data = dense[name]


def _joined(levels: Sequence[Pruned]) -> Pruned:
    """One matrix at K sparsities from K at one."""
    first = levels[0]
    return Pruned(
        first.block,
        first.name,
        tuple(sparsity for one in levels for sparsity in one.asked),
        torch.cat([one.levels for one in levels]),
        [fact for one in levels for fact in one.facts],
        max(one.excess for one in levels),
    )
