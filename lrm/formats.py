"""How a model's weights are stored, and which engine loads that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lrm.contracts.engine import EngineKind
from lrm.errors import BadInput
from lrm.records import Format

PACKED: tuple[Format, ...] = ("awq", "gptq", "compressed-tensors")
"""Packed weights, by the names that `quant_method` in a config has for them."""

RUN_BY: dict[Format, str] = {
    "dense": "transformers",
    "awq": "vllm",
    "gptq": "vllm",
    "compressed-tensors": "vllm",
    "gguf": "llama_cpp",
    "tokenizer": "server",
}
"""The engine that a refusal names: engines know nothing of one another."""


def of_config(config: Mapping[str, object], source: str | Path) -> Format:
    """What a Hugging Face config says of its weights; BadInput if no engine here loads that.

    `compression_config` is what early compressed-tensors called its part.
    """
    packed = config.get("quantization_config") or config.get("compression_config")
    if not packed:
        return "dense"
    quantizer = packed.get("quant_method") if isinstance(packed, dict) else None
    for method in PACKED:
        if quantizer == method:
            return method
    raise BadInput(
        f"{source} is quantized with {quantizer or 'a method that its config does not name'}, "
        "which no engine here runs; give it as AWQ, GPTQ, compressed-tensors or GGUF, or not "
        "quantized"
    )


def check(model: str | Path, stored: Format, engine: EngineKind) -> None:
    """BadInput, which names an engine that works, unless this one loads weights stored so."""
    if stored in engine.formats:
        return
    contents = "only a tokenizer" if stored == "tokenizer" else f"{stored} weights"
    raise BadInput(
        f"{model} has {contents}, which the {engine.name} engine does not load; run it with the "
        f"{RUN_BY[stored]} engine (--engine {RUN_BY[stored]})"
    )
