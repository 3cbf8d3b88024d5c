"""The pruning method that a search applies at every level, as it is named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from experiments.cli import options
from experiments.cli.calibration_source import SIZES, CalibrationSource, parse_source
from experiments.cli.options import Option
from lrm import registry
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import steps_of
from lrm.contracts.method import Method, OnModule, Params
from lrm.contracts.pruner import Pruner, PrunerKind
from lrm.records.model import Calibration, Checkpoint, LevelKey

ONLY_TO_CHECK = Calibration("none, only to check a method's options", ((0,),))


class Choice(Protocol):
    """A method with the level left open. `axis` says what its levels are; at the level `untouched`
    nothing is applied. `source` says what a level is calibrated on, None if on nothing. **Levels
    that are applied together have one source.**

    `check` raises BadInput if the method cannot compress the checkpoint, before any work is done.
    """

    @property
    def name(self) -> str: ...

    @property
    def axis(self) -> str: ...

    @property
    def untouched(self) -> LevelKey: ...

    def source(self, key: LevelKey) -> CalibrationSource | None: ...

    def made_to_check(self, key: LevelKey) -> Method[Any]: ...

    def params(self, key: LevelKey, calibration: Calibration | None) -> Params: ...

    def check(self, checkpoint: Checkpoint) -> None: ...

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[LevelKey, Path],
        on_module: OnModule,
    ) -> None: ...

    def open(self, path: Path) -> Checkpoint: ...


@dataclass(frozen=True)
class MethodChoice:
    """A pruner's class and its options, the sparsity left open.

    `calibration` is the source for every level.
    """

    axis: ClassVar[str] = "sparsity"
    untouched: ClassVar[LevelKey] = 0.0

    name: str
    kind: PrunerKind
    calibration: CalibrationSource | None
    options: Mapping[str, Option] = field(default_factory=dict)

    def source(self, key: LevelKey) -> CalibrationSource | None:
        return self.calibration

    def made(self, key: LevelKey, calibration: Calibration | None) -> Pruner:
        """The method itself, at one sparsity."""
        needs = {} if calibration is None else {"calibration": calibration}
        return self.kind(sparsity=key, **needs, **self.options)

    def made_to_check(self, key: LevelKey) -> Pruner:
        """The method at one sparsity before anything was calibrated; BadInput if it is none."""
        return self.made(key, ONLY_TO_CHECK if self.calibration else None)

    def params(self, key: LevelKey, calibration: Calibration | None) -> Params:
        return dict(self.made(key, calibration).params())

    def check(self, checkpoint: Checkpoint) -> None:
        self.made_to_check(self.untouched).check(checkpoint)

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[LevelKey, Path],
        on_module: OnModule,
    ) -> None:
        """Writes one checkpoint per sparsity; prints on stderr what to mind about the highest."""
        sparsities = cast(Mapping[float, Path], outs)
        sparsest = self.made(max(sparsities), calibration)
        if sparsest.caution:
            print(sparsest.caution, file=sys.stderr)
        self.made(min(sparsities), calibration).apply_levels(checkpoint, sparsities, on_module)

    def open(self, path: Path) -> Checkpoint:
        """Says on stderr if more was pruned than was asked."""
        checkpoint = open_checkpoint(path)
        excess = checkpoint.measured.get("sparsity/excess")
        if excess:
            print(_more_than_asked(path, checkpoint, excess), file=sys.stderr)
        return checkpoint


def _more_than_asked(path: Path, checkpoint: Checkpoint, excess: float) -> str:
    """Which modules have more zeros than was asked, and what that may come of."""
    step = steps_of(path)[-1]
    asked = float(step["params"]["sparsity"])
    rows = [row for row in step["modules"] if "sparsity" in row]
    worst = max(rows, key=lambda row: row["sparsity_achieved"] - row["sparsity"])
    return (
        f"sparsity {asked:g} became {checkpoint.measured['sparsity/achieved']:.1%} zeros, "
        f"{excess:.1%} more than was asked (in {worst['module']} {worst['sparsity_achieved']:.1%} "
        f"instead of {worst['sparsity']:.1%}): these were zero before, or read an input that is "
        "always zero, as behind a norm of zeros; check the model, and read the figures at the "
        "sparsity achieved."
    )


def parse_method(text: str, levels: Collection[float] = (0.0,)) -> MethodChoice:
    """Reads "sparsegpt" or "sparsegpt:calibration=text,protect=layers.31.mlp+k_proj".

    BadInput if the method cannot make one of the levels.
    """
    name = text.partition(":")[0]
    kind = registry.pruner(name)
    calibration, values = read_options(text, "method", kind, ("sparsity",))
    choice = MethodChoice(name, kind, calibration, values)
    for level in levels:
        choice.made_to_check(level)
    return choice


def read_options(
    text: str,
    role: str,
    kind: Callable[..., object],
    level_fields: Collection[str],
    also: tuple[str, ...] = (),
) -> tuple[CalibrationSource | None, dict[str, Option]]:
    """What --method says to calibrate on, None if `kind` needs nothing, and its other options.
    `also` names what else may be given as calibration.

    The options are the fields of `kind`, but for those that the level says.
    """
    known = options.parameters(kind)
    calibrates = "calibration" in known
    fields = set(known) - set(level_fields) | (set(SIZES) if calibrates else set())
    named = options.parse("--method", text, role, fields)
    own = {key: text for key, text in named.options.items() if key not in ("calibration", *SIZES)}
    values = {key: named.value(key, known[key]) for key in own}
    if not calibrates:
        return None, values
    source = parse_source(named.options.get("calibration", "traces"), named.options, also)
    return source, values
