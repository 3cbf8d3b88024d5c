"""Keys and values of many running rows, and the attention that reads them in place.

Every row owns one slot: a stretch of preallocated memory in each layer. One forward pass takes a
flat list of tokens: first one for each slot (the rows that are decoding), then the prompts of new
rows one after the other. So nothing is padded but the attention of decoding rows, which runs over
bands of neighbouring slots up to the longest row of each band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig

ROUND_ROWS = 16
"""Slots come in multiples of this. From 16 rows on, a matrix product gives a row the same bits
whatever the number of rows: observed with MKL in float32, which does not promise it."""

ROUND_LENGTH = 32
"""Lengths come in multiples of this, so that few different shapes are computed."""

SORT_COST = 3
"""Moving a row costs about three times as much as one step of attention over it."""


@dataclass(frozen=True, slots=True)
class Span:
    """`size` tokens of a new row, for the positions of `slot` from `start` on.

    What comes before `start` is copied from the same positions of the slot `source`, or is there
    already if that is `slot` itself.
    """

    slot: int
    start: int
    size: int
    source: int


class Slots:
    """Memory for `count` rows of up to `length` tokens, taken up as it is written.

    `keys` and `values` have one tensor [slots, key-value heads, positions, size] a layer. `mask`
    [slots, positions] is 0 where a slot holds a token, else minus infinity. `lengths` says how many
    tokens each slot holds. `band` is how many neighbouring slots attend together.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        count: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        count, length = _round_up(count, ROUND_ROWS), _round_up(length, ROUND_LENGTH)
        heads = config.num_key_value_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (count, heads, length, size)
        layers = range(config.num_hidden_layers)
        # Zeros, not uninitialised: a masked position is multiplied by 0, and 0 x NaN is NaN.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.mask = torch.full((count, length), float("-inf"), dtype=dtype, device=device)
        self.mask[:, 0] = 0  # an empty slot attends to one position, since none would give NaN
        self.lengths = [0] * count
        self.band = 8 if device.type == "cpu" else count
        self._wasted_reads = 0

    def free(self) -> list[int]:
        """Slots that hold nothing, the lowest first."""
        return [slot for slot, length in enumerate(self.lengths) if not length]

    def set_length(self, slot: int, length: int) -> None:
        """Declares how many tokens `slot` holds; 0 frees it."""
        self.lengths[slot] = length
        self.mask[slot] = float("-inf")
        self.mask[slot, : max(length, 1)] = 0

    def bands(self, lengths: Sequence[int]) -> list[tuple[int, int, int]]:
        """(first slot, end slot, positions to read) of each band, over every slot in use."""
        used = max((slot + 1 for slot, length in enumerate(lengths) if length), default=0)
        end = max(_round_up(used, ROUND_ROWS), ROUND_ROWS)
        return [
            (first, last, _round_up(max(lengths[first:last]) + 1, ROUND_LENGTH))
            for first in range(0, end, self.band)
            for last in [min(first + self.band, end)]
        ]

    def sort(self) -> dict[int, int]:
        """Puts rows of similar length side by side once that is worth its cost.

        That is when the reads wasted since the last time have cost as much as moving does.
        Returns the new slot of each old one, or an empty mapping if they stay.
        """
        longest_first = sorted(range(len(self.lengths)), key=lambda slot: -self.lengths[slot])
        best = self.bands([self.lengths[slot] for slot in longest_first])
        self._wasted_reads += _reads(self.bands(self.lengths)) - _reads(best)
        if self._wasted_reads <= SORT_COST * sum(self.lengths):
            return {}
        index = torch.tensor(longest_first, device=self.mask.device)
        longest = max(self.lengths)
        for buffer in (*self.keys, *self.values):
            buffer[:, :, :longest] = buffer[:, :, :longest][index]
        self.mask = self.mask[index]
        self.lengths = [self.lengths[slot] for slot in longest_first]
        self._wasted_reads = 0
        return {old: new for new, old in enumerate(longest_first)}


