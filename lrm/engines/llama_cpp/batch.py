"""The rows of one call to the llama.cpp engine, each in a sequence of one context.

Every sequence has a stretch of the cache of its own, so that attention reads one row's tokens and
not those of all. A row is prefilled up to its last token. From then on one `llama_decode` takes the
last token of every running row and gives the logits of their next ones.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from lrm.engines.llama_cpp.library import Context, LlamaBatchInput, LlamaLibrary, Model
from lrm.engines.shared.queue import DecodingRow, common_prefix, same_text_together
from lrm.engines.shared.reply import EndRules
from lrm.engines.shared.sampling import draw
from lrm.records.reply import Decoding, Stop
from lrm.signals import signals_wait

PREFILL_TOKENS = 2048
"""Prompt tokens handed over in one call; llama.cpp computes them in pieces of its own."""

CONTEXT_STEP = 256
"""llama.cpp rounds a sequence's cache up to a multiple of this."""

InputToken = tuple[int, int, int]
"""(token, position, sequence)"""


class InputBuffer:
    """The input of one `llama_decode`, in memory that is made once, for up to `size` tokens."""

    def __init__(self, lib: LlamaLibrary, context: Context, size: int) -> None:
        self._lib, self._context = lib, context
        self._tokens = np.zeros((3, size), dtype=np.int32)  # tokens, positions, sequences
        self._counts = np.ones(size, dtype=np.int32)  # each token belongs to one sequence
        self._wanted = np.zeros(size, dtype=np.int8)
        # C wants a list of sequences for each token: here a pointer to its one number.
        first = self._tokens[2].ctypes.data
        self._sequences = first + self._tokens.itemsize * np.arange(size, dtype=np.uint64)

    def decode(self, tokens: Sequence[InputToken], logits: bool) -> None:
        """Runs the model over `tokens`, keeping the logits of all of them or of none."""
        count = len(tokens)
        self._tokens[:, :count] = np.asarray(tokens, dtype=np.int32).T
        self._wanted[:count] = logits
        status = self._lib.llama_decode(self._context, self._batch(count))
        if status:
            raise RuntimeError(f"llama_decode failed with status {status}")

    def _batch(self, count: int) -> LlamaBatchInput:
        int32s = ctypes.POINTER(ctypes.c_int32)
        batch = self._lib.llama_batch(n_tokens=count)
        batch.token = self._tokens[0].ctypes.data_as(int32s)
        batch.pos = self._tokens[1].ctypes.data_as(int32s)
        batch.n_seq_id = self._counts.ctypes.data_as(int32s)
        batch.seq_id = self._sequences.ctypes.data_as(ctypes.POINTER(int32s))
        batch.logits = self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        return batch


