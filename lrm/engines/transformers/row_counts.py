"""How few rows a pass may compute, so that each gets the very bits that it gets among many.

A product for few rows is faster, but the arithmetic library may sum it in another order. MKL in
float32 does for 1 to 3 rows, and for 4 and 8 it does not, with any number of threads. It promises
neither, so it is tried where the model runs.
"""

from __future__ import annotations

import torch
from torch import nn

from lrm.engines.transformers.slots import ROUND_ROWS

FEWER = (4, 8)
"""Numbers of rows below ROUND_ROWS that are tried."""


@torch.inference_mode()
def row_counts(model: nn.Module) -> tuple[int, ...]:
    """Those of FEWER for which each of the model's matrices gives a row the bits that it gives for
    ROUND_ROWS rows. None on a GPU, where as many rows cost no more."""
    layers = {
        (layer.weight.shape, layer.bias is None): layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    }
    devices = {layer.weight.device.type for layer in layers.values()}
    if devices != {"cpu"}:
        return ()
    same = set(FEWER)
    random = torch.Generator().manual_seed(0)
    for layer in layers.values():
        rows = torch.randn(ROUND_ROWS, layer.in_features, generator=random).to(layer.weight.dtype)
        expected = layer(rows)
        same -= {count for count in same if not torch.equal(layer(rows[:count]), expected[:count])}
    return tuple(sorted(same))
