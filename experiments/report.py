"""One HTML page from the stored generations of studies or of some runs; no model is run.

Example:
    python -m experiments.report --study NAME --out report.html
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.cli.command import command
from lrm.errors import BadInput


@dataclass(frozen=True)
class ReportSettings:
    """What to report on, and where to."""

    study: tuple[str, ...] = ()
    """Name of a search, or several names separated by spaces, to be compared."""

    runs: tuple[str, ...] = ()
    """Instead of searches, ids of runs (levels or imports), separated by spaces."""

    out: Path | None = None
    """File to write the page to as well; it is always kept in MLflow."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""

    def __post_init__(self) -> None:
        if bool(self.study) == bool(self.runs):
            raise BadInput("Give either --study NAME... or --runs ID..., and only one of them.")
        if self.out and (self.out.is_dir() or not _writable(self.out)):
            raise BadInput(f"--out {self.out} cannot be written: give a file in a writable folder.")


def _writable(file: Path) -> bool:
    return os.access(file if file.exists() else file.parent, os.W_OK)


def report(settings: ReportSettings, root: Path | None) -> str:
    """Makes and records the report; returns the lines to print."""
    from experiments.reporting import report_run, variants
    from lrm.files import write_atomic
    from tracking.store import open_store

    store = open_store(settings.tracking_uri, root)
    if settings.study:
        selection = variants.of_studies(store, settings.study)
    else:
        selection = variants.of_runs(store, settings.runs)
    page = report_run.made(selection)
    if settings.out:
        write_atomic(settings.out, page.html.encode())
    address = report_run.keep(store, selection, page)
    lines = [f"Report: {settings.out.resolve()}"] if settings.out else []
    return "\n".join((*lines, f"Kept in MLflow: {address}", *selection.left_out))


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Makes the report; returns its exit status.

    The store is mlruns/ under `root`, the project's folder if left out.
    """
    stopped = "The same command starts again."

    def work(settings: ReportSettings) -> str:
        return report(settings, root)

    return command(ReportSettings, "report", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
