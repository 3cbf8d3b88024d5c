"""The flags of the quantization search: those of every search, and the recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from experiments.settings import SearchSettings, listed
from lrm import registry
from lrm.errors import BadInput


def parse_recipes(text: str) -> tuple[str, ...]:
    """Names, comma-separated, each at most once; whether they are known is told later."""
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in text.split(",")))))
    if not names:
        raise BadInput("--recipes names none: write f16,Q4_K_M,Q2_K.")
    return names


@dataclass(frozen=True)
class QuantizationSettings(SearchSettings):
    """One search over recipe of quantization x output-length budget."""

    recipes: Annotated[tuple[str, ...], listed(parse_recipes, "NAME,...")] = (
        "f16",
        "Q8_0",
        "Q6_K",
        "Q4_K_M",
        "Q3_K_M",
        "dynamic-2.51",
        "Q2_K",
        "dynamic-1.73",
        "dynamic-1.58",
        "IQ2_XXS",
        "IQ1_M",
        "TQ1_0",
        "IQ1_S",
    )
    """Recipes to search, in their order; f16 is the model itself. NAME/PROTECTED keeps modules in
    16 bits: Q2_K/final-mlp, Q2_K/layers.0+down_proj, or a control, Q2_K/random:0.02[:DRAW]."""

    engine: str = "llama_cpp"
    """What runs the model, with options if any: llama_cpp:slots=32."""

    method: str = "gguf"
    """Quantizer, with options if any: gguf:calibration=text,fallback=allow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        engine = registry.engine(self.engine.partition(":")[0])
        registry.require("quantizer", self.method.partition(":")[0], registry.QUANTIZERS)
        if "gguf" not in engine.formats:
            raise BadInput(
                f"--engine {engine.name} does not load GGUF files: give --engine llama_cpp."
            )
