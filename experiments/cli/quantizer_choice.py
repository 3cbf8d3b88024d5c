"""The recipes that a quantization search tries, as they are named on the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from experiments.cli.calibration_source import CalibrationSource, parse_source
from experiments.cli.method_choice import ONLY_TO_CHECK, read_options
from experiments.cli.options import Option
from lrm import registry
from lrm.contracts.method import OnModule, Params
from lrm.contracts.quantizer import Quantizer, QuantizerKind
from lrm.errors import BadInput
from lrm.records.model import Calibration, Checkpoint, LevelKey

NONE = "none"


@dataclass(frozen=True)
class QuantizerChoice:
    """A quantizer's class and its options, the recipe left open. Contract:
    `experiments.cli.method_choice.Choice`; a level is a recipe, "Q2_K" or "4-g128", or one that
    protects something, "Q2_K/final-mlp", and with "@" behind it one that is calibrated on something
    else than the others, "Q2_K@wikitext"."""

    axis: ClassVar[str] = "recipe"
    untouched: ClassVar[LevelKey] = "f16"

    name: str
    kind: QuantizerKind
    calibration: CalibrationSource | None
    levels: Collection[str]
    options: Mapping[str, Option] = field(default_factory=dict)

    def source(self, key: LevelKey) -> CalibrationSource | None:
        _, named, name = str(key).partition("@")
        if not named:
            return self.calibration
        if name == NONE:
            return None
        usual = self.calibration or CalibrationSource(NONE)
        own = parse_source(name, also=(NONE,))
        return replace(own, rows=usual.rows, row_tokens=usual.row_tokens)

    def made(self, key: LevelKey, calibration: Calibration | None) -> Quantizer:
        """The method itself, at one level."""
        return self.kind.of(_recipe(key), calibration, **self.options)

    def made_to_check(self, key: LevelKey) -> Quantizer:
        """The method at a level before anything was calibrated; BadInput if it is none."""
        return self.made(key, ONLY_TO_CHECK if self.source(key) else None)

    def params(self, key: LevelKey, calibration: Calibration | None) -> Params:
        return dict(self.made(key, calibration).params())

    def check(self, checkpoint: Checkpoint) -> None:
        for level in self.levels:
            self.made_to_check(level).check(checkpoint)

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[LevelKey, Path],
        on_module: OnModule,
    ) -> None:
        """Writes one checkpoint per level."""
        recipes = {_recipe(key): out for key, out in outs.items()}
        self.made(next(iter(recipes)), calibration).apply_levels(checkpoint, recipes, on_module)

    def open(self, path: Path) -> Checkpoint:
        return self.kind.open(path)


def parse_quantizer(text: str, levels: Collection[str]) -> QuantizerChoice:
    """Reads "gguf", "gguf:calibration=text,fallback=allow" or "gptq:act_order=weight".

    BadInput if it cannot make one of the levels.
    """
    name = text.partition(":")[0]
    kind = registry.quantizer(name)
    source, values = read_options(text, "quantizer", kind, kind.level_fields, (NONE,))
    if source and source.name == NONE:
        source = None
    quantized = [level for level in levels if level != QuantizerChoice.untouched]
    choice = QuantizerChoice(name, kind, source, quantized, values)
    known: dict[tuple[str, CalibrationSource | None], str] = {}
    for level in quantized:
        same = known.setdefault((choice.made_to_check(level).level, choice.source(level)), level)
        if same != level:
            raise BadInput(f"{same} and {level} are the same recipe; leave one out.")
    return choice


def _recipe(key: LevelKey) -> str:
    """A level without what it is calibrated on."""
    return str(key).partition("@")[0]
