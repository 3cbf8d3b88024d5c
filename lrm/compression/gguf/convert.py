"""A Hugging Face folder as a GGUF file, the format of llama.cpp (github.com/ggml-org/ggml,
docs/gguf.md): metadata, then tensors under names of its own."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from lrm.compression.checkpoint.folder import BLOCK_WEIGHT, Weights
from lrm.compression.gguf import tokenizer
from lrm.compression.gguf.config import ModelConfig, config_of, head_size
from lrm.compression.gguf.files import library, measure
from lrm.compression.gguf.tokenizer import Vocabulary
from lrm.digests import of_file
from lrm.errors import BadInput
from lrm.model_checks import HEAD, check_model
from lrm.records.model import Checkpoint
from lrm.weight_files import COMPUTED

if TYPE_CHECKING:
    from gguf import GGUFWriter

Dtype = Literal["f16", "f32"]
ROPE = "rope_freqs.weight"
"""Llama 3's scaling of positions: a tensor in a GGUF file, in a folder a part of the config."""


def write_f16(checkpoint: Checkpoint, out: Path, dtype: Dtype = "f16") -> Checkpoint:
    """Writes a dense Llama, Qwen2 or Qwen3 folder to the file `out`, whole or not at all.

    Matrices become float16 (or float32), vectors float32. What is not converted (other families,
    rotary scalings, tokenizers) is refused before anything is written.
    """
    gguf = library()
    config = config_of(checkpoint)
    check_model(checkpoint.path, checkpoint.format)
    vocabulary = tokenizer.read(checkpoint.path, config.vocab_size)
    weights = Weights(checkpoint.path)
    if out.exists():
        raise BadInput(f"{out} exists already; name another file, or remove it to make it again")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}); name another") from error
    os.close(handle)
    temporary = Path(name)
    try:
        _write(gguf, temporary, config, vocabulary, weights, dtype)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.rename(out)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Checkpoint(
        path=out,
        revision=of_file(out),
        format="gguf",
        lineage=(*checkpoint.lineage, f"gguf:{dtype}"),
        measured=measure([out]),
    )


def write_hollow(config: ModelConfig, out: Path) -> dict[str, int]:
    """Writes a float16 file of the shape that a config names, without its weights: behind the
    header is a hole, which takes no room on most disks. llama.cpp can plan with it, not run it.

    Returns how many weights each linear layer of the blocks has, by the layer's name in a folder.
    """
    gguf, named = library(), namer(config)
    with torch.device("meta"):
        state = dict(AutoModelForCausalLM.from_config(config).state_dict())
    shapes = {name: tuple(weight.shape) for name, weight in state.items()}
    if config.tie_word_embeddings:
        del shapes[HEAD]
    writer = gguf.GGUFWriter(out, config.model_type)
    size = 0
    try:
        _add_architecture(gguf, writer, config, "f16")
        if config.rope_parameters["rope_type"] == "llama3":
            shapes = {ROPE: _rope_factors(config).shape} | shapes
        for source, shape in shapes.items():
            dtype = np.dtype(np.float32 if len(shape) == 1 else np.float16)
            count = prod(shape) * dtype.itemsize
            writer.add_tensor_info(named(source) or source, shape, dtype, count)
            size += writer.ggml_pad(count, writer.data_alignment)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with out.open("r+b") as file:
        start = writer.ggml_pad(file.seek(0, os.SEEK_END), writer.data_alignment)
        file.truncate(start + size)
    return {
        name.removesuffix(".weight"): prod(shape)
        for name, shape in shapes.items()
        if BLOCK_WEIGHT.search(name) and len(shape) == 2
    }


def namer(config: ModelConfig) -> Callable[[str], str | None]:
    """From a tensor's name in a Hugging Face folder to that in a GGUF file, if it has one."""
    gguf = library()
    family = gguf.MODEL_ARCH[config.model_type.upper()]
    names = gguf.get_tensor_name_map(family, config.num_hidden_layers)
    return lambda source: names.get_name(source, try_suffixes=(".weight", ".bias"))


def _write(
    gguf: ModuleType,
    path: Path,
    config: ModelConfig,
    vocabulary: Vocabulary,
    weights: Weights,
    dtype: Dtype,
) -> None:
    """Header first, then the tensors one at a time, so that memory never holds the model."""
    writer = gguf.GGUFWriter(path, config.model_type)
    try:
        _add_architecture(gguf, writer, config, dtype)
        _add_vocabulary(writer, vocabulary)
        for name, array in _tensors(gguf, config, weights, dtype):
            writer.add_tensor_info(name, array.shape, array.dtype, array.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, array in _tensors(gguf, config, weights, dtype):
            writer.write_tensor_data(array)
    finally:
        writer.close()


def _add_architecture(
    gguf: ModuleType, writer: GGUFWriter, config: ModelConfig, dtype: Dtype
) -> None:
    size = head_size(config)
    kind = gguf.LlamaFileType
    writer.add_file_type(kind.MOSTLY_F16 if dtype == "f16" else kind.ALL_F32)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(vocabulary.add_bos)
    roles = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for add, token in zip(roles, vocabulary.ends, strict=False):
        add(token)
    if vocabulary.bos is not None:
        writer.add_bos_token_id(vocabulary.bos)
    if vocabulary.pad is not None:
        writer.add_pad_token_id(vocabulary.pad)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _tensors(
    gguf: ModuleType, config: ModelConfig, weights: Weights, dtype: Dtype
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Every tensor under its GGUF name. Tied embeddings are stored once: without a tensor
    `output`, llama.cpp takes the embeddings."""
    named = namer(config)
    if config.rope_parameters["rope_type"] == "llama3":
        yield ROPE, _rope_factors(config)
    for source in weights:
        # The same as the embeddings, or the folder would not have been opened.
        if (source == HEAD and config.tie_word_embeddings) or source.endswith(COMPUTED):
            continue
        name = named(source)
        if name is None:
            raise BadInput(f"{source} of {weights.folder} has no place in a GGUF file")
        weights.dtype(source)
        tensor = _for_llama(weights.read_finite(source).float(), source, config)
        wide = dtype == "f32" or tensor.dim() == 1
        array = tensor.to(torch.float32 if wide else torch.float16).numpy()
        if not np.isfinite(array).all():
            raise BadInput(
                f"{source} of {weights.folder} has values that float16 cannot hold; write it with "
                "dtype='f32'"
            )
        yield name, array


def _for_llama(tensor: torch.Tensor, name: str, config: ModelConfig) -> torch.Tensor:
    """Llama's q and k, [heads x size, ...], with the halves of each head interleaved.

    Hugging Face turns dimension i of a head together with i + size/2, llama.cpp's "llama" turns
    neighbours; Qwen's families keep Hugging Face's order there.
    """
    if config.model_type != "llama" or not re.search(r"\.[qk]_proj\.", name):
        return tensor
    halves = tensor.reshape(-1, 2, head_size(config) // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape).contiguous()


def _rope_factors(config: ModelConfig) -> NDArray[np.float32]:
    """What Llama 3's scaling divides each rotary frequency by, [head size / 2]."""
    size = head_size(config)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device=torch.device("cpu"))
    powers = torch.arange(0, size, 2, dtype=torch.float32) / size
    plain = config.rope_parameters["rope_theta"] ** -powers
    factors: NDArray[np.float32] = (plain / scaled).numpy()
    return factors
