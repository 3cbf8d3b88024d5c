"""Quantizes one part of a model alone, part after part: what does the model lose by each?

The model itself is measured, the recipe on all of it, and the recipe on every block, kind of layer
or single layer while all the rest stays in 16 bits, embeddings and output too. Each of these
checkpoints is nearly as large as the model.

Example:
    python -m experiments.sensitivity --recipe IQ1_M --by kind
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command import command
from experiments.cli.sensitivity_settings import SensitivitySettings

NAME = "sensitivity"


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the study; returns its exit status. What is written goes to mlruns/ under `root`."""

    def work(settings: SensitivitySettings) -> str:
        from experiments.outcomes import sensitivity
        from experiments.search import launch
        from experiments.search.sensitivity_axis import sensitivity_axis

        axis = sensitivity_axis(settings, sensitivity.SensitivityFindings)
        search = settings.search([str(key) for key in axis.keys])
        return launch.searched(NAME, arguments, search, axis, root, sensitivity.text)

    stopped = "Nothing is lost: the same command goes on from here."
    return command(SensitivitySettings, NAME, __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
