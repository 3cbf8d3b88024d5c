"""What the linear layers of a decoder read, measured as rows of tokens pass its blocks.

H = 2 X^T X / n over the n calibration tokens, in float32. Layers that are handed the very same
input tensor share one: in Llama and Qwen q, k and v; o; gate and up; down. Four a block, not
seven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from lrm.compression.streaming.decoder import Decoder
from lrm.compression.streaming.offload import Aside, how_aside
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
    """Rows of one length on their way: which they are, their hidden states, and what else each
    block is called with."""

    rows: list[int]
    hidden: Tensor
    arguments: list[dict[str, Any]]
    aside: Aside | None

    def move(self, output: Tensor) -> None:
        """Replaces the hidden states; those that were set aside are written over where they are."""
        if self.aside:
            # On one stream: a block that reads it later waits for this copy.
            self.hidden.copy_(output, non_blocking=self.hidden.is_pinned())
        else:
            self.hidden = output


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


class Flow:
    """Rows of token ids on their way through a model's blocks, one block after the other.

    A block must be held while it is run. Between two blocks there is one hidden state per token, in
    the model's dtype, where it fits (see `lrm.compression.streaming.offload`) together with `forks`
    others. BadInput if a row does not fit the model.
    """

    def __init__(self, decoder: Decoder, rows: Sequence[Sequence[int]], forks: int = 0) -> None:
        self._kind = decoder.kind
        self._names = {module: name for name, module in decoder.linears.items()}
        self._blocks = decoder.blocks
        self._tokens = sum(map(len, rows))
        _check_rows(decoder, rows)
        self._batches = list(_enter(decoder, rows, self._tokens * (1 + forks)))

    def fork(self) -> Self:
        """The same rows at the same place, on a way of their own."""
        other = copy(self)
        other._batches = [
            replace(batch, hidden=batch.aside(batch.hidden) if batch.aside else batch.hidden)
            for batch in self._batches
        ]
        return other

    @property
    def hidden(self) -> list[Tensor]:
        """What the next block receives, [rows, tokens, size] for each batch."""
        return [batch.hidden for batch in self._batches]

    def by_row(self) -> dict[int, Tensor]:
        """The same by the rows' places among those given, [tokens, size] each."""
        return {
            row: hidden
            for batch in self._batches
            for row, hidden in zip(batch.rows, batch.hidden, strict=True)
        }

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


class _Recorder(nn.Module):
    """Stands in for a block: keeps what it was called with and hands its input on."""

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        self.hidden, self.arguments = hidden_states, arguments
        return hidden_states


def _check_rows(decoder: Decoder, rows: Sequence[Sequence[int]]) -> None:
    config: Any = decoder.model.config
    most = max(map(len, rows))
    if most > config.max_position_embeddings:
        raise BadInput(
            f"a calibration row has {most} tokens, but the model reads at most "
            f"{config.max_position_embeddings}; cut the rows shorter"
        )
    if not all(0 <= token < config.vocab_size for row in rows for token in row):
        raise BadInput("calibration token ids lie outside the model's vocabulary; tokenize again")


@torch.no_grad()
def _enter(decoder: Decoder, rows: Sequence[Sequence[int]], tokens: int) -> Iterator[_Batch]:
    """What the first block receives, and the further arguments of each, batch by batch.

    So many `tokens` have hidden states at the same time.
    """
    body: Any = decoder.model.base_model
    outside = [part for part in body.children() if part is not decoder.blocks]
    recorders = [_Recorder() for _ in decoder.blocks]
    with decoder.held(*outside):
        weight = next(body.parameters())
        size = tokens * body.config.hidden_size * weight.element_size()
        aside = how_aside(size, weight.device)
        body.layers = nn.ModuleList(recorders)
        try:
            for places in _batched(rows):
                ids = torch.tensor([rows[place] for place in places], device=weight.device)
                body(input_ids=ids, use_cache=False)
                hidden, arguments = recorders[0].hidden, [one.arguments for one in recorders]
                yield _Batch(places, aside(hidden) if aside else hidden, arguments, aside)
        finally:
            body.layers = decoder.blocks


def _batched(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Rows of equal length together, by their places, so that none needs padding."""
    batch: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: len(rows[place])):
        size = len(rows[place])
        if batch and (size != len(rows[batch[0]]) or size * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    yield batch
