"""Studies and runs of several teams side by side, from one or more stores; no model is run.

Example:
    python -m experiments.compare --study A --study B
    python -m experiments.compare --tag team=alpha --tag team=beta --tracking-uri URI URI
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command import command, uncollected
from experiments.comparison.settings import CompareSettings


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Compares; returns the exit status.

    The store is mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: CompareSettings) -> str:
        with uncollected():
            from experiments.comparison import result

        return result.run(settings, root)

    stopped = "The same command starts again."
    return command(CompareSettings, "compare", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
