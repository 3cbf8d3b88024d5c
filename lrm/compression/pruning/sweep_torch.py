"""One block of columns of SparseGPT in plain torch: the reference, and the way on a CPU.

A block is [columns, K, rows], each row that of some layer at one of K sparsities. `upper` [1 or K,
columns, columns] is the block's own piece of U: one for all sparsities, or one for each. The same
two functions are written as GPU kernels in `lrm.compression.pruning.sweep_triton`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lrm.compression.pruning.masks import Groups, lowest_in_groups

STEP = 16
"""Columns that make up for each other one by one before a product makes up for them all."""


def segments(sizes: Sequence[int], device: torch.device) -> Tensor:
    """The number of rows of each layer [layers], in the form that `thresholds` takes."""
    return torch.tensor(sizes, device=device)


def thresholds(part: Tensor, upper: Tensor, ranks: Tensor, segments: Tensor) -> Tensor:
    """The score [layers, K] below or at which a layer's weight of `part` is pruned.

    It is the element at index `ranks[l, k]` of layer l's scores at level k in sorted order.
    Algorithm 1 line 7 ranks by w^2 / [H^-1]_cc^2; its root |w| / U_cc ranks alike and cannot
    underflow.
    """
    scores = (part.transpose(0, 1) / upper.diagonal(dim1=1, dim2=2)[..., None]).abs()
    limits = np.empty(ranks.shape, dtype=scores.numpy().dtype)
    for layer, rows in enumerate(torch.split(scores, segments.tolist(), 2)):
        for level, (row, rank) in enumerate(
            zip(rows.flatten(1).numpy(), ranks[layer].tolist(), strict=True)
        ):
            limits[layer, level] = np.partition(row, rank)[rank]
    return torch.from_numpy(limits)


def sweep(part: Tensor, upper: Tensor, limits: Tensor | None, groups: Groups | None) -> Tensor:
    """Prunes `part` in place (lines 8 to 13); returns its errors, as large.

    What scores at most `limits` [K, rows] is pruned; without limits, what `groups` say as the sweep
    comes to them. Column i's error is w_i / U_ii where w_i is pruned, else 0, with w_i as the
    errors before have left it.
    """
    errors = torch.empty_like(part)
    if len(upper) == 1:
        # As one sparsity of many rows.
        shared = None if limits is None else limits.flatten()
        _sweep(part.flatten(1), upper[0], shared, groups, errors.flatten(1))
        return errors
    for level, own in enumerate(upper):
        limit = None if limits is None else limits[level]
        _sweep(part[:, level], own, limit, groups, errors[:, level])
    return errors


def _sweep(
    part: Tensor, upper: Tensor, limits: Tensor | None, groups: Groups | None, errors: Tensor
) -> None:
    """The same for part [columns, rows], into `errors`."""
    scale = upper.diagonal()[:, None]
    low = None if limits is None else (part / scale).abs() <= limits
    step = STEP if groups is None else groups.of
    for start in range(0, len(part), step):
        end = min(start + step, len(part))
        near = part[start:end]
        if start:
            near.addmm_(upper[:start, start:end].T, errors[:start], alpha=-1)
        if low is not None:
            mask = low[start:end]
        elif groups is not None:
            mask = lowest_in_groups((near / scale[start:end]).abs().T.contiguous(), groups).T
        share = mask / scale[start:end]
        for i, row in enumerate(near):
            error = torch.mul(row, share[i], out=errors[start + i])
            near[i + 1 :].addr_(upper[start + i, start + i + 1 : end], error, alpha=-1)
        near.masked_fill_(mask, 0)
