"""Models with random weights in the shapes of real ones, for benchmarks: they say nothing, in the
time that real ones take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import exp
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.models.resolve import EMBEDDED
from lrm.compression.checkpoint.folder import open_checkpoint
from lrm.compression.checkpoint.module_filter import BLOCK
from lrm.compression.streaming.load import device
from lrm.contracts import Engine, OnCompletion
from lrm.records import Checkpoint, Completion, Decoding, Prompt

TOKENIZER = "tiny-5m"
"""Whose tokenizer they get. Its ids are a part of theirs; the others stand for no text."""

LLAMA_3_1_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}

SHAPES: dict[str, dict[str, Any]] = {
    "20m": {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 32_000,
        "max_position_embeddings": 32_768,
    },
    # Many small blocks, to measure memory with.
    "60m": {
        "model_type": "llama",
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 20,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 1024,
        "max_position_embeddings": 4096,
    },
    "800m": {
        "model_type": "llama",
        "hidden_size": 1536,
        "intermediate_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
        "max_position_embeddings": 4096,
    },
    # DeepSeek-R1-Distill-Qwen-1.5B (its config.json).
    "1.5b": {
        "model_type": "qwen2",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "max_position_embeddings": 131_072,
    },
    # DeepSeek-R1-Distill-Llama-8B, which is Llama 3.1 8B (its config.json).
    "llama-3.1-8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
        "rope_parameters": LLAMA_3_1_ROPE,
    },
    # DeepSeek-R1-Distill-Llama-70B, which is Llama 3.1 70B in shape (its config.json).
    "llama-3.1-70b": {
        "model_type": "llama",
        "hidden_size": 8192,
        "intermediate_size": 28_672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
        "rope_parameters": LLAMA_3_1_ROPE,
    },
}

SHARES = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.7)
"""Budgets of a random model, as shares of its median thinking."""

SPREAD = 0.96
"""Standard deviation of the logarithm of thinking lengths: that of the outputs to AIME 2024 that
the authors of arXiv 2504.02010 released for R1-Distill-Llama-8B in AWQ 4-bit, whose median is some
6,000 tokens and which answer in some 480 behind them."""


def random_model(shape: str, folder: Path, blocks: int | None = None) -> Checkpoint:
    """Writes the model to `folder`, or one of fewer `blocks`; the same weights each time on the
    same device. Each block has a file of its own, and no two are in memory together."""
    words = SHAPES[shape] | ({"num_hidden_layers": blocks} if blocks else {})
    config = AutoConfig.for_model(**words, bos_token_id=0, eos_token_id=1)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    config.architectures = [type(model).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    torch.manual_seed(0)
    weights = model.state_dict()
    files: dict[str, str] = {}
    for file, names in groupby(weights, _file_of):
        drawn = {name: _drawn(name, weights[name], config.initializer_range) for name in names}
        save_file(drawn, folder / file, {"format": "pt"})
        files |= dict.fromkeys(drawn, file)
    index = {"metadata": {"total_size": 2 * model.num_parameters()}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(EMBEDDED / TOKENIZER / name, folder / name)
    return open_checkpoint(folder)


def _file_of(name: str) -> str:
    block = BLOCK.search(name)
    return f"model-{block[1] if block else name}.safetensors"


def _drawn(name: str, weight: Tensor, spread: float) -> Tensor:
    """Values as a new model has them: matrices normal, norms 1, biases 0."""
    drawn = torch.empty_like(weight, device=device())
    if weight.dim() == 1:
        return drawn.fill_(0 if name.endswith("bias") else 1)
    return drawn.normal_(0, spread)


@dataclass(frozen=True)
class Lengthened:
    """Contract: `lrm.contracts.Engine`. An engine whose fresh replies end at drawn lengths."""

    inner: Engine
    median: int

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def identity(self) -> str:
        return f"{self.inner.identity} thinking {self.median}"

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.inner.__exit__(kind, error, trace)

    def generate(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        on_completion: OnCompletion | None = None,
    ) -> list[Completion]:
        assert on_completion, "an evaluation takes its replies as they come"

        def ended(index: int, reply: Completion) -> Iterable[Prompt] | None:
            if not reply.given and reply.tokens < decoding.max_tokens:
                answer = min(decoding.answer_tokens, reply.tokens)
                thinking = reply.tokens - answer
                reply = replace(reply, thinking_tokens=thinking, answer_tokens=answer)
                reply = replace(reply, closed=True, stop="stop", looped=False)
            return on_completion(index, reply)

        cut = [replace(one, max_tokens=self._length(one, decoding)) for one in prompts]
        return self.inner.generate(cut, decoding, ended)

    def _length(self, prompt: Prompt, decoding: Decoding) -> int:
        thinking = round(self.median * exp(Random(prompt.text).gauss(0, SPREAD)))
        return min(max(thinking, 1) + decoding.answer_tokens, decoding.max_tokens)
