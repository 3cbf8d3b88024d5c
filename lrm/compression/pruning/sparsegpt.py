"""SparseGPT (Frantar and Alistarh, arXiv 2301.00774) as pure functions on tensors.

The names are those of its Algorithm 1: W [rows, columns] holds a layer's weights, H [columns,
columns] = 2 X^T X / n measures its inputs X [n, columns], and U is the upper Cholesky factor of
the inverse, H^-1 = U^T U. The masks follow the authors' code (github.com/IST-DASLab/sparsegpt)
where the paper leaves a choice open: dead columns, and ties at the threshold.

Layers that read the same input share U. They and all sparsities are stacked into one tall W, so
that each column is visited once for all of them; the sparsities share U, too, or each has its own.
Inside, the tall W lies transposed, [columns, sparsities, rows]: a column is contiguous and the
update a plain product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lrm.compression.pruning import sweep_torch
from lrm.compression.pruning.masks import Groups
from lrm.errors import CompressionFailed

DAMPING_STEP = 10.0
MOST_DAMPING = 1.0
"""Where escalation ends: damping as large as H itself would no longer be SparseGPT."""

PANEL = 1024
"""Columns of U that are solved for at once."""


@dataclass(frozen=True, slots=True)
class Factor:
    """U [columns, columns]; which columns are dead [columns]; the damping that it took.

    `ridge` is what the damping added to the diagonal of H.
    """

    upper: Tensor
    dead: Tensor
    damping: float
    ridge: Tensor


@dataclass(frozen=True, slots=True)
class Solution:
    """A layer at K sparsities, [K, rows, columns], and what its outputs lose by it [K].

    `lost` is tr(D H D^T), D = W - W': with H = 2 X^T X / n twice the squared error of the outputs
    per token, summed over rows.
    """

    levels: Tensor
    lost: Tensor


def factorise(hessian: Tensor, damping: float) -> Factor:
    """U of H + damping x mean(diag H) x I.

    A column whose input was always zero is dead: it gets a 1 on the diagonal. If H is not
    positive definite, damping is raised tenfold, up to MOST_DAMPING; then CompressionFailed.
    """
    if not hessian.isfinite().all():
        raise CompressionFailed("the calibration activations are not finite; check the model")
    dead = hessian.diagonal() == 0
    diagonal = hessian.diagonal() + dead
    tried = damping
    while True:
        # Dampen the diagonal.
        ridge = tried * diagonal.mean()
        # Factorise. With R upper triangular and H = R R^T, U = R^-1 satisfies U^T U = H^-1. R is
        # the lower factor of H read backwards, which spares the inverse of the authors' code.
        backwards = hessian.flip(0, 1)
        backwards.diagonal().copy_((diagonal + ridge).flip(0))
        reverse, failed = torch.linalg.cholesky_ex(backwards)
        del backwards
        if not failed:
            upper = _inverse(reverse.flip(0, 1))
            if upper.isfinite().all():
                return Factor(upper, dead, tried, ridge)
        # Not positive definite: dampen more, or give up.
        if tried * DAMPING_STEP > MOST_DAMPING:
            raise CompressionFailed(
                f"the Hessian has no Cholesky factor even with damping {tried:g}; calibrate on "
                "more tokens, or start from a larger damping"
            )
        tried *= DAMPING_STEP


def _inverse(upper: Tensor) -> Tensor:
    """The inverse of an upper triangular matrix. Being triangular itself, its first columns are
    those of the inverse of a smaller one."""
    inverse = torch.zeros_like(upper)
    one = torch.eye(len(upper), dtype=upper.dtype, device=upper.device)
    for start in range(0, len(upper), PANEL):
        end = min(start + PANEL, len(upper))
        inverse[:end, start:end] = torch.linalg.solve_triangular(
            upper[:end, :end], one[:end, start:end], upper=True
        )
    return inverse


def prune(
    weights: Sequence[Tensor],
    factors: Sequence[Factor],
    sparsities: Sequence[float],
    block: int = 128,
    groups: Groups | None = None,
    fused: bool | None = None,
) -> list[Solution]:
    """Algorithm 1 for K sparsities of several layers at once, with Bs = B = `block`.

    `weights` are [rows, columns] each, in the dtype of U, and sparsities lie in (0, 1). Of
    `factors` there is one for all sparsities, or one for each. The mask of a block of columns is
    chosen for each layer and sparsity apart: pruned is everything up to the element (`<=`) at index
    int(numel x sparsity) in sorted order. With `groups`, Bs is their size instead, and they decide.
    `fused` says whether the columns are swept by the Triton kernels; if left out, they are on a
    GPU.
    """
    kernels = _kernels(factors[0].upper.is_cuda if fused is None else fused)
    # One tall problem: all layers side by side, once for each sparsity.
    sizes = [len(weight) for weight in weights]
    dense = torch.cat(list(weights)).T
    dead = torch.stack([factor.dead for factor in factors], 1)[..., None]
    tall = dense[:, None].repeat(1, len(sparsities), 1).masked_fill_(dead, 0)
    lost = tall.new_zeros(tall.shape[1:])
    # The rank of each threshold among the scores of its layer, for whole blocks and the last one.
    segments = kernels.segments(sizes, tall.device)
    repeats = torch.tensor(sizes, device=tall.device)
    widths = {min(block, len(tall)), len(tall) % block or block}
    ranks = {width: _ranks([width * size for size in sizes], sparsities, tall) for width in widths}
    for start in range(0, len(tall), block):
        part, after = tall[start : start + block], tall[start + block :]
        uppers = [factor.upper[start : start + block] for factor in factors]
        own = torch.stack([upper[:, start : start + len(part)] for upper in uppers])
        # Line 7: which weights of this block are pruned.
        limits = None
        if groups is None:
            thresholds = kernels.thresholds(part, own, ranks[len(part)], segments)
            limits = thresholds.repeat_interleave(repeats, 0, output_size=sum(sizes)).T.contiguous()
        # Lines 8 to 13: column after column, each error made up for inside the block.
        errors = kernels.sweep(part, own, limits, groups)
        # Line 14: the columns behind the block make up for its errors.
        wrong = _by(factors, errors)
        for rest, upper, error in zip(_by(factors, after), uppers, wrong, strict=True):
            rest.addmm_(upper[:, start + block :].T, error, alpha=-1)
        lost += errors.square_().sum(0)
    # What the outputs lose. With E all errors, D = E U, so that tr(D (H + ridge I) D^T) = ||E||^2.
    for level, losses in enumerate(lost):
        factor = factors[level % len(factors)]
        alive = dense.masked_fill(factor.dead[:, None], 0)
        losses -= factor.ridge * (tall[:, level] - alive).square_().sum(0)
    # The tall problem taken apart again, by layers.
    return [
        Solution(layer.permute(1, 2, 0), losses.sum(1).clamp_min(0))
        for layer, losses in zip(
            torch.split(tall, sizes, 2), torch.split(lost, sizes, 1), strict=True
        )
    ]


def _by(factors: Sequence[Factor], tall: Tensor) -> Sequence[Tensor]:
    """Of [columns, K, rows] what each factor has to do with, [columns, problems]."""
    return [tall.flatten(1)] if len(factors) == 1 else tall.unbind(1)


class _Kernels(Protocol):
    """What the two modules with the sweep offer; see `lrm.compression.pruning.sweep_torch`."""

    def segments(self, sizes: Sequence[int], device: torch.device) -> Tensor: ...

    def thresholds(
        self, part: Tensor, upper: Tensor, ranks: Tensor, segments: Tensor
    ) -> Tensor: ...

    def sweep(
        self, part: Tensor, upper: Tensor, limits: Tensor | None, groups: Groups | None
    ) -> Tensor: ...


def _kernels(fused: bool) -> _Kernels:
    """The module with the sweep."""
    if not fused:
        return sweep_torch
    # Triton comes with torch for GPUs alone.
    from lrm.compression.pruning import sweep_triton

    return sweep_triton


def _ranks(sizes: Sequence[int], sparsities: Sequence[float], like: Tensor) -> Tensor:
    """The thresholds' indices [layers, K] among so many scores in sorted order, on the device of
    `like`."""
    ranks = [[min(int(size * sparsity), size - 1) for sparsity in sparsities] for size in sizes]
    return torch.tensor(ranks, dtype=torch.int32, device=like.device)


def power(weights: Tensor, hessian: Tensor) -> Tensor:
    """tr(W H W^T): what `Solution.lost` is a share of. `weights` are W^T W."""
    return (weights * hessian).sum()


def relative_error(dense: Tensor, pruned: Tensor, hessian: Tensor) -> Tensor:
    """||(W - W') X||^2 / ||W X||^2 = tr(D H D^T) / tr(W H W^T), D = W - W', for each sparsity.

    `dense` is [rows, columns], `pruned` [K, rows, columns], the result [K]; 0 where W X is 0.
    """
    gone = (level - dense for level in pruned)
    lost = torch.stack([power(matrix.T @ matrix, hessian) for matrix in gone])
    return share(lost, power(dense.T @ dense, hessian))


def share(lost: Tensor, total: Tensor) -> Tensor:
    """lost / total, and 0 where nothing could be lost."""
    return torch.where(total > 0, lost / total, torch.zeros_like(lost))
