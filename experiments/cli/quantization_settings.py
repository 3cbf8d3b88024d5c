"""The flags of the quantization search: those of every search, and the recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from experiments.cli.settings import SearchSettings, listed
from lrm import formats, registry
from lrm.errors import BadInput


def parse_recipes(text: str) -> tuple[str, ...]:
    """Names, comma-separated, each once; whether they exist is checked later, by the quantizer."""
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in text.split(",")))))
    if not names:
        raise BadInput("--recipes names none: write f16,Q4_K_M,Q2_K.")
    return names


@dataclass(frozen=True)
class QuantizationSettings(SearchSettings):
    """One search over recipe of quantization x output-length budget."""

    recipes: Annotated[tuple[str, ...], listed(parse_recipes, "NAME,...")] = ()
    """Recipes to search, in their order; f16 is the model itself. For gguf: Q8_0, Q6_K, Q4_K_M,
    Q3_K_M, Q2_K, IQ2_XXS, IQ1_M, IQ1_S, TQ1_0, dynamic-2.51, dynamic-1.73, dynamic-1.58; for gptq
    and awq: BITS-gGROUP, as in 4-g128. NAME/MODULES keeps modules in 16 bits: Q2_K/final-mlp,
    4-g128/layers.0+down_proj, or random ones as a control, Q2_K/random:0.02[:DRAW].
    NAME/except:MODULES quantizes these modules only. NAME@SOURCE calibrates one recipe on another
    source than the others: Q2_K@text. If left out, all of gguf, or f16,4-g128,3-g128."""

    engine: str = ""
    """What runs the model, with options if any: llama_cpp:slots=32. If left out, llama_cpp for
    gguf, and transformers, on unpacked weights, for gptq and awq."""

    method: str = "gguf"
    """Quantizer (gguf, gptq or awq), with options if any: gguf:calibration=text,fallback=allow."""

    def __post_init__(self) -> None:
        kind = registry.quantizer(self.method.partition(":")[0])
        for name, default in (("recipes", tuple(kind.searched)), ("engine", kind.engine)):
            if not getattr(self, name):
                object.__setattr__(self, name, default)
        super().__post_init__()
        engine = registry.engine(self.engine.partition(":")[0])
        runs = {kind.format, "dense"} if kind.format in formats.PACKED else {kind.format}
        if not runs.intersection(engine.formats):
            raise BadInput(
                f"--engine {engine.name} does not run what {kind.name} makes: give --engine "
                f"{kind.engine}."
            )