class LlamaBatch:
    """All rows of one call: those waiting, and those running in their sequences.

    `cached` lists the tokens whose keys and values each sequence holds, also after its row ended,
    and `texts` the prompt they belong to: a later row with the same prompt copies what it shares.
    """

    def __init__(
        self,
        lib: LlamaLibrary,
        context: Context,
        vocabulary: int,
        rows: Sequence[DecodingRow],
        decoding: Decoding,
    ) -> None:
        count = lib.llama_n_seq_max(context)
        self._lib, self._context, self._vocabulary = lib, context, vocabulary
        self._memory = lib.llama_get_memory(context)
        self._input = InputBuffer(lib, context, max(PREFILL_TOKENS, count))
        self.decoding = decoding
        self.waiting = deque(same_text_together(rows))
        self.running: dict[int, DecodingRow] = {}
        self.cached: list[list[int]] = [[] for _ in range(count)]
        self.texts: list[str] = [""] * count

    @property
    def decoded(self) -> int:
        """Tokens that the running rows have so far."""
        return sum(row.reply.decoded for row in self.running.values())

    def add(self, rows: Sequence[DecodingRow]) -> None:
        """Puts further rows before those that wait."""
        self.waiting.extendleft(reversed(rows))

    def advance(self, rules: EndRules) -> list[tuple[DecodingRow, Stop]]:
        """Starts waiting rows, decodes one token of every row, returns those that ended."""
        # 1) Waiting rows get free sequences, and their prompts are computed. Several rounds, since
        # a row waits for the first of its prompt, to copy from it.
        while self.waiting and len(self.running) < len(self.cached):
            self._prefill(self._admit())

        # 2) One decode for the last token of each running row.
        rows = [self.running[slot] for slot in sorted(self.running)]
        logits = self._next_logits(rows)

        # 3) Each row's next token, from its own random number.
        numbers = torch.tensor([row.numbers[row.reply.decoded] for row in rows])
        tokens = draw(logits, numbers, self.decoding.temperature, self.decoding.top_p)

        # 4) Replies grow by their tokens; those that end leave their sequences, whose contents
        # stay for rows to follow.
        ended: list[tuple[DecodingRow, Stop]] = []
        for row, token in zip(rows, tokens.tolist(), strict=True):
            stop = row.reply.append(token, rules)
            if stop:
                ended.append((row, stop))
                del self.running[row.slot]
                row.slot = -1
        return ended

    def _admit(self) -> list[DecodingRow]:
        """Gives sequences to waiting rows, up to one that waits for a prompt to copy from."""
        new: list[DecodingRow] = []
        computed_now: set[str] = set()
        while self.waiting and len(self.running) < len(self.cached):
            row = self.waiting[0]
            if row.text in computed_now:
                break
            source, shared = self._best_source(row)
            if not shared:
                computed_now.add(row.text)
            self._place(row, source, shared)
            new.append(self.waiting.popleft())
        return new

    def _best_source(self, row: DecodingRow) -> tuple[int, int]:
        """The sequence that holds the most of a row's beginning (-1: none), and how many tokens."""
        candidates = [
            (slot, common_prefix(cached, row.reply.ids[:-1]))
            for slot, cached in enumerate(self.cached)
            if cached and self.texts[slot] == row.text
        ]
        return max(candidates, key=lambda candidate: candidate[1], default=(-1, 0))

    def _place(self, row: DecodingRow, source: int, shared: int) -> None:
        """Puts a row into a free sequence, the source itself if that is free, with the tokens it
        shares."""
        free = [slot for slot in range(len(self.cached)) if slot not in self.running]
        row.slot = source if shared and source in free else free[0]
        # Between sequences llama.cpp copies all or nothing, so the rest is then cut off.
        if shared and row.slot != source:
            self._lib.llama_memory_seq_cp(self._memory, source, row.slot, -1, -1)
        self._lib.llama_memory_seq_rm(self._memory, row.slot, shared, -1)
        self.running[row.slot] = row
        self.cached[row.slot] = row.reply.ids[:shared]
        self.texts[row.slot] = row.text

    def _prefill(self, rows: Sequence[DecodingRow]) -> None:
        """Runs the model over all but the last token of new rows."""
        tokens = [
            (row.reply.ids[position], position, row.slot)
            for row in sorted(rows, key=lambda row: row.slot)
            for position in range(len(self.cached[row.slot]), len(row.reply.ids) - 1)
        ]
        for start in range(0, len(tokens), PREFILL_TOKENS):
            self._input.decode(tokens[start : start + PREFILL_TOKENS], logits=False)
        for row in rows:
            self.cached[row.slot] = row.reply.ids[:-1]

    def _next_logits(self, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Next-token logits [rows, vocabulary] of running rows; valid until the next call."""
        self._input.decode(
            [(row.reply.ids[-1], len(row.reply.ids) - 1, row.slot) for row in rows], logits=True
        )
        for row in rows:
            self.cached[row.slot].append(row.reply.ids[-1])
        pointer = self._lib.llama_get_logits(self._context)
        shape = (len(rows), self._vocabulary)
        return torch.from_numpy(np.ctypeslib.as_array(pointer, shape))


@contextmanager
def open_context(
    lib: LlamaLibrary, model: Model, count: int, length: int, threads: int
) -> Iterator[Context | None]:
    """A context for `count` sequences of `length` tokens, freed at the end; None if there is no
    memory for it.

    Its cache is float16, or float32 for a file of nothing but float32, whose arithmetic is then
    float32 throughout. Flash attention is off, since on a CPU it sums values in float16.
    """
    length = -(-length // CONTEXT_STEP) * CONTEXT_STEP
    params = lib.llama_context_default_params()
    params.n_ctx = count * length
    params.n_seq_max = count
    params.kv_unified = False
    params.n_batch = max(PREFILL_TOKENS, count)
    params.n_outputs_max = count
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    is_float32 = lib.llama_model_ftype(model) == lib.LLAMA_FTYPE_ALL_F32
    params.type_k = params.type_v = lib.GGML_TYPE_F32 if is_float32 else lib.GGML_TYPE_F16
    params.no_perf = True
    with signals_wait():
        context = lib.llama_init_from_model(model, params)
    try:
        yield context
    finally:
        if context:
            lib.llama_free(context)
