"""How a model's weights are stored, by its config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lrm.errors import BadInput
from lrm.records.model import Format

PACKED: tuple[Format, ...] = ("awq", "gptq", "compressed-tensors")
"""Packed weights, by the names that `quant_method` in a config has for them."""


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
