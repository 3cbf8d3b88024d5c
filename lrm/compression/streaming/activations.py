"""What the linear layers of a decoder read, measured as rows of tokens pass its blocks.

H = 2 X^T X / n over the n calibration tokens, in float32. Layers that are handed the very same
input tensor share one: in Llama and Qwen q, k and v; o; gate and up; down. Four a block, not
seven.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from lrm.compression.streaming.decoder import Decoder
from lrm.compression.streaming.offload import Offload, offload_for
from lrm.compression.streaming.sums import Gram, Sum
from lrm.errors import BadInput

BATCH_TOKENS = 8192
"""Tokens that run through a block at once, unless a single row is longer."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Layers of one block, by full name, that read the same input, and that input's Hessian."""

    layers: dict[str, nn.Linear]
    hessian: Tensor


@dataclass(slots=True)
class _Batch:
    """Rows of one length: their indices among those given, their hidden states [rows, tokens,
    size], and what else each block is called with."""

    rows: list[int]
    hidden: Tensor
    arguments: list[dict[str, object]]
    offload: Offload | None

    def move(self, output: Tensor) -> None:
        """Replaces the hidden states; offloaded ones are overwritten where they are."""
        if self.offload:
            # On one stream: a block that reads it later waits for this copy.
            self.hidden.copy_(output, non_blocking=self.hidden.is_pinned())
        else:
            self.hidden = output


@dataclass(slots=True)
class _Read:
    """What is summed over one input, and the layers that read it."""

    inputs: Sum
    layers: dict[nn.Linear, None] = field(default_factory=dict)


class _Enough(Exception):
    """Every layer of a block has been handed its input; what follows is not needed."""


class ActivationStream:
    """The activations of rows of token ids, which pass a model's blocks one after the other.

    A block must be materialized while it runs. Between two blocks there is one hidden state per
    token, in the model's dtype, kept where it fits together with those of as many `forks` (see
    `lrm.compression.streaming.offload`). BadInput if a row does not fit the model.
    """

    def __init__(self, decoder: Decoder, rows: Sequence[Sequence[int]], forks: int = 0) -> None:
        self._kind = decoder.kind
        self._names = {module: name for name, module in decoder.linears.items()}
        self._blocks = decoder.blocks
        self._tokens = sum(map(len, rows))
        _check_rows(decoder, rows)
        self._batches = list(_enter(decoder, rows, self._tokens * (1 + forks)))

    def fork(self) -> Self:
        """The same rows in front of the same block; from here on they pass the blocks apart."""
        other = copy(self)
        other._batches = [
            replace(batch, hidden=batch.offload(batch.hidden) if batch.offload else batch.hidden)
            for batch in self._batches
        ]
        return other

    @property
    def hidden(self) -> list[Tensor]:
        """What the next block receives, [rows, tokens, size] for each batch."""
        return [batch.hidden for batch in self._batches]

    def by_row(self) -> dict[int, Tensor]:
        """The same by the rows' indices among those given, [tokens, size] each."""
        return {
            row: hidden
            for batch in self._batches
            for row, hidden in zip(batch.rows, batch.hidden, strict=True)
        }

    def arguments(self, index: int) -> dict[str, object]:
        """What block `index` is called with beside the first batch's hidden states."""
        return self._batches[0].arguments[index]

    @torch.no_grad()
    def advance(self, index: int) -> None:
        """Runs block `index`."""
        for batch in self._batches:
            batch.move(self._run(index, batch))

    @torch.no_grad()
    def measure(self, index: int, stay: bool = False, sums: type[Sum] = Gram) -> list[Shared]:
        """Runs block `index` and returns the Hessians of its layers.

        With `stay` the rows remain in front of the block, and nothing behind the last layer's input
        is computed; each layer must run once for a batch. With `sums` = `Squares` only the
        Hessians' diagonals are returned.
        """
        read: dict[nn.Linear, _Read] = {}
        seen: list[tuple[Tensor, nn.Linear]] = []
        layers = [one for one in self._blocks[index].modules() if isinstance(one, nn.Linear)]
        left: set[nn.Linear] = set()

        def watch(layer: nn.Linear, args: tuple[Tensor, ...]) -> None:
            # Layers that are handed the same tensor share the sum of the first of them.
            first = next((other for value, other in seen if value is args[0]), None)
            if first is None:
                seen.append((args[0], first := layer))
                if layer not in read:
                    read[layer] = _Read(sums(layer.in_features, args[0].device))
                read[layer].inputs.add(args[0].reshape(-1, layer.in_features))
            read[first].layers[layer] = None
            left.discard(layer)
            if stay and not left:
                raise _Enough

        with ExitStack() as hooks:
            for layer in layers:
                hooks.enter_context(layer.register_forward_pre_hook(watch))
            for batch in self._batches:
                left.update(layers)
                with suppress(_Enough):
                    output = self._run(index, batch)
                    if not stay:
                        batch.move(output)
                seen.clear()
        self._check_reach(index, {layer for one in read.values() for layer in one.layers})
        return [
            Shared(
                {self._names[layer]: layer for layer in one.layers},
                one.inputs.total().mul_(2 / self._tokens),
            )
            for one in read.values()
        ]

    def _run(self, index: int, batch: _Batch) -> Tensor:
        device = next(self._blocks[index].parameters()).device
        hidden = batch.hidden.to(device, non_blocking=True)
        output = self._blocks[index](hidden, **batch.arguments[index])
        passed: Tensor = output[0] if isinstance(output, tuple) else output
        return passed

    def _check_reach(self, index: int, reached: set[nn.Linear]) -> None:
        for module in self._blocks[index].modules():
            if isinstance(module, nn.Linear) and module not in reached:
                raise BadInput(
                    f"{self._kind} cannot be pruned: no token reaches {self._names[module]}."
                )


class _Recorder(nn.Module):
    """Stands in for a block: keeps what it was called with and returns its input."""

    def forward(self, hidden_states: Tensor, **arguments: object) -> Tensor:
        self.hidden, self.arguments = hidden_states, arguments
        return hidden_states


def _check_rows(decoder: Decoder, rows: Sequence[Sequence[int]]) -> None:
    config = decoder.config
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

    `tokens` is how many have hidden states at the same time.
    """
    body = decoder.body
    outside = [part for part in body.children() if part is not decoder.blocks]
    recorders = [_Recorder() for _ in decoder.blocks]
    with decoder.materialized(*outside):
        weight = next(body.parameters())
        size = tokens * decoder.config.hidden_size * weight.element_size()
        offload = offload_for(size, weight.device)
        body.layers = nn.ModuleList(recorders)
        try:
            for indices in _batched(rows):
                ids = torch.tensor([rows[index] for index in indices], device=weight.device)
                body(input_ids=ids, use_cache=False)
                hidden = recorders[0].hidden
                arguments = [recorder.arguments for recorder in recorders]
                yield _Batch(indices, offload(hidden) if offload else hidden, arguments, offload)
        finally:
            body.layers = decoder.blocks


def _batched(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indices of rows of equal length together, so that none needs padding."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
        size = len(rows[index])
        if batch and (size != len(rows[batch[0]]) or size * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(index)
    yield batch
