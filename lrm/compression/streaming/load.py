"""A folder's model, read part by part, after a check that its layers are those in the files."""

from __future__ import annotations

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.streaming.decoder import Decoder
from lrm.errors import BadInput


def device() -> str:
    """Where models are pruned: on a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(source: Weights) -> Decoder:
    """The model without its weights, which are read from the files when a part is materialized: on
    a GPU in the dtype its blocks are stored in, on a CPU in float32.

    BadInput if it cannot be loaded, or if its layers are not those in the files.
    """
    target = device()
    dtype = source.dtype(source.linears()[0]) if target == "cuda" else torch.float32
    try:
        config = AutoConfig.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (OSError, ValueError, StrictDataclassError) as error:
        raise BadInput(f"{source.folder} cannot be loaded, save it again: {error}") from error
    _compute_buffers(model, target)
    names = _stored_names(model)
    decoder = Decoder(
        model.eval().requires_grad_(False),
        # A copy, since torch's sums may depend on how a file's mapped bytes are aligned.
        lambda name: source.read(names[name]).to(target, dtype, copy=True),
    )
    _check(decoder, source, model.state_dict(), names)
    return decoder


def _compute_buffers(model: nn.Module, target: str) -> None:
    """Makes the modules again that compute what they hold: the rotary embeddings."""
    for name, module in list(model.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            try:
                model.set_submodule(name, type(module)(model.config).to(target))
            except TypeError as error:
                raise BadInput(
                    f"{type(model).__name__} cannot be pruned: {name} is not made from the config "
                    "alone; use a dense model of the Llama or Qwen family."
                ) from error


def _stored_names(model: nn.Module) -> dict[str, str]:
    """The name in the files of each weight: of those that are tied, the first one's."""
    first: dict[Tensor, str] = {}
    weights = model.state_dict(keep_vars=True)
    return {name: first.setdefault(weight, name) for name, weight in weights.items()}


def _check(
    decoder: Decoder, source: Weights, weights: dict[str, Tensor], names: dict[str, str]
) -> None:
    """BadInput unless the files hold the model's weights in their shapes, and no other layers."""
    layers = {f"{name}.weight" for name in decoder.linears}
    strange = sorted(layers.symmetric_difference(source.linears()))
    if strange:
        raise BadInput(
            f"{decoder.kind} in {source.folder} cannot be pruned: {strange[0]} is not both "
            "in the files and a linear layer of the model."
        )
    for name, weight in weights.items():
        source.dtype(names[name])  # BadInput if it is missing
        stored = source.shape(names[name])
        if tuple(weight.shape) != stored:
            raise BadInput(
                f"{source.folder} cannot be loaded, save it again: {names[name]} is "
                f"{list(stored)} in the files, and {list(weight.shape)} by the config."
            )
