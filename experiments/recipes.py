"""The recipes that a quantization search tries, as they are named on the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from experiments.levels import Key
from experiments.methods import ONLY_TO_CHECK, SOURCES, read_options
from lrm import registry
from lrm.records import Calibration, Checkpoint

NONE = "none"


@dataclass(frozen=True)
class QuantizerChoice:
    """A quantizer's class and its options, the recipe left open. Contract:
    `experiments.methods.Choice`; a level is a recipe, "Q2_K", or one that protects something,
    "Q2_K/final-mlp"."""

    axis: ClassVar[str] = "recipe"
    untouched: ClassVar[Key] = "f16"

    name: str
    kind: Any
    calibration: str | None
    levels: Collection[str]
    options: Mapping[str, Any] = field(default_factory=dict)

    def made(self, level: str, calibration: Calibration | None) -> Any:
        """The method itself, at one level."""
        recipe = level.partition("/")[0]
        return self.kind(recipe=recipe, calibration=calibration, **self.options).at(level)

    def params(self, level: str, calibration: Calibration | None) -> dict[str, Any]:
        return dict(self.made(level, calibration).params())

    def check(self, checkpoint: Checkpoint) -> None:
        """BadInput if it cannot quantize the checkpoint to one of its levels, which is told before
        any work is done."""
        for level in self.levels:
            self.made(level, ONLY_TO_CHECK if self.calibration else None).check(checkpoint)

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[str, Path],
        on_module: Callable[[int, int], None],
    ) -> None:
        """Writes one checkpoint per level."""
        self.made(next(iter(outs)), calibration).apply_levels(checkpoint, outs, on_module)

    def open(self, place: Path) -> Checkpoint:
        """What was written there."""
        from lrm.compression.quantized import open_quantized

        return open_quantized(place)


def parse_quantizer(text: str, levels: Collection[str]) -> QuantizerChoice:
    """Reads "gguf" or "gguf:calibration=text,fallback=allow".

    BadInput if it cannot make one of the levels.
    """
    name = text.partition(":")[0]
    kind = registry.find("quantizer", name, registry.QUANTIZERS)
    source, values = read_options(text, "quantizer", kind, "recipe")
    registry.require("calibration source", source or "", (*SOURCES, NONE))
    source = None if source == NONE else source
    quantized = [level for level in levels if level != QuantizerChoice.untouched]
    choice = QuantizerChoice(name, kind, source, quantized, values)
    for level in quantized:
        choice.made(level, ONLY_TO_CHECK if source else None)
    return choice
