"""A study or an import in one file, from one store to another: runs, replies, front and report.

Example:
    python -m experiments.bundle export --study NAME --out FILE.zip
    python -m experiments.bundle export --run RUN_ID --out FILE.zip
    python -m experiments.bundle import FILE.zip
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command import command, uncollected
from experiments.exchange.settings import Export, ExportOrImport, Import


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Exports or imports; returns the exit status.

    The store is mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: Export | Import) -> str:
        with uncollected():
            from experiments.exchange import transfer

        if isinstance(settings, Export):
            return transfer.export(settings, root)
        return transfer.bring_in(settings, root)

    stopped = "The same command goes on from here."
    return command(ExportOrImport, "bundle", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
