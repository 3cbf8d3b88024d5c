"""The engine that runs a search's models, as it is named on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from experiments.cli import options
from experiments.cli.options import Option
from lrm import registry
from lrm.contracts.engine import Engine, EngineKind
from lrm.records.model import Checkpoint

KINDS = (int, float, str)


@dataclass(frozen=True)
class EngineChoice:
    """An engine's class and its options, the checkpoint left open."""

    name: str
    kind: EngineKind
    options: Mapping[str, Option] = field(default_factory=dict)

    def made(self, checkpoint: Checkpoint) -> Engine:
        return self.kind(checkpoint, **self.options)


def parse_engine(text: str) -> EngineChoice:
    """Reads "transformers" or "transformers:slots=32".

    The options are the parameters of the engine's class, behind the checkpoint, that are numbers or
    texts.
    """
    name = text.partition(":")[0]
    kind = registry.engine(name)
    behind = islice(options.parameters(kind).items(), 1, None)
    known = {key: wanted for key, wanted in behind if wanted in KINDS}
    named = options.parse("--engine", text, "engine", known)
    return EngineChoice(name, kind, {key: named.value(key, known[key]) for key in named.options})
