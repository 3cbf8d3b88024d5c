"""llama.cpp's next-token logits of a GGUF file, by ctypes, and its perplexity by them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrm.compression.gguf.quantizer import heard, quantizer
from lrm.compression.quality.perplexity import LENGTH, perplexity
from lrm.errors import BadInput
from lrm.signals import signals_wait


def perplexity_of(file: Path) -> float:
    """The perplexity of a GGUF file, see `lrm.compression.quality.perplexity`."""
    with opened(file, LENGTH) as reader:
        return perplexity(reader.encode, partial(map, reader.logits), file)


@dataclass(frozen=True)
class LogitsReader:
    """A loaded file, with its own tokenizer, that reads texts of a limited length."""

    lib: ModuleType
    model: Any
    context: Any
    batch: Any

    def encode(self, text: str, beginning: bool) -> list[int]:
        """Token ids, special tokens taken as such. `beginning` adds the beginning-of-text token if
        the file says that the model wants it."""
        data = text.encode()
        most = len(data) + 8
        ids = (ctypes.c_int32 * most)()
        vocabulary = self.lib.llama_model_get_vocab(self.model)
        count = self.lib.llama_tokenize(vocabulary, data, len(data), ids, most, beginning, True)
        return ids[:count]

    def logits(self, ids: Sequence[int]) -> Tensor:
        """The next-token logits after each token of a text, [tokens, vocabulary]."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for position, token in enumerate(ids):
            batch.token[position], batch.pos[position] = token, position
            batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
            batch.logits[position] = True
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        if status := self.lib.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode failed with status {status}")
        size = self.lib.llama_vocab_n_tokens(self.lib.llama_model_get_vocab(self.model))
        pointer = self.lib.llama_get_logits(self.context)
        return torch.from_numpy(np.ctypeslib.as_array(pointer, (len(ids), size)).copy())


@contextmanager
def opened(file: Path, length: int) -> Iterator[LogitsReader]:
    """Loads a file to read texts of up to `length` tokens, on a GPU if llama.cpp was built for one.

    Keys and values are kept in float16, as the engine keeps them. BadInput if it cannot be loaded.
    """
    lib = quantizer()
    reasons = heard(lib)
    with ExitStack() as stack:
        options = lib.llama_model_default_params()
        options.n_gpu_layers = -1 if lib.llama_supports_gpu_offload() else 0
        with signals_wait():
            model = lib.llama_model_load_from_file(str(file).encode(), options)
        if not model:
            reason = (reasons or ["it gives no reason"])[-1].strip()
            raise BadInput(
                f"llama.cpp cannot load {file} ({reason}); give another, or make room in memory"
            )
        stack.callback(lib.llama_model_free, model)
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = length
        params.n_threads = params.n_threads_batch = torch.get_num_threads()
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_perf = True
        with signals_wait():
            context = lib.llama_init_from_model(model, params)
        if not context:
            raise BadInput(f"there is no memory to read {length} tokens with {file}; make room")
        stack.callback(lib.llama_free, context)
        batch = lib.llama_batch_init(length, 0, 1)
        stack.callback(lib.llama_batch_free, batch)
        yield LogitsReader(lib, model, context, batch)
