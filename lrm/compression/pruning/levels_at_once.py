"""How many sparsities with inputs of their own are pruned together: on a GPU as many as its memory
has room for, since the rows of one do not fill it; on a CPU one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

SHARE = 0.8
"""Part of a GPU's free memory that they may fill. The rest is for what runs through the block."""

WIDE = 4
"""Bytes of a value in float32."""


def levels_at_once(layers: Mapping[str, nn.Linear], levels: int) -> int:
    """1 to `levels`, by the memory that is free now, for a block of such layers."""
    device = next(iter(layers.values())).weight.device
    if device.type != "cuda":
        return 1
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = SHARE * (torch.cuda.mem_get_info(device)[0] + cached)
    # One by one: the Hessians (as if no layers shared one), the largest factor, and the largest
    # matrix in float32, in the order of its columns and as it is stored.
    squares = [WIDE * layer.in_features**2 for layer in layers.values()]
    matrices = [WIDE * layer.weight.numel() for layer in layers.values()]
    each = sum(squares) + max(squares) + 3 * max(matrices)
    # Whatever their number: what it takes to factorise one Hessian.
    return max(1, min(levels, int((free - 3 * max(squares)) / each)))
