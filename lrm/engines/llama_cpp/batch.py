"""The rows of one call to the llama.cpp engine, each in a sequence of one context.

Every sequence has a stretch of the cache of its own, so that attention reads one row's tokens and
not everybody's. A row is prefilled up to its last token; from then on one `llama_decode` takes the
last token of every running row and gives the logits of their next ones.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from lrm.engines.shared.queue import DecodingRow, common, same_text_together
from lrm.engines.shared.sampling import draw
from lrm.records import Decoding, Stop

PREFILL_TOKENS = 2048
"""Prompt tokens handed over in one call; llama.cpp computes them in pieces of its own."""


class Feed:
    """One call's input, (token, position, sequence) for each place, in memory made once."""

    def __init__(self, lib: Any, context: Any, room: int) -> None:
        self._lib, self._context = lib, context
        self._places = np.zeros((3, room), dtype=np.int32)
        self._one = np.ones(room, dtype=np.int32)
        self._wanted = np.zeros(room, dtype=np.int8)
        address = self._places[2].ctypes.data
        self._pointers = address + 4 * np.arange(room, dtype=np.uint64)

    def decode(self, places: Sequence[tuple[int, int, int]], logits: bool) -> None:
        """Runs the model over `places`, keeping the logits of all of them or of none."""
        size = len(places)
        self._places[:, :size] = np.asarray(places, dtype=np.int32).T
        self._wanted[:size] = logits
        status = self._lib.llama_decode(self._context, self._batch(size))
        if status:
            raise RuntimeError(f"llama_decode failed with status {status}")

    def _batch(self, size: int) -> Any:
        batch = self._lib.llama_batch(n_tokens=size)
        for name, array in {
            "token": self._places[0],
            "pos": self._places[1],
            "n_seq_id": self._one,
            "seq_id": self._pointers,
            "logits": self._wanted,
        }.items():
            kind = dict(batch._fields_)[name]
            setattr(batch, name, ctypes.cast(array.ctypes.data, kind))
        return batch


class LlamaBatch:
    """All rows of one call: those waiting, and those running in their sequences.

    `held` lists the tokens whose keys and values each sequence has, also after its row ended, and
    `texts` the prompt they belong to: a later row with the same prompt copies what it shares.
    """

    def __init__(
        self,
        lib: Any,
        context: Any,
        vocabulary: int,
        rows: Sequence[DecodingRow],
        decoding: Decoding,
    ) -> None:
        count = lib.llama_n_seq_max(context)
        self._lib, self._context, self._vocabulary = lib, context, vocabulary
        self._memory = lib.llama_get_memory(context)
        self._feed = Feed(lib, context, max(PREFILL_TOKENS, count))
        self.decoding = decoding
        self.waiting = deque(same_text_together(rows))
        self.running: dict[int, DecodingRow] = {}
        self.held: list[list[int]] = [[] for _ in range(count)]
        self.texts: list[str] = [""] * count

    def add(self, rows: Sequence[DecodingRow]) -> None:
        """Puts further rows before those that wait."""
        self.waiting.extendleft(reversed(rows))

    def advance(
        self, eos: frozenset[int], close_ids: Sequence[int]
    ) -> list[tuple[DecodingRow, Stop]]:
        """Takes in waiting rows, decodes one token of every row, returns those that ended."""
        while self.waiting and len(self.running) < len(self.held):
            self._prefill(self._admit())
        rows = [self.running[slot] for slot in sorted(self.running)]
        logits = self._next(rows)
        numbers = torch.tensor([row.numbers[row.reply.decoded] for row in rows])
        tokens = draw(logits, numbers, self.decoding.temperature, self.decoding.top_p)
        ended: list[tuple[DecodingRow, Stop]] = []
        for row, token in zip(rows, tokens.tolist(), strict=True):
            stop = row.reply.take(token, eos, close_ids, self.decoding.answer_tokens)
            if stop:
                ended.append((row, stop))
                del self.running[row.slot]
                row.slot = -1
        return ended

    def _admit(self) -> list[DecodingRow]:
        """Gives sequences to waiting rows, up to one that waits for a prompt to copy from."""
        new: list[DecodingRow] = []
        fresh: set[str] = set()
        while self.waiting and len(self.running) < len(self.held):
            row = self.waiting[0]
            if row.text in fresh:
                break
            source, shared = self._source(row)
            if not shared:
                fresh.add(row.text)
            self._settle(row, source, shared)
            new.append(self.waiting.popleft())
        return new

    def _source(self, row: DecodingRow) -> tuple[int, int]:
        """The sequence that holds the most of a row's beginning, and how many tokens of it."""
        found = [
            (slot, common(held, row.reply.ids[:-1]))
            for slot, held in enumerate(self.held)
            if held and self.texts[slot] == row.text
        ]
        return max(found, key=lambda pair: pair[1], default=(-1, 0))

    def _settle(self, row: DecodingRow, source: int, shared: int) -> None:
        """Puts a row into a free sequence, the source itself if that is free, and fills in what
        it shares. Between sequences llama.cpp copies all or nothing, so the rest is cut off."""
        free = [slot for slot in range(len(self.held)) if slot not in self.running]
        row.slot = source if shared and source in free else free[0]
        if shared and row.slot != source:
            self._lib.llama_memory_seq_cp(self._memory, source, row.slot, -1, -1)
        self._lib.llama_memory_seq_rm(self._memory, row.slot, shared, -1)
        self.running[row.slot] = row
        self.held[row.slot] = row.reply.ids[:shared]
        self.texts[row.slot] = row.text

    def _prefill(self, rows: Sequence[DecodingRow]) -> None:
        """Runs the model over all but the last token of new rows."""
        places = [
            (row.reply.ids[at], at, row.slot)
            for row in sorted(rows, key=lambda row: row.slot)
            for at in range(len(self.held[row.slot]), len(row.reply.ids) - 1)
        ]
        for start in range(0, len(places), PREFILL_TOKENS):
            self._feed.decode(places[start : start + PREFILL_TOKENS], logits=False)
        for row in rows:
            self.held[row.slot] = row.reply.ids[:-1]

    def _next(self, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Next-token logits [rows, vocabulary] of running rows; they last until the next call."""
        self._feed.decode(
            [(row.reply.ids[-1], len(row.reply.ids) - 1, row.slot) for row in rows], logits=True
        )
        for row in rows:
            self.held[row.slot].append(row.reply.ids[-1])
        pointer = self._lib.llama_get_logits(self._context)
        shape = (len(rows), self._vocabulary)
        return torch.from_numpy(np.ctypeslib.as_array(pointer, shape))


@contextmanager
def sequences(lib: Any, model: Any, count: int, length: int, threads: int) -> Iterator[Any]:
    """A context with room for `count` sequences of `length` tokens, freed at the end; None if
    there is no memory for it.

    Its cache is float16, or float32 for a file of nothing but float32, whose arithmetic is then
    float32 throughout. Without flash attention, which on a CPU sums values in float16.
    """
    length = -(-length // 256) * 256
    params = lib.llama_context_default_params()
    params.n_ctx = count * length
    params.n_seq_max = count
    params.kv_unified = False
    params.n_batch = max(PREFILL_TOKENS, count)
    params.n_outputs_max = count
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    exact = lib.llama_model_ftype(model) == lib.LLAMA_FTYPE_ALL_F32
    params.type_k = params.type_v = lib.GGML_TYPE_F32 if exact else lib.GGML_TYPE_F16
    params.no_perf = True
    context = lib.llama_init_from_model(model, params)
    try:
        yield context
    finally:
        if context:
            lib.llama_free(context)
