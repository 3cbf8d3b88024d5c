"""SparseGPT the usual way, to measure against: what public implementations have in common.

One sparsity at a time. Every linear layer sums a float32 Hessian of its own, row after row; every
column of every block is an eager step in Python; each block runs a second time on its pruned
weights (arXiv 2301.00774, Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from experiments.benchmarking.stopwatch import Stopwatch
from lrm.compression.streaming.activations import ActivationStream
from lrm.compression.streaming.decoder import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DAMPING = 0.01
BLOCK = 128


def phases(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], level: float, blocks: int
) -> dict[str, float]:
    """Seconds of the first blocks by phase, at one level; puts their weights back afterwards."""
    watch, decoder = Stopwatch(), Decoder(model)
    arguments = ActivationStream(decoder, [rows[0]]).arguments(0)
    hidden = [state for row in rows for state in ActivationStream(decoder, [row]).hidden]
    for block in list(decoder.blocks)[:blocks]:
        before = {name: value.clone() for name, value in block.state_dict().items()}
        hidden = prune_block(block, hidden, arguments, level, watch)
        block.load_state_dict(before)
    return watch.seconds


class Inputs:
    """H = 2 X^T X / n of one layer, as a running mean over rows."""

    def __init__(self, layer: nn.Linear) -> None:
        size = layer.in_features
        self.hessian = torch.zeros(size, size, device=layer.weight.device)
        self.rows = 0

    def watch(self, layer: nn.Linear, args: tuple[Tensor, ...]) -> None:
        x = args[0].reshape(-1, layer.in_features).float()
        self.hessian *= self.rows / (self.rows + 1)
        self.rows += 1
        x = x * (2 / (self.rows * len(x))) ** 0.5
        self.hessian += x.T @ x


@torch.no_grad()
def prune_block(
    block: nn.Module,
    rows: Sequence[Tensor],
    arguments: Mapping[str, object],
    level: float,
    watch: Stopwatch,
) -> list[Tensor]:
    """Prunes a block in place; returns each row [1, tokens, size] as it leaves the block."""
    layers = [module for module in block.modules() if isinstance(module, nn.Linear)]
    inputs = {layer: Inputs(layer) for layer in layers}
    with ExitStack() as hooks, watch("forward and Hessians"):
        for layer, seen in inputs.items():
            hooks.enter_context(layer.register_forward_pre_hook(seen.watch))
        for row in rows:
            _run(block, row, arguments)
    for layer, seen in inputs.items():
        with watch("factors"):
            upper = factor(layer.weight, seen.hessian)
        with watch("columns"):
            layer.weight.data = prune(layer.weight.float(), upper, level).to(layer.weight.dtype)
    with watch("forward"):
        return [_run(block, row, arguments) for row in rows]


def _run(block: nn.Module, row: Tensor, arguments: Mapping[str, object]) -> Tensor:
    output = block(row, **arguments)
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def factor(weight: Tensor, hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped inverse, by way of the inverse."""
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    weight.data[:, dead] = 0
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    upper: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper


def prune(weight: Tensor, upper: Tensor, level: float) -> Tensor:
    """A layer [rows, columns] at one sparsity."""
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        part = weight[:, start:end].clone()
        own = upper[start:end, start:end]
        errors = torch.zeros_like(part)
        scores = part**2 / own.diagonal() ** 2
        ordered = torch.sort(scores.flatten()).values
        mask = scores <= ordered[int(scores.numel() * level)]
        for i in range(end - start):
            kept = part[:, i].clone()
            kept[mask[:, i]] = 0
            error = (part[:, i] - kept) / own[i, i]
            part[:, i:] -= error.unsqueeze(1) @ own[i, i:].unsqueeze(0)
            part[:, i] = kept
            errors[:, i] = error
        weight[:, start:end] = part
        weight[:, end:] -= errors @ upper[start:end, end:]
    return weight
