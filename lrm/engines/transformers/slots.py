"""Keys and values of many running rows, and the attention that reads them in place.

Every row owns one slot: a stretch of memory in each layer, which grows with the rows. One forward
pass takes a flat list of tokens: first one for each slot (the rows that are decoding), then the
prompts of new rows one after the other. So nothing is padded but the attention of decoding rows,
which runs over bands of neighbouring slots up to the longest row of each band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig

ROUND_ROWS = 16
"""Decoding rows are computed in multiples of this. From 16 rows on, a matrix product gives a row
the same bits whatever the number of rows: seen with MKL in float32, which does not promise it.
Fewer are computed where they were tried (`lrm.engines.transformers.row_counts`)."""

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
    """Memory for at most `count` rows of up to `length` tokens, which grows as they come.

    `keys` and `values` have one tensor [slots, key-value heads, positions, size] a layer, of as
    many slots and positions as `reserve` was asked for so far. `mask` [count, length] is 0 where a
    slot holds a token, else minus infinity. `lengths` says how many tokens each slot holds. `band`
    is how many neighbouring slots attend together. `row_counts` are numbers of rows below
    ROUND_ROWS that give a row the same bits.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        count: int,
        length: int,
        dtype: torch.dtype,
        device: torch.device,
        row_counts: Sequence[int] = (),
    ) -> None:
        self.row_counts = row_counts
        self.length = _round_up(length, ROUND_LENGTH)
        shape = (0, config.num_key_value_heads, 0, head_size(config))
        layers = range(config.num_hidden_layers)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.mask = torch.full((count, self.length), float("-inf"), dtype=dtype, device=device)
        self.mask[:, 0] = 0  # an empty slot attends to one position, since none would give NaN
        self.lengths = [0] * count
        self.band = 8 if device.type == "cpu" else count
        self._wasted_reads = 0

    @property
    def rows(self) -> int:
        """How many slots there is memory for, the lowest."""
        return self.keys[0].shape[0]

    def reserve(self, rows: int, length: int) -> None:
        """Makes room for `length` tokens in each of the first `rows` slots, and for some more, so
        that it seldom grows. Raises MemoryError where there is not so much."""
        old_rows, old_length = self.rows, self.keys[0].shape[2]
        if rows <= old_rows and length <= old_length:
            return
        if rows > old_rows:
            rows = min(max(rows, 2 * old_rows), len(self.lengths))
        if length > old_length:
            length = min(_round_up(max(length, old_length * 3 // 2), ROUND_LENGTH), self.length)
        rows, length = max(rows, old_rows), max(length, old_length)
        try:
            for buffers in (self.keys, self.values):
                for layer, old in enumerate(buffers):
                    # Zeros: a masked position is multiplied by 0, and 0 x NaN is NaN.
                    buffers[layer] = old.new_zeros(rows, old.shape[1], length, old.shape[3])
                    buffers[layer][:old_rows, :, :old_length] = old
                    del old
        except RuntimeError as error:  # on a CPU, torch has no type of its own for this
            raise MemoryError(str(error)) from error

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
        end = min(_padded_rows(lengths), len(lengths))
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
        # Slots without memory hold nothing, so they stay behind all others.
        index = torch.tensor(longest_first, device=self.mask.device)
        longest = max(self.lengths)
        for buffer in (*self.keys, *self.values):
            buffer[:, :, :longest] = buffer[:, :, :longest][index[: self.rows]]
        self.mask = self.mask[index]
        self.lengths = [self.lengths[slot] for slot in longest_first]
        self._wasted_reads = 0
        return {old: new for new, old in enumerate(longest_first)}


class Step:
    """What one forward pass adds to the slots: one token for each slot in use, then `spans`.

    The first `width` tokens of the pass are those of the slots `rows`, at `positions` [rows], and
    padding behind them, which is stored nowhere.
    """

    def __init__(self, slots: Slots, spans: Sequence[Span]) -> None:
        self.slots, self.spans = slots, spans
        end = _used(slots.lengths)
        # Only a pass of decoding rows alone may be smaller: a prompt has any number of tokens.
        fewer = [] if spans else [count for count in slots.row_counts if count >= end]
        self.width = min([_padded_rows(slots.lengths), *fewer])
        self.bands = [
            (first, min(last, end), length)
            for first, last, length in slots.bands(slots.lengths)
            if first < end
        ]
        slots.reserve(
            max([end, *(span.slot + 1 for span in spans)]),
            max([*(band[2] for band in self.bands), *(span.start + span.size for span in spans)]),
        )
        device = slots.mask.device
        self.positions = torch.tensor(slots.lengths[:end], device=device, dtype=torch.long)
        self.rows = torch.arange(end, device=device)
        slots.mask[self.rows, self.positions] = 0

    def token_positions(self) -> torch.Tensor:
        """The position of every token of the pass, [tokens]."""
        spans = [
            torch.arange(span.start, span.start + span.size, device=self.rows.device)
            for span in self.spans
        ]
        padding = self.positions.new_zeros(self.width - len(self.positions))
        return torch.cat([self.positions, padding, *spans])

    def outputs(self) -> torch.Tensor:
        """Indices of the tokens whose logits are computed: each slot's, then each span's last."""
        last_tokens, end = [], self.width
        for span in self.spans:
            end += span.size
            last_tokens.append(end - 1)
        return torch.tensor([*range(self.width), *last_tokens], device=self.rows.device)


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
    out = torch.zeros(tokens, *flat.shape[1:], dtype=query.dtype, device=query.device)

    # 1) The decoding rows: their new keys and values are stored, then each band attends at once.
    count = len(step.rows)
    keys[step.rows, :, step.positions] = key[0, :, :count].transpose(0, 1)
    values[step.rows, :, step.positions] = value[0, :, :count].transpose(0, 1)
    grouped = flat[:count].reshape(count, kv_heads, query.shape[1] // kv_heads, size)
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


def head_size(config: PreTrainedConfig) -> int:
    """Numbers in one key of one head."""
    size: int = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    return size


def _padded_rows(lengths: Sequence[int]) -> int:
    """How many decoding rows a pass computes: those up to the last in use, and padding."""
    return max(_round_up(_used(lengths), ROUND_ROWS), ROUND_ROWS)


def _used(lengths: Sequence[int]) -> int:
    """How many slots there are up to the last in use."""
    return max((slot + 1 for slot, length in enumerate(lengths) if length), default=0)


def _causal(span: Span, device: torch.device) -> torch.Tensor:
    """Which positions each token of a span reads, [tokens, positions]."""
    shape = (span.size, span.start + span.size)
    return torch.ones(shape, dtype=torch.bool, device=device).tril(span.start)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _reads(bands: Sequence[tuple[int, int, int]]) -> int:
    """Positions that one step of attention reads."""
    return sum((end - first) * length for first, end, length in bands)
