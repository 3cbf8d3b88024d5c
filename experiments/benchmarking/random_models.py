"""Models with random weights in the shapes of real ones. Their replies mean nothing, but take as
long as those of a real model."""

from __future__ import annotations

import json
import shutil
from itertools import groupby
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from experiments.models.resolve import EMBEDDED
from experiments.models.shapes import SHAPES, Shape
from lrm.compression.checkpoint.module_filter import BLOCK
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.streaming.load import device
from lrm.records.model import Checkpoint

TOKENIZER = "tiny-5m"
"""The embedded model whose tokenizer they get. Ids beyond its vocabulary stand for no text."""


def in_memory(shape: str, on: str, blocks: int | None = None) -> PreTrainedModel:
    """The model made directly on `on` ("cpu" or "cuda"), with only `blocks` of its blocks if given;
    in bfloat16 on a GPU, in float32 on a CPU."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**_sizes(shape, blocks))
    dtype = torch.bfloat16 if on == "cuda" else torch.float32
    with torch.device(on):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    return model


def random_model(shape: str, folder: Path, blocks: int | None = None) -> Checkpoint:
    """Writes the model to `folder`, with only `blocks` of its blocks if given.

    The weights are the same each time on the same device. Each block has its own file, and only one
    block is in memory at a time.
    """
    config = AutoConfig.for_model(**_sizes(shape, blocks), bos_token_id=0, eos_token_id=1)
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
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(EMBEDDED / TOKENIZER / name, folder / name)
    return open_checkpoint(folder)


def _sizes(shape: str, blocks: int | None) -> Shape:
    sizes = SHAPES[shape].copy()
    if blocks:
        sizes["num_hidden_layers"] = blocks
    return sizes


def _file_of(name: str) -> str:
    block = BLOCK.search(name)
    return f"model-{block[1] if block else name}.safetensors"


def _drawn(name: str, weight: Tensor, spread: float) -> Tensor:
    """The values of a newly initialised model: matrices normal, norms 1, biases 0."""
    drawn = torch.empty_like(weight, device=device())
    if weight.dim() == 1:
        return drawn.fill_(0 if name.endswith("bias") else 1)
    return drawn.normal_(0, spread)
