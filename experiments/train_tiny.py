"""Trains an embedded model again, scores it on held-out questions, and writes its card.

About 5 minutes for tiny-5m on one H100-class GPU; on a CPU it takes days. Stopping loses the run.

Example:
    python -m experiments.train_tiny --model tiny-1m --score-only
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.cli.command import command
from experiments.models.resolve import EMBEDDED
from lrm.errors import BadInput


@dataclass(frozen=True)
class Training:
    """Trains an embedded model."""

    model: str = "tiny-5m"
    """tiny-1m or tiny-5m."""

    out: Path = EMBEDDED
    """The folder that holds a folder for each model."""

    workers: int = 7
    """Processes that make training documents."""

    score_only: bool = False
    """Only score the model that is there, and write its card."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise BadInput(f"--workers {self.workers} is negative: give 0 or more.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains and scores; returns the exit status."""

    def work(settings: Training) -> str:
        from experiments.models.embedded import train_and_score

        return train_and_score(settings.model, settings.out, settings.workers, settings.score_only)

    return command(Training, "train_tiny", __doc__, arguments, work, "Nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
