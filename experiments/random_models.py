"""Models with random weights in the shapes of real ones, for benchmarks: they say nothing, in the
time that real ones take."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.models import EMBEDDED
from lrm.compression.checkpoints import open_checkpoint
from lrm.records import Checkpoint

TOKENIZER = "tiny-5m"
"""Whose tokenizer they get. Its ids are a part of theirs; the others stand for no text."""

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
}


def random_model(shape: str, folder: Path) -> Checkpoint:
    """Writes the model to `folder`; the same weights each time on the same device."""
    config = AutoConfig.for_model(**SHAPES[shape], bos_token_id=0, eos_token_id=1)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(EMBEDDED / TOKENIZER / name, folder / name)
    return open_checkpoint(folder)
