"""Quantizes one part of a model alone, part after part: what does the model lose by each?

The model itself is measured, the recipe on all of it, and the recipe on every block, kind of layer
or single layer while all the rest stays in 16 bits, embeddings and output too. Each of these
checkpoints is nearly as large as the model.

Example:
    python -m experiments.sensitivity --recipe IQ1_M --by kind
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from experiments.cli.command import command
from experiments.cli.quantization_settings import QuantizationSettings
from experiments.cli.settings import SearchSettings, listed, parse_budgets
from lrm.compression.checkpoint.module_filter import BLOCK, EXCEPT
from lrm.errors import BadInput

NAME = "sensitivity"
Part = Literal["block", "kind", "module"]


@dataclass(frozen=True)
class SensitivitySettings(SearchSettings):
    """One study of what quantizing each part alone does."""

    recipe: str = "IQ1_M"
    """How parts are quantized: one recipe of the quantization search."""

    by: Part = "block"
    """The parts: every block (layers.0), every kind of layer over all blocks (q_proj), or every
    single linear layer (layers.0.self_attn.q_proj)."""

    budgets: Annotated[tuple[int, ...], listed(parse_budgets, "TOKENS,...")] = (384,)
    """Output-length budgets, in thinking tokens; the table shows the largest."""

    engine: str = QuantizationSettings.engine
    """What runs the model, with options if any: llama_cpp:slots=32. Unless named, that of the
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
        """The search that this study is."""
        shared = [field.name for field in fields(SearchSettings)]
        return QuantizationSettings(
            **{name: getattr(self, name) for name in (*shared, "method")}, recipes=tuple(recipes)
        )


def parts(layers: Iterable[str], by: Part) -> list[str]:
    """What the linear layers of a model's blocks are parts of, in the order of the blocks."""
    found = set()
    for name in layers:
        inner = name[BLOCK.search(name).start() :]  # type: ignore[union-attr]
        block, kind = ".".join(inner.split(".")[:2]), inner.rpartition(".")[2]
        found.add({"block": block, "kind": kind, "module": inner}[by])
    return sorted(
        found, key=lambda one: [(word.isdigit(), word.zfill(6)) for word in one.split(".")]
    )


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the study; returns its exit status. What is written goes to mlruns/ under `root`."""

    def work(settings: SensitivitySettings) -> str:
        from experiments.cli.quantizer_choice import parse_quantizer
        from experiments.models.resolve import find_model
        from experiments.outcomes import sensitivity
        from experiments.search import job, launch
        from lrm.compression.checkpoint.folder import Weights

        parse_quantizer(settings.method, [settings.recipe])
        model = find_model(settings.model)
        if model.format != "dense":
            raise BadInput(
                f"{model.name} has {model.format} weights, and only dense ones are quantized: give "
                "the folder or hub id of the model that it was made from."
            )
        named = parts(Weights(model.fetch()).sizes(), settings.by)
        levels = [settings.recipe, *(f"{settings.recipe}/{EXCEPT}{part}" for part in named)]
        method = parse_quantizer(settings.method, levels)
        keys = (str(method.untouched), *levels)
        axis = job.SearchAxis(
            method=method,
            text=settings.method,
            keys=keys,
            objectives=3,
            findings=sensitivity.SensitivityFindings,
        )
        text = sensitivity.text
        return launch.searched(NAME, arguments, settings.search(keys), axis, root, text)

    stopped = "Nothing is lost: the same command goes on from here."
    return command(SensitivitySettings, NAME, __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
