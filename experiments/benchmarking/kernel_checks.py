"""The GPU path of SparseGPT against the CPU path, on random layers.

Without a GPU, TRITON_INTERPRET=1 runs the kernels' logic on the CPU.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from lrm.compression.pruning import sparsegpt
from lrm.compression.pruning.masks import Groups
from lrm.compression.pruning.sparsegpt import Factor
from lrm.compression.streaming.sums import CHUNK_TOKENS, gram
from lrm.errors import BadInput, CompressionFailed

SIZES = ((1, 1), (3, 5), (1, 130), (33, 200), (70, 128))
LARGE = ((300, 1000), (4096, 1024))
"""Rows and columns of the layers; the large ones only on a GPU."""

LEVELS = (0.1, 0.5, 0.8)
SAME_MASK = 0.999
RELATIVE = 1e-4


def require_kernels(device: str) -> None:
    """Raises BadInput where the kernels cannot run on `device` ("cpu" or "cuda")."""
    if find_spec("triton") is None:
        raise BadInput("--check runs Triton's kernels, and Triton is not here: pip install triton.")
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise BadInput(
            "--check runs the GPU's kernels, and there is no GPU here: set TRITON_INTERPRET=1 to "
            "run their logic on the CPU."
        )


def check(device: str) -> str:
    """Compares masks, weights, losses and Hessians; returns a line for each comparison.

    Layers have odd shapes, dead columns and fewer inputs than columns; 2:4 and 4:8 are tried where
    they fit, and sparsities with one Hessian and with one each. Raises CompressionFailed, naming
    the first that differs too much.
    """
    lines = []
    for rows, columns in SIZES + (LARGE if device == "cuda" else ()):
        for groups in (None, Groups(2, 4), Groups(4, 8)):
            if groups is None or columns % groups.of == 0:
                lines += [_compare(rows, columns, groups, device, apart) for apart in (False, True)]
    if device == "cuda":
        lines += [_precision(tokens, 4096) for tokens in (CHUNK_TOKENS, 16 * CHUNK_TOKENS)]
    return "\n".join(lines)


def problem(rows: int, columns: int) -> tuple[list[Tensor], Tensor]:
    """Two layers [rows, columns] and [2 * rows + 1, columns], and a Hessian [columns, columns] of
    inputs that are correlated, fewer than the columns, and zero in some of them."""
    source = torch.Generator().manual_seed(rows * 1000 + columns)
    inputs = torch.randn(columns // 2 + 1, columns, generator=source)
    inputs += inputs.mean(1, keepdim=True)
    inputs[:, 1 :: max(columns // 3, 2)] = 0
    layers = [torch.randn(size, columns, generator=source) for size in (rows, 2 * rows + 1)]
    return layers, 2 * inputs.T @ inputs / len(inputs)


def _compare(rows: int, columns: int, groups: Groups | None, device: str, apart: bool) -> str:
    layers, hessian = problem(rows, columns)
    levels = [groups.sparsity] * 2 if groups else LEVELS
    hessians = [hessian]
    if apart:
        hessians += [problem(rows + more, columns)[1] for more in range(1, len(levels))]
    factors = [sparsegpt.factorise(one, 0.01) for one in hessians]
    on_device = sparsegpt.factorise(hessian.to(device), 0.01).upper.cpu()
    factored = float((on_device - factors[0].upper).norm() / factors[0].upper.norm())
    # Both paths get the CPU's factors, so that what follows compares the sweeps alone.
    moved = [
        Factor(one.upper.to(device), one.dead.to(device), 0.01, one.ridge.to(device))
        for one in factors
    ]
    expected = sparsegpt.prune(layers, factors, levels, groups=groups, fused=False)
    copies = [layer.to(device) for layer in layers]
    fused = sparsegpt.prune(copies, moved, levels, groups=groups, fused=True)
    same, away = 1.0, 0.0
    for layer, eager, by_kernel in zip(layers, expected, fused, strict=True):
        difference = eager.levels - by_kernel.levels.cpu()
        equal = (eager.levels == 0) == (by_kernel.levels.cpu() == 0)
        # A near-tie that is decided differently changes the rest of its row, so such rows are left
        # out of the difference in weights.
        in_rows = equal.all(2, keepdim=True)
        same = min(same, float(equal.float().mean()))
        away = max(away, float((difference * in_rows).norm() / layer.norm()))
        torch.testing.assert_close(by_kernel.lost.cpu(), eager.lost, rtol=1e-2, atol=1e-3)
    name = f"{rows} x {columns}, " + (f"{groups.keep}:{groups.of}" if groups else "unstructured")
    name += ", a Hessian each" if apart else ""
    verdict = f"{name}: masks equal on {same:.4%}, weights within {away:.1e}, factor {factored:.1e}"
    # In a layer of a few weights a single near-tie is more than one in a thousand.
    if same < SAME_MASK - 1 / (rows * columns) or away > RELATIVE or factored > 10 * RELATIVE:
        raise CompressionFailed(f"the kernels are wrong: {verdict}")
    return verdict


def _precision(tokens: int, size: int) -> str:
    """The shared Hessian of bfloat16 inputs against float64."""
    source = torch.Generator("cuda").manual_seed(0)
    mixed = torch.randn(size, size, generator=source, device="cuda") / size**0.5
    inputs = torch.randn(tokens, size, generator=source, device="cuda") @ mixed + 0.1
    x = inputs.to(torch.bfloat16)
    total = gram(x)
    exact = torch.zeros(size, size, dtype=torch.float64, device="cuda")
    for part in x.split(CHUNK_TOKENS):
        exact += part.double().T @ part.double()
    error = float((total - exact).norm() / exact.norm())
    verdict = f"Hessian of {tokens} tokens x {size}: within {error:.1e} of float64"
    if error > RELATIVE:
        raise CompressionFailed(f"the Hessian is imprecise: {verdict}")
    return verdict
