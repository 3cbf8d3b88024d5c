"""How the methods prune layers that share an input: from a Hessian to K sparser matrices each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lrm.compression.pruning import sparsegpt
from lrm.compression.pruning.blockwise import Solve, Solved
from lrm.compression.pruning.masks import Groups, lowest_in_all, lowest_in_groups, lowest_in_rows
from lrm.compression.streaming.activations import Shared
from lrm.errors import CompressionFailed

MOST_ENTRIES = 2**29
"""Weights in one tall problem, 2 GiB in float32, unless a single layer has more."""


def sparsegpt_solver(damping: float, block: int, groups: Groups | None) -> Solve:
    """SparseGPT; the facts are the error of the outputs (before rounding to the stored dtype, as
    a share), the damping and the seconds of all levels."""

    def solve(shared: Shared, levels: Sequence[float]) -> Iterator[Solved]:
        began = time.perf_counter()
        try:
            factor = sparsegpt.factorise(shared.hessian, damping)
        except CompressionFailed as error:
            raise CompressionFailed(f"{', '.join(shared.layers)}: {error}") from error
        for part in _portions(shared.layers, len(levels)):
            weights = [layer.weight.detach().to(factor.upper.dtype) for layer in part.values()]
            solutions = sparsegpt.prune(weights, factor, levels, block, groups)
            for name, dense, found in zip(part, weights, solutions, strict=True):
                total = sparsegpt.power(dense, shared.hessian)
                given = factor.dead.expand_as(dense) | (dense == 0)
                facts = [
                    {
                        "error": error,
                        "damping": factor.damping,
                        "damping_raised": factor.damping > damping,
                    }
                    for error in sparsegpt.share(found.lost, total).tolist()
                ]
                excess = math.ceil(dense.shape[1] / block) / dense.numel()
                yield _timed(began, name, found.levels, facts, float(given.float().mean()) + excess)
                began = time.perf_counter()

    return solve


def wanda_solver(groups: Groups | None) -> Solve:
    """Wanda; the facts are the error of the outputs, as a share, and the seconds."""

    def solve(shared: Shared, levels: Sequence[float]) -> Iterator[Solved]:
        norms = shared.hessian.diagonal().sqrt()
        for name, layer in shared.layers.items():
            began = time.perf_counter()
            dense = layer.weight.detach().to(shared.hessian.dtype)
            scores = dense.abs() * norms
            masks = [
                lowest_in_groups(scores, groups) if groups else lowest_in_rows(scores, level)
                for level in levels
            ]
            pruned = torch.stack([dense.masked_fill(mask, 0) for mask in masks])
            errors = sparsegpt.relative_error(dense, pruned, shared.hessian).tolist()
            facts = [{"error": error} for error in errors]
            yield _timed(began, name, pruned, facts, _zeros(dense) + 1 / dense.numel())

    return solve


def by_magnitude(
    name: str, dense: Tensor, levels: Sequence[float], groups: Groups | None
) -> Solved:
    """A matrix without its smallest weights."""
    size = dense.float().abs()
    masks = [
        lowest_in_groups(size, groups) if groups else lowest_in_all(size, level) for level in levels
    ]
    pruned = torch.stack([dense.masked_fill(mask, 0) for mask in masks])
    return Solved(name, pruned, [{}] * len(levels), _zeros(dense) + 1 / dense.numel())


def _timed(
    began: float, name: str, levels: Tensor, facts: list[dict[str, object]], excess: float
) -> Solved:
    seconds = {"seconds_all_levels": time.perf_counter() - began}
    return Solved(name, levels, [fact | seconds for fact in facts], excess)


def _portions(layers: dict[str, nn.Linear], levels: int) -> Iterator[dict[str, nn.Linear]]:
    """Runs of layers that are small enough to be one tall problem."""
    portion: dict[str, nn.Linear] = {}
    for name, layer in layers.items():
        size = sum(one.weight.numel() for one in [*portion.values(), layer])
        if portion and size * levels > MOST_ENTRIES:
            yield portion
            portion = {}
        portion[name] = layer
    yield portion


def _zeros(dense: Tensor) -> float:
    return 1 - int(dense.count_nonzero()) / dense.numel()
