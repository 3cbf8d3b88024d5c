"""The method a search applies at every level, as it is named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

from experiments.cli import options
from lrm import registry
from lrm.compression.checkpoint.folder import open_checkpoint
from lrm.contracts import Method
from lrm.generation.calibration import TEXTS
from lrm.records import Calibration, Checkpoint, LevelKey

SOURCES = ("traces", "prompts", *TEXTS)
ONLY_TO_CHECK = Calibration("none, only to check a method's options", ((0,),))


class Choice(Protocol):
    """A method with the level left open. `axis` says what its levels are; at the level `untouched`
    nothing is applied. `source` says what a level is calibrated on: the model's own reasoning
    ("traces"), the "prompts" of practice questions, a text of `lrm.generation.calibration.TEXTS`,
    or None if on nothing. Levels that are applied together have one source."""

    @property
    def name(self) -> str: ...

    @property
    def axis(self) -> str: ...

    @property
    def untouched(self) -> LevelKey: ...

    def source(self, key: Any) -> str | None: ...

    def params(self, key: Any, calibration: Calibration | None) -> dict[str, Any]: ...

    def check(self, checkpoint: Checkpoint) -> None: ...

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[Any, Path],
        on_module: Callable[[int, int], None],
    ) -> None: ...

    def open(self, place: Path) -> Checkpoint: ...


@dataclass(frozen=True)
class MethodChoice:
    """A method's class and its options, the sparsity left open.

    `calibration` is the source for every level.
    """

    axis: ClassVar[str] = "sparsity"
    untouched: ClassVar[LevelKey] = 0.0

    name: str
    kind: Any
    calibration: str | None
    options: Mapping[str, Any] = field(default_factory=dict)

    def source(self, sparsity: float) -> str | None:
        return self.calibration

    def made(self, sparsity: float, calibration: Calibration | None) -> Method:
        """The method itself, at one sparsity."""
        needs = {} if calibration is None else {"calibration": calibration}
        method: Method = self.kind(sparsity=sparsity, **needs, **self.options)
        return method

    def params(self, sparsity: float, calibration: Calibration | None) -> dict[str, Any]:
        return dict(self.made(sparsity, calibration).params())

    def check(self, checkpoint: Checkpoint) -> None:
        """BadInput if it cannot prune the checkpoint, which is told before any work is done."""
        from lrm.compression.pruning.save import Pruner, check

        made = self.made(0, ONLY_TO_CHECK if self.calibration else None)
        if isinstance(made, Pruner):
            check(checkpoint, made)

    def apply(
        self,
        checkpoint: Checkpoint,
        calibration: Calibration | None,
        outs: Mapping[float, Path],
        on_module: Callable[[int, int], None],
    ) -> None:
        """Writes one checkpoint per sparsity; says on stderr what to mind about the highest."""
        from lrm.compression.pruning.save import Pruner

        sparsest = self.made(max(outs), calibration)
        if isinstance(sparsest, Pruner) and sparsest.caution:
            print(sparsest.caution, file=sys.stderr)
        self.made(min(outs), calibration).apply_levels(checkpoint, outs, on_module)

    def open(self, place: Path) -> Checkpoint:
        """What was written there."""
        return open_checkpoint(place)


def parse_method(text: str, levels: Collection[float] = (0.0,)) -> MethodChoice:
    """Reads "sparsegpt" or "sparsegpt:calibration=text,protect=layers.31.mlp+k_proj".

    BadInput if the method cannot make one of the levels.
    """
    name = text.partition(":")[0]
    kind = registry.find("method", name, registry.METHODS)
    calibration, values = read_options(text, "method", kind, ("sparsity",))
    if calibration is not None:
        registry.require("calibration source", calibration, SOURCES)
    choice = MethodChoice(name, kind, calibration, values)
    for level in levels:
        choice.made(level, ONLY_TO_CHECK if calibration else None)
    return choice


def read_options(
    text: str, what: str, kind: Any, level: Collection[str]
) -> tuple[str | None, dict[str, Any]]:
    """What --method says to calibrate on, None if `kind` needs nothing, and its other options.

    The options are the fields of `kind`, but for those that the `level` says.
    """
    known = {field.name: field for field in fields(kind)}
    named = options.parse("--method", text, what, set(known) - set(level))
    values = {
        key: _value(named, key, str(known[key].type))
        for key in named.options
        if key != "calibration"
    }
    if "calibration" not in known:
        return None, values
    return named.options.get("calibration", SOURCES[0]), values


def _value(named: options.Named, key: str, kind: str) -> Any:
    """An option's value as its field wants it: a number, a text, or names joined by "+"."""
    if kind in ("int", "float"):
        return named.number(key, int if kind == "int" else float)
    text = named.options[key]
    return tuple(text.split("+")) if kind.startswith("tuple") else text
