"""The weights that a Llama, Qwen2 or Qwen3 model has, by its config: their names and shapes.

The names are those of Hugging Face's modules, which checkpoints are saved under. That these are all
is tested against the modules themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lrm.model_sizes import ModelSizes

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def expected_shapes(config: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """The shape of every weight by its name; without the head where the embeddings are it."""
    sizes = ModelSizes.of(config)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (sizes.vocabulary, sizes.hidden)
    }
    for index in range(sizes.layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in _block(config, sizes)}
    shapes["model.norm.weight"] = (sizes.hidden,)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (sizes.vocabulary, sizes.hidden)
    return shapes


def _block(config: Mapping[str, object], sizes: ModelSizes) -> Shapes:
    family, attention = config["model_type"], bool(config.get("attention_bias"))
    inputs = family == "qwen2" or attention  # Qwen2's biases stand in no config
    queries, keys = sizes.heads * sizes.head, sizes.groups * sizes.head
    yield from _linear("self_attn.q_proj", queries, sizes.hidden, inputs)
    yield from _linear("self_attn.k_proj", keys, sizes.hidden, inputs)
    yield from _linear("self_attn.v_proj", keys, sizes.hidden, inputs)
    yield from _linear("self_attn.o_proj", sizes.hidden, queries, attention and family != "qwen2")
    if family == "qwen3":
        yield "self_attn.q_norm.weight", (sizes.head,)
        yield "self_attn.k_norm.weight", (sizes.head,)
    biased = family == "llama" and bool(config.get("mlp_bias"))
    yield from _linear("mlp.gate_proj", sizes.inner, sizes.hidden, biased)
    yield from _linear("mlp.up_proj", sizes.inner, sizes.hidden, biased)
    yield from _linear("mlp.down_proj", sizes.hidden, sizes.inner, biased)
    yield "input_layernorm.weight", (sizes.hidden,)
    yield "post_attention_layernorm.weight", (sizes.hidden,)


def _linear(name: str, rows: int, columns: int, bias: bool) -> Shapes:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)
