"""A study or an import in one file, from one store to another: runs, replies, front and report.

Example:
    python -m experiments.bundle export --study NAME --out FILE.zip
    python -m experiments.bundle export --run RUN_ID --out FILE.zip
    python -m experiments.bundle import FILE.zip
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from experiments.cli.command import command, uncollected
from lrm.errors import BadInput

if TYPE_CHECKING:
    from tracking.bundle_import import Arrival
    from tracking.bundles import ProgressCallback
    from tracking.manifest import Manifest


@dataclass(frozen=True)
class Export:
    """Writes a study with its runs, or an import, to a bundle. No address in it has a password."""

    out: Path
    """File to write, replaced if it is there."""

    study: str | None = None
    """The study, by its name."""

    run: str | None = None
    """The import (replies made elsewhere), or the study, by the id of its run."""

    unfinished: bool = False
    """Export a study that has not reached its end: what is finished of it, and marked so."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""

    def __post_init__(self) -> None:
        if (self.study is None) == (self.run is None):
            raise BadInput("Give what to export: --study NAME, or --run ID of an import.")
        if self.out.is_dir() or not os.access(self.out.absolute().parent, os.W_OK):
            raise BadInput(f"--out {self.out} cannot be written: give a file in a writable folder.")


@dataclass(frozen=True)
class Import:
    """Brings a bundle in, once: a second time changes nothing, and what was stopped goes on.

    The whole bundle is checked before anything is written.
    """

    file: tyro.conf.Positional[Path]
    """The bundle."""

    as_: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """What to call it here, if another study has its name."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""


KIND: Any = (
    Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Import, tyro.conf.subcommand("import")]
)


def export(settings: Export, root: Path | None) -> str:
    """Writes the bundle; returns what to tell."""
    with uncollected():
        from tracking.store import open_store

        store = open_store(settings.tracking_uri, root)
    with _bar() as on_progress:
        home = settings.run or store.study_runs(settings.study or "")[0].id
        told = store.export(home, settings.out, settings.unfinished, on_progress)
    runs, files = len(told.runs), sum(len(run.files) for run in told.runs)
    size = settings.out.stat().st_size
    lines = [
        f"Bundle: {settings.out.resolve()} ({size:,} bytes: {runs} runs, {files} files of "
        f"{told.runs[0].kind} {told.study!r})"
    ]
    if told.unfinished:
        lines.append(
            f"The study is unfinished ({told.unfinished}); only what is finished is in it."
        )
    return "\n".join(lines)


def bring_in(settings: Import, root: Path | None) -> str:
    """Checks the bundle, then makes its runs; returns what to tell."""
    with uncollected():
        from tracking.bundles import open_bundle
        from tracking.store import open_store

    with _bar() as on_progress:
        bundle = open_bundle(settings.file, on_progress)
        store = open_store(settings.tracking_uri, root)
        arrival = store.bring_in(bundle, settings.as_, on_progress)
    return "\n".join(
        (
            _arrived(arrival, bundle.manifest),
            f"Look further: {store.ui_command()}",
            f"  {store.ui}{store.pages.run(arrival.kind, arrival.run_id)}  report, figures, front",
        )
    )


def _arrived(arrival: Arrival, told: Manifest) -> str:
    whose = f"of team {told.team}" if told.team else f"of {told.owner or 'unknown'}"
    study = f"{arrival.kind.capitalize()} {arrival.study!r} {whose}, from {told.store}"
    if arrival.own:
        return f"{study}: it was made in this store; nothing was changed."
    if not arrival.new + arrival.completed:
        return f"{study}: all {arrival.known} runs are here already; nothing was changed."
    counts = (
        f"{arrival.new} runs are new",
        f"{arrival.completed} were completed" if arrival.completed else "",
        f"{arrival.known} were here already" if arrival.known else "",
    )
    return f"{study}: {', '.join(filter(None, counts))}."


@contextmanager
def _bar() -> Iterator[ProgressCallback]:
    """A bar on stderr for each stage that takes longer than a moment."""
    from tqdm import tqdm

    with ExitStack() as stack:
        bars: dict[str, Any] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()  # two at a time would move the cursor up and down
                bar = tqdm(desc=stage, total=total, file=sys.stderr, delay=1, leave=False)
                bars[stage] = stack.enter_context(bar)
            bars[stage].update(done - bars[stage].n)

        yield on_progress


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Exports or imports; returns the exit status.

    The store is mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: Export | Import) -> str:
        return export(settings, root) if isinstance(settings, Export) else bring_in(settings, root)

    stopped = "The same command goes on from here."
    return command(KIND, "bundle", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
