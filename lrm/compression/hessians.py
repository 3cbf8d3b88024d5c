"""What the linear layers of a decoder read, measured as rows of tokens pass its blocks.

H = 2 X^T X / n over the n calibration tokens, in float32. Layers that are handed the very same
input tensor share one: in Llama and Qwen q, k and v; o; gate and up; down. Four a block, not
seven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from lrm.errors import BadInput

BATCH_TOKENS = 8192
"""Tokens that run through a block at once, unless a single row is longer."""

CHUNK_TOKENS = 4096
"""Tokens summed in one product: longer sums lose precision on tensor cores."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Layers of one block, by full name, that read the same input, and that input's Hessian."""

    layers: dict[str, nn.Linear]
    hessian: Tensor


@dataclass(slots=True)
class _Batch:
    """Rows of one length on their way: hidden states, and what else each block is called with."""

    hidden: Tensor
    arguments: list[dict[str, Any]]

    def move(self, output: Tensor) -> None:
        """Replaces the hidden states; those that wait on the host stay there."""
        if output.device == self.hidden.device:
            self.hidden = output
        else:
            # On one stream: a block that reads it later waits for this copy.
            self.hidden.copy_(output, non_blocking=True)


@dataclass(slots=True)
class _Sum:
    """What is summed over one input (H, or its diagonal), and the layers that read it."""

    total: Tensor
    layers: dict[nn.Linear, None] = field(default_factory=dict)


def gram(x: Tensor) -> Tensor:
    """X^T X of X [tokens, size] in float32; half-precision inputs on a GPU are not widened."""
    if x.is_cuda and x.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(x.T, x, out_dtype=torch.float32)
    x = x.float()
    return x.T @ x


def squares(x: Tensor) -> Tensor:
    """The diagonal of `gram` alone, [size]."""
    return x.float().square().sum(0)


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """The decoder's blocks; BadInput if they are not blocks of linear layers."""
    blocks = getattr(getattr(model, "base_model", None), "layers", None)
    kind = type(model).__name__
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise BadInput(f"{kind} cannot be pruned: it has no list of blocks named layers.")
    for name, module in blocks.named_modules():
        if not isinstance(module, nn.Linear):
            for own, weight in module.named_parameters(recurse=False):
                if weight.ndim > 1:
                    raise BadInput(
                        f"{kind} cannot be pruned: layers.{name}.{own} is no linear layer's "
                        "weight; use a dense model of the Llama or Qwen family."
                    )
    return blocks


