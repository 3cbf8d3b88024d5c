"""The engine that runs a search's models, as it is named on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, get_args, get_type_hints

from experiments.cli import options
from lrm import registry
from lrm.contracts import Engine, EngineKind
from lrm.records import Checkpoint

KINDS = (int, float, str)


@dataclass(frozen=True)
class EngineChoice:
    """An engine's class and its options, the checkpoint left open."""

    name: str
    kind: EngineKind
    options: Mapping[str, Any] = field(default_factory=dict)

    def made(self, checkpoint: Checkpoint) -> Engine:
        return self.kind(checkpoint, **self.options)


def parse_engine(text: str) -> EngineChoice:
    """Reads "transformers" or "transformers:slots=32".

    The options are the parameters of the engine's class that are numbers or words.
    """
    name = text.partition(":")[0]
    kind = registry.engine(name)
    known = _options(kind)
    named = options.parse("--engine", text, "engine", known)
    values = {
        key: value if known[key] is str else named.number(key, known[key])
        for key, value in named.options.items()
    }
    return EngineChoice(name, kind, values)


def _options(kind: Any) -> dict[str, Any]:
    """The type of each parameter that can be written as a word, None being its absence."""
    hints = get_type_hints(kind.__init__)
    found = {}
    for name in list(inspect.signature(kind.__init__).parameters)[2:]:
        types = [one for one in get_args(hints[name]) or (hints[name],) if one is not NoneType]
        if len(types) == 1 and types[0] in KINDS:
            found[name] = types[0]
    return found
