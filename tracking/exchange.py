"""Studies between stores: out of one into a bundle, from a bundle into another, once and whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from mlflow.entities import Metric

from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.files import atomic
from tracking.archive import Record
from tracking.backend import Backend
from tracking.bundles import Bundle, Tell, Writer
from tracking.manifest import LINKS, BundledRun, Kind, Manifest, Status, Value
from tracking.processes import marks, this_process
from tracking.provenance import installed, redact

ORIGIN = "origin"
ORIGIN_STUDY = "origin.study"
ORIGIN_STORE = "origin.store"
ORIGIN_RUN = "origin.run_id"
DIGEST = "bundle.digest"
EXPORTED = "bundle.exported"
NOT_CARRIED = (*LINKS, DIGEST, EXPORTED, "mlflow.runName")
KINDS: tuple[Kind, ...] = ("study", "level", "trial")


@dataclass(frozen=True)
class Arrival:
    """What an import did: so many runs were new, so many completed, so many here already.

    `own`: the study was made in this very store.
    """

    study: str
    run_id: str
    new: int = 0
    completed: int = 0
    known: int = 0
    own: bool = False


def store_id(backend: Backend) -> str:
    """Names a store, by whatever address it is reached and wherever its folder is moved: a digest
    of its experiments' ids and times of creation."""
    found = map(backend.client.get_experiment, dict.fromkeys(backend.experiments.values()))
    return of_json([[one.name, one.experiment_id, one.creation_time] for one in found])[:16]


def origin(record: Record, store: str) -> str:
    """What names a run in every store: the id of its first one, and its id there."""
    return record.tags.get(ORIGIN, f"{store}/{record.id}")


def export(
    backend: Backend, address: str, study: str, out: Path, unfinished: bool, tell: Tell
) -> Manifest:
    """Writes the finished runs of a study into a bundle; of one that is unfinished if told so."""
    root = backend.study(study)
    if root.unfinished and not unfinished:
        raise BadInput(
            f"Study {study!r} is unfinished ({root.unfinished}): let the search go on to its end, "
            "or export what is finished of it with --unfinished."
        )
    parts = [
        one
        for kind in KINDS[1:]
        for one in reversed(backend.records(kind, study))
        if one.unfinished is None
    ]
    store = store_id(backend)
    with atomic(out) as file:
        writer, runs = Writer(file), []
        for done, record in enumerate((root, *parts), 1):
            runs.append(_bundled(backend, record, store, writer))
            tell("exporting", done, len(parts) + 1)
        places = [backend.client.get_experiment(backend.experiments[kind]) for kind in KINDS]
        manifest = Manifest(
            study=study,
            lrm=installed("lrm") or "unknown",
            exported=datetime.now(UTC).isoformat(timespec="microseconds"),
            store=root.tags.get(ORIGIN_STORE, address),
            store_id=store,
            experiments={str(place.name): str(place.experiment_id) for place in places},
            team=root.tags.get("team", ""),
            owner=root.tags.get("owner", root.tags.get("mlflow.user", "")),
            unfinished=redact(root.unfinished or ""),
            runs=runs,
        )
        writer.close(manifest)
    return manifest


def _bundled(backend: Backend, record: Record, store: str, writer: Writer) -> BundledRun:
    with TemporaryDirectory() as folder:
        record.download(Path(folder))
        files = writer.add(record.id, Path(folder))
    info, tags = record.run.info, record.tags
    links = {tag: tags[tag] for tag in LINKS if tag in tags}
    if ended := info.status in ("FINISHED", "FAILED", "KILLED"):
        reason = {}
    else:
        reason = {"reason": f"exported while it was {info.status}"}
    left = {*NOT_CARRIED, *marks(tags)}
    kept = {name: redact(value) for name, value in tags.items() if name not in left}
    return BundledRun(
        id=record.id,
        origin=origin(record, store),
        kind=cast(Kind, record.kind),
        name=redact(record.name),
        status=cast(Status, info.status) if ended else "KILLED",
        start=int(info.start_time),
        end=int(info.end_time or info.start_time),
        params={name: redact(value) for name, value in record.params.items()},
        tags=kept | reason,
        links=links,
        metrics={
            name: [
                Value(point.step, point.value, point.timestamp)
                for point in backend.client.get_metric_history(record.id, name)
            ]
            for name in sorted(record.metrics)
        },
        files=files,
    )


