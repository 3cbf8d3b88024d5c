"""The main job: searches sparsity x output-length budget for the accuracy-conciseness frontier.

Example:
    python -m experiments.sparsity_search --sparsity 0:0.7:0.1 --budgets 64,128,256 --questions 100
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command import command
from experiments.settings import Settings


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the job; returns its exit status.

    What is written goes to mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: Settings) -> str:
        from experiments import present, search

        return present.text(search.run(settings, search.sparsity_axis(settings), root))

    stopped = "Nothing is lost: the same command goes on from here."
    return command(Settings, "sparsity_search", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
