"""From pruned matrices to checkpoints: each level written as its matrices come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lrm.compression.checkpoint.folder import Weights, architecture
from lrm.compression.checkpoint.module_filter import ceilings
from lrm.compression.checkpoint.staging import Draft, check_free, draft
from lrm.compression.pruning import masks
from lrm.compression.pruning.blockwise import Pruned, Saved
from lrm.compression.streaming.load import device
from lrm.digests import of_json
from lrm.errors import BadInput, CompressionFailed
from lrm.records import Checkpoint

TOLERANCE = 1e-3
"""How far the sparsity of a saved matrix may lie above the one asked for; never below."""

OnModule = Callable[[int, int], None]


@runtime_checkable
class Pruner(Protocol):
    """What a pruning method says of itself; `caution` is what to mind about the outcome, if
    anything."""

    @property
    def name(self) -> str: ...

    @property
    def pattern(self) -> str: ...

    @property
    def protect(self) -> Sequence[str]: ...

    @property
    def caution(self) -> str | None: ...

    def params(self) -> Mapping[str, str | int | float]: ...


Make = Callable[[Weights, Sequence[str], Sequence[float], int, Saved], Iterator[Pruned]]
"""Prunes modules of a checkpoint at several sparsities, block by block, but for a number of first
blocks that were pruned before and can be read back."""


class _Job:
    """The drafts of all levels that something is pruned for."""

    def __init__(self, drafts: Mapping[float, Draft]) -> None:
        self.drafts = list(drafts.values())
        self.levels = list(drafts)
        self.blocks = min(len(one.done) for one in self.drafts)
        for one in self.drafts:
            del one.done[self.blocks :]

    def saved(self, level: int, name: str) -> Tensor:
        return self.drafts[level].weights.read(f"{name}.weight")

    @property
    def matrices(self) -> int:
        """How many matrices are there already."""
        return sum(len(block) for block in self.drafts[0].done)

    def write(self, block: Iterator[Pruned], after_each: Callable[[], None]) -> None:
        """Writes a block's matrices at every level."""
        reports: list[list[dict[str, Any]]] = [[] for _ in self.drafts]
        for matrix in block:
            for level, (target, rows) in enumerate(zip(self.drafts, reports, strict=True)):
                rows.append(_saved(target, matrix, level))
            after_each()
        for target, rows in zip(self.drafts, reports, strict=True):
            target.finish(rows)


def write(
    checkpoint: Checkpoint,
    methods: Mapping[float, Pruner],
    outs: Mapping[float, Path],
    make: Make,
    on_module: OnModule | None,
) -> dict[float, Checkpoint]:
    """Writes one checkpoint per sparsity; a level of 0 stays a copy, bit for bit.

    A job that was stopped, even by kill -9, goes on at the block where it was when it is called
    again, and gives the same weights. `on_module(done, total)` is called after each matrix.
    """
    source, method = _checked(checkpoint, outs), methods[max(outs)]
    modules, dense = _chosen(source, method)
    with ExitStack() as stack:
        drafts = {}
        for level, out in outs.items():
            params = dict(methods[level].params())
            identity = [checkpoint.revision, params, torch.__version__, device()]
            drafts[level] = stack.enter_context(draft(checkpoint, out, of_json(identity)))
        asked = {level: one for level, one in drafts.items() if level > 0}
        if asked:
            _prune(_Job(asked), make, source, modules, on_module)
        kept = [_protected_row(source, name) for name in dense]
        return {
            level: one.publish(
                {
                    "method": methods[level].name,
                    "params": dict(methods[level].params()),
                    "modules": [*(row for block in one.done for row in block), *kept],
                }
            )
            for level, one in drafts.items()
        }


def check(checkpoint: Checkpoint, method: Pruner) -> None:
    """BadInput if the method cannot prune the checkpoint, as far as the files' headers tell."""
    _chosen(_checked(checkpoint, {}), method)


def _checked(checkpoint: Checkpoint, outs: Mapping[float, Path]) -> Weights:
    """The weights of a checkpoint that can be pruned to places that are free."""
    if checkpoint.format != "dense":
        raise BadInput(
            f"{checkpoint.path} is stored as {checkpoint.format}; only dense weights are pruned."
        )
    source = Weights(checkpoint.path)
    if not source.linears():
        kind = architecture(checkpoint.path)
        raise BadInput(f"{kind} cannot be pruned: it has no linear layers in blocks named layers.")
    for out in outs.values():
        check_free(out)
    return source


def _chosen(source: Weights, method: Pruner) -> tuple[list[str], list[str]]:
    """The modules to prune, and those that are protected."""
    sizes = source.sizes()
    dense = [name for name, most in ceilings(sizes, method.protect).items() if most == 0]
    modules = [name for name in sizes if name not in dense]
    if not modules:
        raise BadInput("every module is protected, so that nothing is left to prune.")
    groups = masks.parse(method.pattern, 0)
    for name in modules:
        if groups is not None:
            groups.check_columns(source.shape(f"{name}.weight")[1], name)
    return modules, dense


def _prune(
    job: _Job,
    make: Make,
    source: Weights,
    modules: Sequence[str],
    on_module: OnModule | None,
) -> None:
    """Does what is left to do of a job."""
    done = job.matrices

    def count() -> None:
        nonlocal done
        done += 1
        if on_module:
            on_module(done, len(modules))

    if done == len(modules):
        return
    try:
        matrices = make(source, modules, job.levels, job.blocks, job.saved)
        for _, block in groupby(matrices, key=lambda matrix: matrix.block):
            job.write(block, count)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CompressionFailed(
            f"not enough memory on {device()} for {len(job.levels)} levels at once: ask for fewer "
            "levels at a time, or calibrate on fewer or shorter rows"
        ) from error


def _saved(target: Draft, matrix: Pruned, level: int) -> dict[str, Any]:
    """Writes a matrix, reads it back, and returns its report if its sparsity is the one asked."""
    asked, name = matrix.asked[level], f"{matrix.name}.weight"
    if not matrix.levels[level].isfinite().all():
        raise CompressionFailed(f"{name} at sparsity {asked:g} is not finite.")
    target.weights.overwrite(name, matrix.levels[level])
    saved = target.weights.read(name)
    achieved = 1 - int(saved.count_nonzero()) / saved.numel()
    if not asked - 1e-9 <= achieved <= asked + matrix.excess + TOLERANCE:
        raise CompressionFailed(f"{name} was to have sparsity {asked:g} and has {achieved:.4f}.")
    row = {"module": name, "weights": saved.numel(), "sparsity": asked}
    return row | {"sparsity_achieved": achieved} | matrix.facts[level]


def _protected_row(source: Weights, name: str) -> dict[str, Any]:
    """The report of a module that stayed as it was."""
    weight = source.read(f"{name}.weight")
    achieved = 1 - int(weight.count_nonzero()) / weight.numel()
    row = {"module": f"{name}.weight", "weights": weight.numel(), "sparsity": 0.0}
    return row | {"sparsity_achieved": achieved, "protected": True}