class Step:
    """What one forward pass adds to the slots: one token for each slot in use, then `spans`.

    The first `width` tokens of the pass belong to the slots `rows`, at `positions` [width].
    """

    def __init__(self, slots: Slots, spans: Sequence[Span]) -> None:
        self.slots, self.spans = slots, spans
        self.bands = slots.bands(slots.lengths)
        self.width = self.bands[-1][1]
        device = slots.mask.device
        self.positions = torch.tensor(slots.lengths[: self.width], device=device)
        self.rows = torch.arange(self.width, device=device)
        slots.mask[self.rows, self.positions] = 0

    def token_positions(self) -> torch.Tensor:
        """The position of every token of the pass, [tokens]."""
        spans = [
            torch.arange(span.start, span.start + span.size, device=self.rows.device)
            for span in self.spans
        ]
        return torch.cat([self.positions, *spans])

    def outputs(self) -> torch.Tensor:
        """Indices of the tokens whose logits are computed: each slot's, then each span's last."""
        last_tokens, end = [], self.width
        for span in self.spans:
            end += span.size
            last_tokens.append(end - 1)
        device = self.rows.device
        return torch.cat([self.rows, torch.tensor(last_tokens, device=device, dtype=torch.long)])


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    step: Step,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: stores the new keys and values, then attends.

    `query` is [1, heads, tokens, size], `key` and `value` [1, key-value heads, tokens, size]; the
    result is [1, tokens, heads, size]. Query heads that share a key-value head are treated as
    several queries of it, so keys and values are never repeated in memory.
    """
    layer = module.layer_idx
    assert isinstance(layer, int)
    keys, values = step.slots.keys[layer], step.slots.values[layer]
    kv_heads = key.shape[1]
    tokens, size = query.shape[2], query.shape[3]
    flat = query[0].transpose(0, 1)
    out = torch.empty(tokens, *flat.shape[1:], dtype=query.dtype, device=query.device)

    # 1) The decoding rows: their new keys and values are stored, then each band attends at once.
    keys[step.rows, :, step.positions] = key[0, :, : step.width].transpose(0, 1)
    values[step.rows, :, step.positions] = value[0, :, : step.width].transpose(0, 1)
    grouped = flat[: step.width].reshape(step.width, kv_heads, -1, size)
    for first, end, length in step.bands:
        out[first:end] = scaled_dot_product_attention(
            grouped[first:end],
            keys[first:end, :, :length],
            values[first:end, :, :length],
            attn_mask=step.slots.mask[first:end, None, None, :length],
            scale=scaling,
        ).flatten(1, 2)

    # 2) The new rows, one after the other: the beginning that another slot holds is copied, the
    # rest stored, and every token attends to those before it.
    first_token = step.width
    for span in step.spans:
        new = slice(first_token, first_token + span.size)
        positions = slice(span.start, span.start + span.size)
        for buffer, computed in ((keys, key), (values, value)):
            if span.start and span.source != span.slot:
                buffer[span.slot, :, : span.start] = buffer[span.source, :, : span.start]
            buffer[span.slot, :, positions] = computed[0, :, new]
        out[new] = scaled_dot_product_attention(
            query[:, :, new],
            keys[span.slot, None, :, : positions.stop],
            values[span.slot, None, :, : positions.stop],
            attn_mask=_causal(span, query.device) if span.start else None,
            is_causal=not span.start,
            scale=scaling,
            enable_gqa=kv_heads < query.shape[1],
        )[0].transpose(0, 1)
        first_token += span.size
    return out[None], None


def _causal(span: Span, device: torch.device) -> torch.Tensor:
    """Which positions each token of a span reads, [tokens, positions]."""
    shape = (span.size, span.start + span.size)
    return torch.ones(shape, dtype=torch.bool, device=device).tril(span.start)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _reads(bands: Sequence[tuple[int, int, int]]) -> int:
    """Positions that one step of attention reads."""
    return sum((end - first) * length for first, end, length in bands)