def bring_in(backend: Backend, bundle: Bundle, name: str | None, tell: Tell) -> Arrival:
    """Makes the runs of a bundle, or completes what an earlier import left half-done."""
    told = bundle.manifest
    study, *parts = told.runs
    home, _, own_id = study.origin.partition("/")
    own = backend.find_run(own_id) if home == store_id(backend) else None
    if own and own.run.info.lifecycle_stage == "active":
        return Arrival(own.tags["study"], own.id, known=len(told.runs), own=True)
    here = {
        one.tags[ORIGIN]: one
        for one in backend.search(f"tags.`{ORIGIN_STUDY}` = '{study.origin}'", KINDS)
    }
    name = _settled(backend, told, here.get(study.origin), name)
    todo = [run for run in told.runs if not _is_whole(here.get(run.origin), run)]
    if not todo:
        return Arrival(name, here[study.origin].id, known=len(told.runs))
    ids: dict[str, str] = {run.id: here[run.origin].id for run in parts if run.origin in here}
    place = _Place(backend, bundle, name, here, ids)
    with place.arriving(study):
        for done, run in enumerate((run for run in todo if run is not study), 1):
            with place.arriving(run):
                pass
            tell("importing", done, len(todo))
    tell("importing", len(todo), len(todo))
    old = sum(run.origin in here for run in todo)
    return Arrival(name, ids[study.id], len(todo) - old, old, len(told.runs) - len(todo))


def _settled(backend: Backend, told: Manifest, known: Record | None, name: str | None) -> str:
    """The study's name here. Raises BadInput where it is taken, or a newer export is here."""
    if known:
        here = known.tags["study"]
        if name not in (None, here):
            raise BadInput(
                f"This study is here already, as {here!r}: give --as {here!r}, or leave it out."
            )
        if known.tags.get(EXPORTED, "") > told.exported:
            raise BadInput(
                f"A newer export of study {here!r}, of {known.tags[EXPORTED]}, is here already: "
                f"the one of {told.exported} was not brought in."
            )
        return here
    wanted = name or told.study
    if backend.find("study", wanted):
        raise BadInput(
            f"Another study here is called {wanted!r}: bring this one in under another name with "
            "--as NAME."
        )
    return wanted


def _is_whole(record: Record | None, run: BundledRun) -> bool:
    """Whether a run was brought in to its end, from a bundle that held the same of it."""
    if record is None or record.run.info.status != run.status:
        return False
    return record.tags.get(DIGEST) == run.digest


@dataclass(frozen=True)
class _Place:
    """Where a bundle's runs go: `here` has those that are there by their origin, `ids` their ids by
    the id that the bundle has for them."""

    backend: Backend
    bundle: Bundle
    name: str
    here: Mapping[str, Record]
    ids: dict[str, str]

    @contextmanager
    def arriving(self, run: BundledRun) -> Iterator[None]:
        """The run is open as this process's while the block goes on, then written and closed as it
        was. Its digest comes last: without it the run is half-done, whatever its status says."""
        backend = self.backend
        run_id = self.ids[run.id] = self._opened(run)
        with backend.failing(run_id):
            yield
            metrics = [
                Metric(name, value, time, step)
                for name, values in run.metrics.items()
                for step, value, time in values
            ]
            of_writer = this_process()
            tags = self._tags(run)
            backend.log(run_id, metrics, run.params, {**tags, **of_writer})
            with self.bundle.unpacked(run) as folder:
                if run.files:
                    backend.client.log_artifacts(run_id, str(folder))
            if "reason" in self._left(run) and "reason" not in tags:
                backend.untag(run_id, "reason")
            backend.client.set_terminated(run_id, run.status, run.end)
            last = {name: tags[name] for name in of_writer if name in tags}
            backend.log(run_id, [], {}, {**last, DIGEST: run.digest})

    def _left(self, run: BundledRun) -> Mapping[str, str]:
        """The tags that an earlier import left on the run."""
        found = self.here.get(run.origin)
        return found.tags if found else {}

    def _opened(self, run: BundledRun) -> str:
        """The id of the run, made if it is not here; it has its origin from the first."""
        client, found = self.backend.client, self.here.get(run.origin)
        marks = {**self._origin(run), **this_process(), "kind": run.kind, "study": self.name}
        if found:
            client.update_run(found.id, status="RUNNING")
            self.backend.log(found.id, [], {}, marks)
            return found.id
        made = client.create_run(
            self.backend.experiments[run.kind],
            start_time=run.start,
            run_name=self.name if run.kind == "study" else run.name,
            tags=marks,
        )
        return str(made.info.run_id)

    def _tags(self, run: BundledRun) -> dict[str, str]:
        links = {tag: self.ids.get(to, to) for tag, to in run.links.items()}
        own = {"study": self.name, EXPORTED: self.bundle.manifest.exported}
        return {**run.tags, **self._origin(run), **links, **own}

    def _origin(self, run: BundledRun) -> dict[str, str]:
        told = self.bundle.manifest
        return {
            ORIGIN: run.origin,
            ORIGIN_STUDY: told.runs[0].origin,
            ORIGIN_STORE: told.store,
            ORIGIN_RUN: run.origin.partition("/")[2],
        }
