"""A folder's model in memory, if what would be pruned is what is stored."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from lrm.compression.checkpoints import Weights
from lrm.compression.hessians import linears_of
from lrm.errors import BadInput


def device() -> str:
    """Where models are pruned: on a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(source: Weights) -> nn.Module:
    """The model, on a GPU in the dtype its blocks are stored in, on a CPU in float32.

    BadInput if it cannot be loaded, or if its layers are not those in the files.
    """
    place = device()
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=source.dtype(source.linears()[0]) if place == "cuda" else torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"{source.folder} cannot be loaded, save it again: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    loaded = {f"{name}.weight" for name in linears_of(model)}
    strange = sorted(loaded.symmetric_difference(source.linears()) | set(info["missing_keys"]))
    if strange:
        raise BadInput(
            f"{type(model).__name__} in {source.folder} cannot be pruned: {strange[0]} is not both "
            "in the files and a linear layer of the model."
        )
    loaded_model: nn.Module = model.to(place).eval()
    return loaded_model
