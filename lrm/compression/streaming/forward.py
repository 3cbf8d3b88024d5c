"""Whole rows through a whole model, one block in memory after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lrm.compression.streaming.activations import ActivationStream
from lrm.compression.streaming.decoder import Decoder


@torch.no_grad()
def last_hidden(decoder: Decoder, rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    """What the last norm gives for each row of token ids, [tokens, size], in their order."""
    stream, norm = ActivationStream(decoder, rows), decoder.model.get_submodule("model.norm")
    for index in range(len(decoder.blocks)):
        with decoder.block(index):
            stream.advance(index)
    hidden = stream.by_row()
    with decoder.materialized(norm):
        device = next(norm.parameters()).device
        for row in range(len(rows)):
            yield norm(hidden.pop(row).to(device))


@torch.no_grad()
def logits(decoder: Decoder, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
    """The next-token logits behind each token, by its last hidden state: [tokens, vocabulary] in
    float32 for each row."""
    head = decoder.model.get_submodule("lm_head")
    with decoder.materialized(head):
        for row in hidden:
            yield head(row).float()
