"""The flags of the sensitivity study: those of every search, and the parts to quantize alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from experiments.cli.quantization_settings import QuantizationSettings
from experiments.cli.settings import SearchSettings, listed, parse_budgets
from lrm.errors import BadInput

Part = Literal["block", "kind", "module"]


@dataclass(frozen=True)
class SensitivitySettings(SearchSettings):
    """One study of what a model loses when each part alone is quantized."""

    recipe: str = "IQ1_M"
    """How parts are quantized: one recipe of the quantization search."""

    by: Part = "block"
    """The parts: every block (layers.0), every kind of layer over all blocks (q_proj), or every
    single linear layer (layers.0.self_attn.q_proj)."""

    budgets: Annotated[tuple[int, ...], listed(parse_budgets, "TOKENS,...")] = (384,)
    """Output-length budgets, in thinking tokens; the table shows the largest."""

    engine: str = QuantizationSettings.engine
    """What runs the model, with options if any: llama_cpp:slots=32. If left out, the same as in the
    quantization search."""

    method: str = QuantizationSettings.method
    """Quantizer, with options if any: gguf:calibration=text."""

    def __post_init__(self) -> None:
        self.search([self.recipe])
        if set("/@").intersection(self.recipe):
            raise BadInput(
                f"--recipe {self.recipe} must be a plain recipe: write IQ1_M, and what it is "
                "calibrated on as --method gguf:calibration=text."
            )

    def search(self, recipes: Sequence[str]) -> QuantizationSettings:
        """The quantization search that measures these recipes."""
        shared = [field.name for field in fields(SearchSettings)]
        return QuantizationSettings(
            **{name: getattr(self, name) for name in (*shared, "method")}, recipes=tuple(recipes)
        )
