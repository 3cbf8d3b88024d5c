"""Prune, then search: `--first METHOD@LEVEL` makes the model that a search then works on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from experiments.cli.method_choice import MethodChoice, parse_method
from experiments.models.resolve import LocatedModel
from experiments.search.level_evaluator import LevelEvaluator
from lrm.errors import BadInput


@dataclass(frozen=True)
class FirstMethod:
    """A pruning method at one sparsity, applied before any level of a search. `text` is the flag's
    value."""

    text: str
    method: MethodChoice
    sparsity: float

    @property
    def label(self) -> str:
        """For the name of a study."""
        return f"{self.method.name}-{self.sparsity:g}"

    def check(self, model: LocatedModel) -> None:
        """BadInput if the model has no dense weights here, before any are fetched."""
        if model.format != "dense":
            raise BadInput(
                f"--first {self.text} prunes dense weights, which {model.name} has not "
                f"({model.format}): give a dense model, or leave --first out."
            )

    def applied(self, evaluator: LevelEvaluator) -> LevelEvaluator:
        """The evaluator with the pruned model in the model's place. The checkpoint is made among
        the evaluator's others, or found there; it counts as one that the search made."""
        pruner = replace(evaluator, method=self.method, keys=(self.sparsity,))
        model = replace(evaluator.model, checkpoint=pruner.checkpoint(self.sparsity))
        return replace(evaluator, model=model, first=self.text)


def parse_first(text: str) -> FirstMethod:
    """Reads "sparsegpt@0.5" or "sparsegpt:calibration=text@0.5"."""
    named, at, level = text.rpartition("@")
    try:
        sparsity = float(level) if at else None
    except ValueError:
        sparsity = None
    if sparsity is None:
        raise BadInput(f"--first {text} has no level: write METHOD@LEVEL, sparsegpt@0.5.")
    if not 0 < sparsity < 1:
        raise BadInput(
            f"--first {text}: the level must lie between 0 and 1, 0.5 is half; without pruning, "
            "leave --first out."
        )
    return FirstMethod(text, parse_method(named, [sparsity]), sparsity)