def linears_of(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer of the blocks by its full name: what is pruned."""
    inside = set(blocks_of(model).modules())
    return {
        name: module
        for name, module in model.named_modules()
        if module in inside and isinstance(module, nn.Linear)
    }


class Flow:
    """Rows of token ids on their way through a model's blocks, one block after the other.

    Held at a time: one hidden state per token, in the model's dtype, where the model is. BadInput
    if a row does not fit the model.
    """

    def __init__(self, model: nn.Module, rows: Sequence[Sequence[int]]) -> None:
        self._kind = type(model).__name__
        self._names = {module: name for name, module in linears_of(model).items()}
        self._blocks = blocks_of(model)
        self._batches = _enter(model, self._blocks, rows)
        self._tokens = sum(map(len, rows))

    def fork(self, aside: bool = False) -> Self:
        """The same rows at the same place, on a way of their own.

        With `aside` their hidden states wait in the host's memory, not in a GPU's.
        """
        other = copy(self)
        other._batches = [
            _Batch(_on_host(batch.hidden) if aside else batch.hidden, batch.arguments)
            for batch in self._batches
        ]
        return other

    @property
    def hidden(self) -> list[Tensor]:
        """What the next block receives, [rows, tokens, size] for each batch."""
        return [batch.hidden for batch in self._batches]

    def arguments(self, index: int) -> dict[str, Any]:
        """What block `index` is called with beside the first batch's hidden states."""
        return self._batches[0].arguments[index]

    @torch.no_grad()
    def advance(self, index: int) -> None:
        """Runs block `index`."""
        for batch in self._batches:
            batch.move(self._run(index, batch))

    @torch.no_grad()
    def measure(
        self, index: int, stay: bool = False, sum_up: Callable[[Tensor], Tensor] = gram
    ) -> list[Shared]:
        """Runs block `index` and returns the Hessians of its layers.

        With `stay` the rows are in front of the block afterwards, as before. With `sum_up` =
        `squares` only the Hessians' diagonals come out.
        """
        sums: dict[nn.Linear, _Sum] = {}
        seen: list[tuple[Tensor, nn.Linear]] = []

        def watch(layer: nn.Linear, args: tuple[Tensor, ...]) -> None:
            first = next((other for value, other in seen if value is args[0]), None)
            if first is None:
                seen.append((args[0], first := layer))
                for x in torch.split(args[0].reshape(-1, layer.in_features), CHUNK_TOKENS):
                    part = sum_up(x)
                    if layer in sums:
                        sums[layer].total += part
                    else:
                        sums[layer] = _Sum(part)
            sums[first].layers[layer] = None

        with ExitStack() as hooks:
            for module in self._blocks[index].modules():
                if isinstance(module, nn.Linear):
                    hooks.enter_context(module.register_forward_pre_hook(watch))
            for batch in self._batches:
                output = self._run(index, batch)
                seen.clear()
                if not stay:
                    batch.move(output)
        self._check_reach(index, {layer for one in sums.values() for layer in one.layers})
        return [
            Shared(
                {self._names[layer]: layer for layer in one.layers},
                one.total.mul_(2 / self._tokens),
            )
            for one in sums.values()
        ]

    def _run(self, index: int, batch: _Batch) -> Tensor:
        onto = next(self._blocks[index].parameters()).device
        here = batch.hidden.to(onto, non_blocking=True)
        output = self._blocks[index](here, **batch.arguments[index])
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        return hidden

    def _check_reach(self, index: int, reached: set[nn.Linear]) -> None:
        for module in self._blocks[index].modules():
            if isinstance(module, nn.Linear) and module not in reached:
                raise BadInput(
                    f"{self._kind} cannot be pruned: no token reaches {self._names[module]}."
                )


def _on_host(hidden: Tensor) -> Tensor:
    """A copy in page-locked memory, which a GPU reads and writes at the speed of its bus."""
    if not hidden.is_cuda:
        return hidden
    return torch.empty_like(hidden, device="cpu", pin_memory=True).copy_(hidden)


class _Recorder(nn.Module):
    """Stands in for a block: keeps what it was called with and hands its input on."""

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        self.hidden, self.arguments = hidden_states, arguments
        return hidden_states


@torch.no_grad()
def _enter(model: nn.Module, blocks: nn.ModuleList, rows: Sequence[Sequence[int]]) -> list[_Batch]:
    """What the first block receives, and the further arguments of each, batch by batch."""
    config: Any = model.config
    most = max(map(len, rows))
    if most > config.max_position_embeddings:
        raise BadInput(
            f"a calibration row has {most} tokens, but the model reads at most "
            f"{config.max_position_embeddings}; cut the rows shorter"
        )
    if not all(0 <= token < config.vocab_size for row in rows for token in row):
        raise BadInput("calibration token ids lie outside the model's vocabulary; tokenize again")
    body: Any = model.base_model
    recorders = nn.ModuleList(_Recorder() for _ in blocks)
    device = next(model.parameters()).device
    batches = []
    body.layers = recorders
    try:
        for batch in _batched(rows):
            body(input_ids=torch.tensor(batch, device=device), use_cache=False)
            calls: list[Any] = list(recorders)
            batches.append(_Batch(calls[0].hidden, [call.arguments for call in calls]))
    finally:
        body.layers = blocks
    return batches


def _batched(rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Rows of equal length together, so that none needs padding."""
    batch: list[Sequence[int]] = []
    for row in sorted(rows, key=len):
        if batch and (len(row) != len(batch[0]) or len(row) * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(row)
    yield batch
