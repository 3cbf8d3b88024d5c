"""The main job: searches sparsity x output-length budget for the accuracy-conciseness frontier.

Example:
    python -m experiments.sparsity_search --sparsity 0:0.7:0.1 --budgets 64,128,256 --questions 100
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command import command
from experiments.cli.settings import Settings

NAME = "sparsity_search"


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the job; returns its exit status.

    What is written goes to mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: Settings) -> str:
        from experiments.outcomes import sparsity
        from experiments.search import job, launch

        axis = job.sparsity_axis(settings)
        return launch.searched(NAME, arguments, settings, axis, root, sparsity.text)

    stopped = "Nothing is lost: the same command goes on from here."
    return command(Settings, NAME, __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
