"""The method a search applies at every level, as it is named on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments import options
from lrm import registry
from lrm.contracts import Method
from lrm.records import Calibration, Checkpoint

SOURCES = ("traces", "text")


@dataclass(frozen=True)
class MethodChoice:
    """A method's class and its options, the sparsity left open.

    `calibration` says what to calibrate on: the model's own reasoning ("traces"), "text", or None
    if the method needs nothing.
    """

    name: str
    kind: Any
    calibration: str | None
    options: Mapping[str, Any] = field(default_factory=dict)

    def made(self, sparsity: float, calibration: Calibration | None) -> Method:
        """The method itself, at one sparsity."""
        needs = {} if calibration is None else {"calibration": calibration}
        method: Method = self.kind(sparsity=sparsity, **needs, **self.options)
        return method

    def params(self, sparsity: float, calibration: Calibration | None) -> dict[str, Any]:
        return dict(self.made(sparsity, calibration).params())

    def apply(
        self, checkpoint: Checkpoint, calibration: Calibration | None, outs: Mapping[float, Path]
    ) -> None:
        """Writes one checkpoint per sparsity."""
        self.made(min(outs), calibration).apply_levels(checkpoint, outs)


def parse_method(text: str) -> MethodChoice:
    """Reads "sparsegpt" or "sparsegpt:calibration=text,damping=0.02"."""
    name = text.partition(":")[0]
    kind = registry.find("method", name, registry.METHODS)
    known = {field.name: field for field in fields(kind)}
    named = options.parse("--method", text, "method", set(known) - {"sparsity"})
    values: dict[str, Any] = {
        key: named.number(key, int if known[key].type in (int, "int") else float)
        for key in named.options
        if key != "calibration"
    }
    calibration = None
    if "calibration" in known:
        calibration = named.options.get("calibration", SOURCES[0])
        registry.require("calibration source", calibration, SOURCES)
    choice = MethodChoice(name, kind, calibration, values)
    choice.made(0.5, Calibration("only to check the options", ((0,),)) if calibration else None)
    return choice
