"""The flags of compare and compare_methods."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments.cli.settings import listed, parse_benchmarks, parse_sparsity
from lrm import registry
from lrm.errors import BadInput

FIELDS = (
    "version", "rows", "track", "system", "temperature", "top_p", "max_tokens", "answer_tokens",
    "truncation", "closing", "budgets", "lengths",
)  # fmt: skip
"""What must be the same: of each benchmark its version and the digest of the rows asked; then how
they were asked and counted."""

Many = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]
"""A flag that takes several words, may be given several times, or both."""


@dataclass(frozen=True)
class CompareSettings:
    """What to compare; every flag adds to it."""

    study: Many = ()
    """Studies, by their names. Each is looked for in all stores."""

    run: Many = ()
    """Runs, levels and imports, by their ids."""

    tag: Many = ()
    """Studies and imports with a tag: team=alpha."""

    filter: Many = ()
    """Studies and imports that MLflow's search language finds: "params.model = 'tiny-5m'". Where it
    finds none of them, levels."""

    tracking_uri: Many = ()
    """MLflow tracking servers or databases; the comparison is kept in the first. mlruns/mlflow.db
    if left out."""

    allow: tuple[str, ...] = ()
    """Fields that may differ, such as rows,track: the comparison is then marked."""

    report: bool = True
    """Make the page, too, which takes some seconds."""

    out: Path | None = None
    """File to write the page to as well; it is always kept in MLflow."""

    def __post_init__(self) -> None:
        if not (self.study or self.run or self.tag or self.filter):
            raise BadInput(
                "Give what to compare: --study A --study B, --tag team=A, --run ID, --filter TEXT."
            )
        for text in flat(self.tag):
            if not all(text.partition("=")):
                raise BadInput(f"--tag {text} is no tag: write NAME=VALUE, such as team=alpha.")
        for name in self.fields:
            registry.require("field for --allow", name, FIELDS)
        if self.out and not self.report:
            raise BadInput(f"--out {self.out} is for the report: leave out --no-report.")
        if self.out and (self.out.is_dir() or not os.access(self.out.absolute().parent, os.W_OK)):
            raise BadInput(f"--out {self.out} cannot be written: give a file in a writable folder.")

    @property
    def fields(self) -> list[str]:
        """What may differ."""
        return [name for text in self.allow for name in text.split(",") if name]


def flat(groups: Sequence[Sequence[str]]) -> list[str]:
    """All words of a flag, each once, in their order."""
    return list(dict.fromkeys(word for group in groups for word in group))


@dataclass(frozen=True)
class CompareMethodsSettings:
    """Compares compression methods on one model."""

    methods: tuple[str, ...] = ("sparsegpt", "sparsegpt:mode=sequential")
    """Methods with their options, separated by spaces."""

    model: str = "tiny-5m"
    """Embedded model (tiny-1m, tiny-5m), local folder, or hub id."""

    sparsity: Annotated[tuple[float, ...], listed(parse_sparsity, "LOW:HIGH:STEP|LEVEL,...")] = (
        0.4,
        0.5,
        0.6,
        0.7,
    )
    """Sparsity levels: a range or a list, in [0, 1)."""

    benchmarks: Annotated[tuple[str, ...], listed(parse_benchmarks, "NAME,...")] = (
        "arithmetic",
        "deduction",
        "timeline",
        "hops",
    )
    """Benchmarks to ask."""

    questions: int = 50
    """Questions per benchmark."""

    budget: int = 384
    """Thinking tokens at most."""

    engine: str = "transformers"
    """What runs the model, with options if any: transformers:slots=32."""

    seed: int = 0
    """Seed of calibration and sampling."""

    def __post_init__(self) -> None:
        if not self.methods:
            raise BadInput("No method is given: name one or more, as in --methods sparsegpt wanda.")
        for name in ("questions", "budget"):
            if getattr(self, name) < 1:
                raise BadInput(f"--{name} {getattr(self, name)} is too few: give 1 or more.")
        if self.seed < 0:
            raise BadInput(f"--seed {self.seed} is negative: give 0 or more.")
