"""Writes a study or an import into a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from mlflow.entities import Metric

from lrm.errors import BadInput
from tracking.backend import Backend
from tracking.bundles import ProgressCallback, Writer, new_bundle
from tracking.manifest import (
    HOMES,
    LINKS,
    NOT_CARRIED,
    PARTS,
    BundledKind,
    BundledRun,
    Manifest,
    Status,
    Value,
)
from tracking.origin import ORIGIN_STORE, origin, store_id
from tracking.processes import marks
from tracking.provenance import installed, redact
from tracking.stored_run import StoredRun


def export(
    backend: Backend,
    address: str,
    home: StoredRun,
    out: Path,
    unfinished: bool,
    on_progress: ProgressCallback,
) -> Manifest:
    """Writes an import, or a study's finished runs, into a bundle.

    `home` is the run of the study or import, `address` the store's without credentials. Raises
    BadInput if `home` is something else, or if it is unfinished and `unfinished` is not given.
    """
    if home.kind not in HOMES:
        raise BadInput(
            f"Run {home.id} ({home.name}) is a {home.kind or 'run of something else'}: give the "
            "study that it belongs to with --study, or the run of a study or an import."
        )
    study = home.tags["study"]
    if home.unfinished and not unfinished:
        raise BadInput(
            f"{home.kind.capitalize()} {study!r} is unfinished ({home.unfinished}): let it go on "
            "to its end, or export what is finished of it with --unfinished."
        )
    parts = [
        run
        for kind in (PARTS if home.kind == "study" else ())
        for run in reversed(backend.runs(kind, study))
        if run.unfinished is None
    ]
    store = store_id(backend)
    with new_bundle(out) as writer:
        bundled = []
        for done, run in enumerate((home, *parts), 1):
            bundled.append(_bundled(backend, run, store, writer))
            on_progress("exporting", done, len(parts) + 1)
        ids = set(backend.experiments.values())
        experiments = [backend.client.get_experiment(experiment_id) for experiment_id in ids]
        manifest = Manifest(
            study=study,
            lrm=installed("lrm") or "unknown",
            exported=datetime.now(UTC).isoformat(timespec="microseconds"),
            store=home.tags.get(ORIGIN_STORE, address),
            store_id=store,
            experiments={str(item.name): str(item.experiment_id) for item in experiments},
            team=home.tags.get("team", ""),
            owner=home.tags.get("owner", home.tags.get("mlflow.user", "")),
            unfinished=redact(home.unfinished or ""),
            runs=bundled,
        )
        writer.finish(manifest)
    return manifest


def _bundled(backend: Backend, run: StoredRun, store: str, writer: Writer) -> BundledRun:
    with TemporaryDirectory() as folder:
        run.download(Path(folder))
        files = writer.add(run.id, Path(folder))
    info, tags = run.entity.info, run.tags
    links = {tag: tags[tag] for tag in LINKS if tag in tags}
    if ended := info.status in ("FINISHED", "FAILED", "KILLED"):
        reason = {}
    else:
        reason = {"reason": f"exported while it was {info.status}"}
    dropped = {*NOT_CARRIED, *marks(tags)}
    kept = {name: redact(value) for name, value in tags.items() if name not in dropped}
    return BundledRun(
        id=run.id,
        origin=origin(run, store),
        kind=cast(BundledKind, run.kind),
        name=redact(run.name),
        status=cast(Status, info.status) if ended else "KILLED",
        start=int(info.start_time),
        end=int(info.end_time or info.start_time),
        params={name: redact(value) for name, value in run.params.items()},
        tags=kept | reason,
        links=links,
        metrics=_metrics(backend, run),
        files=files,
    )


def _metrics(backend: Backend, run: StoredRun) -> dict[str, list[Value]]:
    """All values of all metrics."""
    if run.kind == "trial":
        # A trial has one of each, and they came with its run: asking for each takes a second a run.
        points: dict[str, Sequence[Metric]] = {
            metric.key: [metric] for metric in run.entity.data.to_proto().metrics
        }
    else:
        points = {name: backend.client.get_metric_history(run.id, name) for name in run.metrics}
    return {
        name: [Value(point.step, point.value, point.timestamp) for point in points[name]]
        for name in sorted(points)
    }
