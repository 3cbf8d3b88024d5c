"""Whole rows through a whole model, one block in memory after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lrm.compression.streaming.activations import Flow
from lrm.compression.streaming.decoder import Decoder


@torch.no_grad()
def last_hidden(decoder: Decoder, rows: Sequence[Sequence[int]]) -> Iterator[Tensor]:
    """What the last norm gives for each row of token ids, [tokens, size], in their order."""
    flow, norm = Flow(decoder, rows), decoder.model.get_submodule("model.norm")
    for index in range(len(decoder.blocks)):
        with decoder.block(index):
            flow.advance(index)
    hidden = flow.by_row()
    with decoder.held(norm):
        device = next(norm.parameters()).device
        for row in range(len(rows)):
            yield norm(hidden.pop(row).to(device))


@torch.no_grad()
def logits(decoder: Decoder, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
    """What comes next behind each token by its last hidden state, [tokens, vocabulary] in float32
    for each row."""
    head: Any = decoder.model.get_submodule("lm_head")
    with decoder.held(head):
        for row in hidden:
            yield head(row).float()
