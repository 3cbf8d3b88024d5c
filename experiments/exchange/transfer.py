"""A study or an import written to a bundle, or brought in from one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from experiments.cli.command import uncollected
from experiments.exchange.settings import Export, Import
from tracking import exchange
from tracking.bundle_import import Arrival
from tracking.bundles import ProgressCallback, open_bundle
from tracking.manifest import Manifest
from tracking.store import open_store


def export(settings: Export, root: Path | None) -> str:
    """Writes the bundle; returns the lines to print."""
    with uncollected():  # MLflow is imported here
        store = open_store(settings.tracking_uri, root)
    with stage_bars() as tell:
        run_id = settings.run or store.study_runs(settings.study or "")[0].id
        manifest = exchange.export(store, run_id, settings.out, settings.unfinished, tell)
    runs, files = len(manifest.runs), sum(len(run.files) for run in manifest.runs)
    size = settings.out.stat().st_size
    lines = [
        f"Bundle: {settings.out.resolve()} ({size:,} bytes: {runs} runs, {files} files of "
        f"{manifest.runs[0].kind} {manifest.study!r})"
    ]
    if manifest.unfinished:
        lines.append(
            f"The study is unfinished ({manifest.unfinished}); only what is finished is in it."
        )
    return "\n".join(lines)


def bring_in(settings: Import, root: Path | None) -> str:
    """Checks the bundle, then makes its runs; returns the lines to print."""
    with stage_bars() as tell:
        bundle = open_bundle(settings.file, tell)
        store = open_store(settings.tracking_uri, root)
        arrival = exchange.bring_in(store, bundle, settings.as_, tell)
    return "\n".join(
        (
            _arrived(arrival, bundle.manifest),
            f"Look further: {store.ui_command()}",
            f"  {store.ui}{store.pages.run(arrival.kind, arrival.run_id)}  report, figures, front",
        )
    )


def _arrived(arrival: Arrival, manifest: Manifest) -> str:
    """What was new, in one sentence."""
    whose = f"of team {manifest.team}" if manifest.team else f"of {manifest.owner or 'unknown'}"
    study = f"{arrival.kind.capitalize()} {arrival.study!r} {whose}, from {manifest.store}"
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
def stage_bars() -> Iterator[ProgressCallback]:
    """A bar on stderr for each stage that takes longer than a second; one bar at a time."""
    with ExitStack() as stack:
        bars: dict[str, tqdm[NoReturn]] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                stack.close()  # two bars at once would move the cursor up and down
                bar = tqdm(desc=stage, total=total, file=sys.stderr, delay=1, leave=False)
                bars[stage] = stack.enter_context(bar)
            bars[stage].update(done - bars[stage].n)

        yield tell
