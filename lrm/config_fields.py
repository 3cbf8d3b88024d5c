"""Fields of a config that one engine applies and another ignores, so that one model would be two.

Transformers' modules of Llama, Qwen2 and Qwen3 know none of them and ignore them. vLLM runs many
families by the same code (0.32: model_executor/models/llama.py, qwen2.py) and applies them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from lrm.errors import BadInput
from lrm.model_sizes import FAMILIES

NEUTRAL: Mapping[str, object] = {
    "partial_rotary_factor": 1,
    "logit_scale": 1,
    "is_causal": True,
    "bias": False,
    "qk_norm": False,
}
"""The value that means the same to all engines."""

CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""What `architectures` calls each family. Transformers goes by the family, vLLM by this name."""


def check_fields(path: Path, config: Mapping[str, object]) -> None:
    """BadInput if a config of `FAMILIES` has a field that engines read differently."""
    family = str(config["model_type"])
    if family not in FAMILIES:
        return
    for name, value in _differing(family, config):
        raise BadInput(
            f"{name} is {json.dumps(value)} in {path}, which some engines apply and others ignore, "
            f"and a model of type {family} has no such thing; remove it."
        )
    classes = config.get("architectures")
    others = set(CLASSES.values()) - {CLASSES[family]}
    if isinstance(classes, list) and others.intersection(map(str, classes)):
        raise BadInput(
            f"{path} is of type {family} and has the architectures {', '.join(map(str, classes))}, "
            "and engines differ in which they go by; correct the one that is wrong."
        )


def _differing(family: str, config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The fields that are not neutral, and their values."""
    for part in (config, config.get("rope_parameters"), config.get("rope_scaling")):
        if isinstance(part, Mapping):
            for name, neutral in NEUTRAL.items():
                if part.get(name) not in (None, neutral):
                    yield name, part[name]
    # Qwen's families leave out the window where `use_sliding_window` does not ask for it.
    layers = config.get("layer_types")
    slides = isinstance(layers, list) and "sliding_attention" in layers
    if family == "llama" and config.get("sliding_window") and not slides:
        yield "sliding_window", config["sliding_window"]
