"""The recipes that a quantization search tries, as they are named on the command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from experiments.cli.method_choice import ONLY_TO_CHECK, SOURCES, read_options
from lrm import registry
from lrm.errors import BadInput
from lrm.records import Calibration, Checkpoint, LevelKey

NONE = "none"
OF_LEVEL = ("recipe", "bits")
"""Parameters of quantizers that a level says, and no option."""


@dataclass(frozen=True)
class QuantizerChoice:
    """A quantizer's class and its options, the recipe left open. Contract:
    `experiments.cli.method_choice.Choice`; a level is a recipe, "Q2_K" or "4-g128", or one that
    protects something, "Q2_K/final-mlp", and with "@" behind it one that is calibrated on something
    else than the others, "Q2_K@wikitext"."""

    axis: ClassVar[str] = "recipe"
    untouched: ClassVar[LevelKey] = "f16"

    name: str
    kind: Any
    calibration: str | None
    levels: Collection[str]
    options: Mapping[str, Any] = field(default_factory=dict)

    def source(self, level: str) -> str | None:
        """What a level is calibrated on."""
        _, named, source = level.partition("@")
        return _source(source) if named else self.calibration

    def made(self, level: str, calibration: Calibration | None) -> Any:
        """The method itself, at one level."""
        return self.kind.of(level.partition("@")[0], calibration, **self.options)

    def params(self, level: str, calibration: Calibration | None) -> dict[str, Any]:
        return dict(self.made(level, calibration).params())

    def check(self, checkpoint: Checkpoint) -> None:
        """BadInput if it cannot quantize the checkpoint to one of its levels, which is told before
        any work is done."""
        for level in self.levels:
            self.hollow(level).check(checkpoint)

    def hollow(self, level: str) -> Any:
        """The method at a level before anything was calibrated; BadInput if it is none."""
        return self.made(level, ONLY_TO_CHECK if self.source(level) else None)

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[str, Path],
        on_module: Callable[[int, int], None],
    ) -> None:
        """Writes one checkpoint per level."""
        plain = {level.partition("@")[0]: out for level, out in outs.items()}
        self.made(next(iter(plain)), calibration).apply_levels(checkpoint, plain, on_module)

    def open(self, place: Path) -> Checkpoint:
        """What was written there."""
        checkpoint: Checkpoint = self.kind.open(place)
        return checkpoint


def parse_quantizer(text: str, levels: Collection[str]) -> QuantizerChoice:
    """Reads "gguf", "gguf:calibration=text,fallback=allow" or "gptq:act_order=weight".

    BadInput if it cannot make one of the levels.
    """
    name = text.partition(":")[0]
    kind = registry.find("quantizer", name, registry.QUANTIZERS)
    source, values = read_options(text, "quantizer", kind, OF_LEVEL)
    quantized = [level for level in levels if level != QuantizerChoice.untouched]
    choice = QuantizerChoice(name, kind, _source(source or NONE), quantized, values)
    known: dict[tuple[str, str | None], str] = {}
    for level in quantized:
        same = known.setdefault((choice.hollow(level).level, choice.source(level)), level)
        if same != level:
            raise BadInput(f"{same} and {level} are the same recipe; leave one out.")
    return choice


def _source(name: str) -> str | None:
    registry.require("calibration source", name, (*SOURCES, NONE))
    return None if name == NONE else name
