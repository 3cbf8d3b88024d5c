"""Which models become GGUF files: what their config must say."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypedDict, cast

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from lrm.compression.checkpoint.folder import architecture
from lrm.errors import BadInput
from lrm.records.model import Checkpoint

FAMILIES = ("llama", "qwen2", "qwen3")
ACTIVATION = "silu"
"""What llama.cpp computes in the feed-forward layers of these families, whatever a file says
(src/models/llama.cpp: LLM_FFN_SILU); a GGUF file has no field for it."""


class RopeParameters(TypedDict):
    """How positions are turned: the base of their frequencies, and how those are scaled."""

    rope_type: str
    rope_theta: float


class ModelConfig(Protocol):
    """What is read of the config of a Llama, Qwen2 or Qwen3 model."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rms_norm_eps: float
    hidden_act: str
    rope_parameters: RopeParameters
    tie_word_embeddings: bool


def config_of(checkpoint: Checkpoint) -> ModelConfig:
    """The config of a folder that can be converted; BadInput says why another cannot."""
    path = checkpoint.path
    if checkpoint.format == "gguf":
        raise BadInput(f"{path} is a GGUF file already; give a Hugging Face folder")
    if checkpoint.format != "dense":
        raise BadInput(f"{path} is stored as {checkpoint.format}; only dense weights become GGUF")
    return check_config(path)


def check_config(path: Path) -> ModelConfig:
    """The config of a dense folder; BadInput if such a model cannot be converted."""
    family = architecture(path)
    if family not in FAMILIES:
        raise BadInput(f"{path} is of type {family}; only {', '.join(FAMILIES)} become GGUF")
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path} cannot be loaded, save it again: {reason}") from error
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise BadInput(f"{path} uses sliding-window attention, which is not converted to GGUF")
    if config.hidden_act != ACTIVATION:
        raise BadInput(
            f"hidden_act of {path} is {config.hidden_act!r}, and llama.cpp runs a {family} model "
            f"with {ACTIVATION!r} alone; run it with the transformers engine"
        )
    rope = config.rope_parameters["rope_type"]
    if rope != "default" and (family, rope) != ("llama", "llama3"):
        raise BadInput(f"{path} scales positions by {rope!r}, which is not converted to GGUF")
    return cast(ModelConfig, config)


def head_size(config: ModelConfig) -> int:
    """Values of one attention head; most configs leave it to be computed."""
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)
