"""What a search varies beside the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.cli.method_choice import Choice
from experiments.search.findings import Findings
from lrm.records.model import LevelKey


@dataclass(frozen=True)
class SearchAxis:
    """What a search varies beside the budget: the levels of a method, in their order. `text` is the
    method as it was named, `objectives` how many of Optuna's there are."""

    method: Choice
    text: str
    keys: Sequence[LevelKey]
    objectives: int = 2
    findings: type[Findings] = Findings

    @property
    def compresses(self) -> bool:
        """Whether any level is not the model itself."""
        return any(key != self.method.untouched for key in self.keys)
