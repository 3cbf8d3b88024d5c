"""Several compression methods side by side on one model.

Every method prunes the same model to the same sparsities. Perplexity and the error of the last
hidden states are measured on the dense model's replies to practice questions that no method was
calibrated on; accuracy and tokens per question are measured on the benchmarks. Checkpoints and
replies are kept in mlruns/, so that a second run repeats nothing.

Example:
    python -m experiments.compare_methods --methods sparsegpt wanda --sparsity 0.5,0.6
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command import command
from experiments.comparison.settings import CompareMethodsSettings


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the comparison; returns its exit status.

    What is written goes to mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: CompareMethodsSettings) -> str:
        from experiments.comparison import methods
        from tracking.address import project_root

        return methods.run(settings, (root or project_root()) / "mlruns")

    stopped = "Nothing is lost: the same command goes on from here."
    return command(CompareMethodsSettings, "compare_methods", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
