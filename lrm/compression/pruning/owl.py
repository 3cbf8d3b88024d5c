"""Outlier-weighed layerwise sparsity (OWL, Yin et al., arXiv 2310.05175).

Blocks with more outliers keep more: D_l is the share of a block's weights whose |W_ij| ||X_j|| is
more than M times that block's mean, and a block's density lies within 2 lambda around the target
in proportion to D_l, such that the mean is the target.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrm.compression.streaming.activations import ActivationStream
from lrm.compression.streaming.decoder import Decoder
from lrm.compression.streaming.sums import Squares

OUTLIER = 5.0
"""M: how many times the mean an outlier is."""

SPREAD = 0.08
"""Lambda: half the width of the range of densities."""


def owl(
    decoder: Decoder, rows: Sequence[Sequence[int]], sparsities: Sequence[float]
) -> list[tuple[float, ...]]:
    """The K sparsities of every block; the mean over blocks of each is the one asked for.

    Near 0 and 1 lambda shrinks, so that every sparsity stays inside [0, 1).
    """
    stream, outliers = ActivationStream(decoder, rows), []
    for index in range(len(decoder.blocks)):
        with decoder.block(index):
            outliers.append(_outliers(stream, index))
    shares = torch.tensor(outliers)
    width = (shares.max() - shares.min()).clamp_min(torch.finfo(torch.float32).tiny)
    offsets = ((shares - shares.mean()) / width).tolist()

    def spread(sparsity: float) -> float:
        return 2 * min(SPREAD, sparsity / 2, (1 - sparsity) / 2 - 1e-6)

    return [tuple(level - spread(level) * offset for level in sparsities) for offset in offsets]


@torch.no_grad()
def _outliers(stream: ActivationStream, index: int) -> float:
    """D_l of a block; the rows pass it."""
    scores = [
        (layer.weight.float().abs() * shared.hessian.sqrt()).flatten()
        for shared in stream.measure(index, sums=Squares)
        for layer in shared.layers.values()
    ]
    total = sum(score.numel() for score in scores)
    mean = torch.stack([score.sum() for score in scores]).sum() / total
    count = torch.stack([(score > OUTLIER * mean).sum() for score in scores]).sum()
    return float(count / total)
