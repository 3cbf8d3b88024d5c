"""The sizes in a model's config, checked before anything of that size is allocated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, cast

from lrm.errors import BadInput

FAMILIES = ("llama", "qwen2", "qwen3")
DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "llama": {},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
}
"""What a config of the family means that is silent about it."""

MOST = {
    "num_hidden_layers": 10_000,
    "num_attention_heads": 100_000,
    "num_key_value_heads": 100_000,
    "head_dim": 1_000_000,
    "hidden_size": 10_000_000,
    "intermediate_size": 100_000_000,
    "vocab_size": 100_000_000,
}
"""The largest sizes that a config may name, far above any model's: wrong ones take all memory."""


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The sizes that decide shapes: `groups` are the heads of keys and values."""

    REQUIRED: ClassVar[tuple[str, ...]] = (
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_size",
        "intermediate_size",
        "vocab_size",
    )

    layers: int
    heads: int
    groups: int
    head: int
    hidden: int
    inner: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, object]) -> Self:
        """The sizes in a config of `FAMILIES` that has all that are `REQUIRED`."""
        named = cast(Mapping[str, int], {**DEFAULTS[str(config["model_type"])], **config})
        heads, hidden = named["num_attention_heads"], named["hidden_size"]
        return cls(
            layers=named["num_hidden_layers"],
            heads=heads,
            groups=named.get("num_key_value_heads") or heads,
            head=named.get("head_dim") or hidden // heads,
            hidden=hidden,
            inner=named["intermediate_size"],
            vocabulary=named["vocab_size"],
        )


def check_sizes(path: Path, config: Mapping[str, object]) -> None:
    """BadInput unless the config's sizes are possible."""
    strict = config["model_type"] in FAMILIES
    for name, most in MOST.items():
        size = config.get(name)
        if size is None and not (strict and name in ModelSizes.REQUIRED):
            continue
        # Other families may have a list here, a size for each layer.
        possible = not strict
        if isinstance(size, int) and not isinstance(size, bool):
            possible = 1 <= size <= most
        if not possible:
            said = "is missing" if size is None else f"is {json.dumps(size)}"
            raise BadInput(
                f"{name} {said} in {path} and must be a whole number from 1 to {most:,}; fetch the "
                "config again."
            )
    if strict:
        sizes = ModelSizes.of(config)
        if not config.get("head_dim") and sizes.hidden % sizes.heads:
            raise BadInput(
                f"hidden_size {sizes.hidden} of {path} is not divided by num_attention_heads "
                f"{sizes.heads}; fetch the config again."
            )
        if sizes.heads % sizes.groups:
            raise BadInput(
                f"num_attention_heads {sizes.heads} of {path} is not divided by "
                f"num_key_value_heads {sizes.groups}; fetch the config again."
            )
