"""From pruned matrices to checkpoints: each level is written as its matrices come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from lrm.compression.checkpoint.folder import Weights, architecture
from lrm.compression.checkpoint.module_filter import ceilings
from lrm.compression.checkpoint.staging import ModuleRow, StagedCheckpoint, check_free, staged
from lrm.compression.pruning import masks
from lrm.compression.pruning.blockwise import Pruned, Saved
from lrm.compression.streaming.load import device
from lrm.contracts.method import OnModule
from lrm.contracts.pruner import Pruner
from lrm.digests import of_json
from lrm.errors import BadInput, CompressionFailed
from lrm.records.model import Checkpoint

TOLERANCE = 1e-3
"""How far the sparsity of a saved matrix may lie above the one asked for; never below."""

Prune = Callable[[Weights, Sequence[str], Sequence[float], int, Saved], Iterator[Pruned]]
"""Prunes modules of a checkpoint at several sparsities, block by block, except for a number of
first blocks that were pruned before and can be read back."""


class _Job:
    """The staged checkpoints of all levels that something is pruned for."""

    def __init__(self, checkpoints: Mapping[float, StagedCheckpoint]) -> None:
        self.checkpoints = list(checkpoints.values())
        self.levels = list(checkpoints)
        # What was stopped goes on with the first block that not all levels have.
        self.blocks = min(len(checkpoint.done) for checkpoint in self.checkpoints)
        for checkpoint in self.checkpoints:
            del checkpoint.done[self.blocks :]

    def saved(self, level: int, name: str) -> Tensor:
        return self.checkpoints[level].weights.read(f"{name}.weight")

    @property
    def matrices(self) -> int:
        """How many matrices are there already."""
        return sum(len(block) for block in self.checkpoints[0].done)

    def write(self, block: Iterator[Pruned], after_each: Callable[[], None]) -> None:
        """Writes a block's matrices at every level."""
        reports: list[list[ModuleRow]] = [[] for _ in self.checkpoints]
        for matrix in block:
            for level, checkpoint in enumerate(self.checkpoints):
                reports[level].append(_written(checkpoint, matrix, level))
            after_each()
        for checkpoint, rows in zip(self.checkpoints, reports, strict=True):
            checkpoint.finish(rows)


def write(
    method: Pruner,
    checkpoint: Checkpoint,
    outs: Mapping[float, Path],
    prune: Prune,
    on_module: OnModule | None,
) -> dict[float, Checkpoint]:
    """Writes one checkpoint per sparsity; a level of 0 stays a copy, bit for bit.

    A job that was stopped, even by kill -9, goes on at the block where it was when it is called
    again, and gives the same weights. `on_module(done, total)` is called after each matrix.
    """
    # What can be refused is refused before anything is written.
    source, methods = _checked(checkpoint, outs), {level: method.at(level) for level in outs}
    modules, dense = _chosen(source, method)
    with ExitStack() as stack:
        # A staged copy of the model for each level, or what an earlier call left of it.
        checkpoints = {}
        for level, out in outs.items():
            params = dict(methods[level].params())
            identity = [checkpoint.revision, params, torch.__version__, device()]
            checkpoints[level] = stack.enter_context(staged(checkpoint, out, of_json(identity)))

        # The matrices of all levels, block by block, are written over the copies' own.
        sparser = {level: copy for level, copy in checkpoints.items() if level > 0}
        if sparser:
            _prune(_Job(sparser), prune, source, modules, on_module)

        # The receipts are written, and the folders renamed.
        protected = [_protected_row(source, name) for name in dense]
        return {
            level: copy.publish(
                {
                    "method": methods[level].name,
                    "params": dict(methods[level].params()),
                    "modules": [*(row for block in copy.done for row in block), *protected],
                }
            )
            for level, copy in checkpoints.items()
        }


def check(method: Pruner, checkpoint: Checkpoint) -> None:
    """BadInput if the method cannot prune the checkpoint, as far as the files' headers tell."""
    _chosen(_checked(checkpoint, {}), method)


def _checked(checkpoint: Checkpoint, outs: Mapping[float, Path]) -> Weights:
    """The weights of a checkpoint that can be pruned, if nothing is where it would be written."""
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
    prune: Prune,
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
        matrices = prune(source, modules, job.levels, job.blocks, job.saved)
        for _, block in groupby(matrices, key=lambda matrix: matrix.block):
            job.write(block, count)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CompressionFailed(
            f"not enough memory on {device()} for {len(job.levels)} levels at once: ask for fewer "
            "levels at a time, or calibrate on fewer or shorter rows"
        ) from error


def _written(checkpoint: StagedCheckpoint, matrix: Pruned, level: int) -> ModuleRow:
    """Writes a matrix, reads it back, and returns its report if its sparsity is the one asked."""
    asked, name = matrix.asked[level], f"{matrix.name}.weight"
    if not matrix.levels[level].isfinite().all():
        raise CompressionFailed(f"{name} at sparsity {asked:g} is not finite.")
    checkpoint.weights.overwrite(name, matrix.levels[level])
    saved = checkpoint.weights.read(name)
    achieved = masks.zeros(saved)
    if not asked - 1e-9 <= achieved <= asked + matrix.excess + TOLERANCE:
        raise CompressionFailed(f"{name} was to have sparsity {asked:g} and has {achieved:.4f}.")
    return {
        "module": name,
        "weights": saved.numel(),
        "sparsity": asked,
        "sparsity_achieved": achieved,
        **matrix.facts[level],
    }


def _protected_row(source: Weights, name: str) -> ModuleRow:
    """The report of a module that stayed as it was."""
    weight = source.read(f"{name}.weight")
    return {
        "module": f"{name}.weight",
        "weights": weight.numel(),
        "sparsity": 0.0,
        "sparsity_achieved": masks.zeros(weight),
        "protected": True,
    }
