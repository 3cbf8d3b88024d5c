"""Perplexity of running text as the literature measures it, and how far one model is from another.

The text is one stream of tokens, cut into windows of equal length that do not overlap; a last
window that is not full is dropped. Every token of a window but its first is predicted from those
before it in the window (GPTQ, arXiv 2210.17323; SparseGPT, arXiv 2301.00774).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.quality.perplexity import Logits
from lrm.compression.streaming.forward import last_hidden, logits
from lrm.compression.streaming.load import load
from lrm.errors import CompressionFailed

PIECE = 256
"""Tokens whose probabilities are in memory at once."""

Rows = Sequence[Sequence[int]]
"""Token ids, row by row."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a model's next tokens are from another's, as means over the tokens of some rows.

    `kl` is KL(other || model) in nats; `agreement` the share of tokens behind which both give the
    same token the highest probability.
    """

    kl: float
    agreement: float


def windows(ids: Sequence[int], length: int, most: int | None = None) -> list[Sequence[int]]:
    """The first `most` windows of `length` tokens, or all; none where there are fewer tokens."""
    starts = range(0, len(ids) - length + 1, length)
    return [ids[start : start + length] for start in starts[:most]]


def perplexity_of_rows(read: Logits, rows: Rows) -> float:
    """e to the mean negative log-likelihood, by the logits of `read`, of every token of a row but
    the first. Raises CompressionFailed if that is not finite."""
    lost, count = 0.0, 0
    for ids, output in zip(rows, read(rows), strict=True):
        wanted = torch.tensor(ids[1:], device=output.device)
        pieces = zip(torch.split(output[:-1], PIECE), torch.split(wanted, PIECE), strict=True)
        for part, tokens in pieces:
            lost += float(cross_entropy(part.float(), tokens, reduction="sum"))
        count += len(wanted)
    # e to more than this is beyond a float.
    if not lost / count < 700:
        raise CompressionFailed("the model gives probabilities that are not finite")
    return math.exp(lost / count)


def divergence(other: Logits, model: Logits, rows: Rows) -> Divergence:
    """How far `model` is from `other` on rows. CompressionFailed if that is not finite."""
    kl, same, count = 0.0, 0, 0
    for before, after in zip(other(rows), model(rows), strict=True):
        after = after.to(before.device)
        pieces = zip(torch.split(before, PIECE), torch.split(after, PIECE), strict=True)
        for old, new in pieces:
            kl += _kl(old, new)
            same += int((old.argmax(-1) == new.argmax(-1)).sum())
            count += len(old)
    if not math.isfinite(kl):
        raise CompressionFailed("the model gives probabilities that are not finite")
    return Divergence(kl / count, same / count)


def logits_of(folder: Path) -> Logits:
    """The logits of a Hugging Face folder with dense weights, on a GPU if there is one.

    Rows go through one block after the other, and only their last hidden states are kept, so that
    a vocabulary's worth of logits is there for one row at a time.
    """
    decoder = load(Weights(folder))
    return lambda rows: logits(decoder, list(last_hidden(decoder, rows)))


def _kl(old: Tensor, new: Tensor) -> float:
    """The sum of KL(old || new) over tokens."""
    first, second = log_softmax(old.float(), -1), log_softmax(new.float(), -1)
    return float(kl_div(second, first, reduction="sum", log_target=True))
