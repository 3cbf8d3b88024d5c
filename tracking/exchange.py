"""Studies and imports from store to store: into a bundle, and out of it, once and whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from filelock import FileLock
from mlflow.entities import Metric

from lrm.digests import of_json
from lrm.errors import BadInput
from tracking.backend import Backend
from tracking.bundles import Bundle, Tell, Writer, new_bundle
from tracking.manifest import HOMES, LINKS, BundledRun, Kind, Manifest, Status, Value
from tracking.notes import NOTE, moved
from tracking.processes import HOST, is_alive, marks, this_process
from tracking.provenance import installed, redact
from tracking.stored_run import StoredRun
from tracking.views import Pages, offer_charts

ORIGIN = "origin"
ORIGIN_STUDY = "origin.study"
ORIGIN_STORE = "origin.store"
ORIGIN_RUN = "origin.run_id"
DIGEST = "bundle.digest"
EXPORTED = "bundle.exported"
NOT_CARRIED = (*LINKS, DIGEST, EXPORTED, "mlflow.runName")
PARTS: tuple[Kind, ...] = ("level", "trial")
KINDS: tuple[Kind, ...] = (*HOMES, *PARTS)


@dataclass(frozen=True)
class Arrival:
    """What bringing in did: so many runs were new, so many completed, so many here already.

    `own`: the study or import was made in this very store.
    """

    kind: Kind
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


def origin(record: StoredRun, store: str) -> str:
    """What names a run in every store: the id of its first one, and its id there."""
    return record.tags.get(ORIGIN, f"{store}/{record.id}")


def export(
    backend: Backend, address: str, root: StoredRun, out: Path, unfinished: bool, tell: Tell
) -> Manifest:
    """Writes an import, or a study's finished runs, into a bundle; an unfinished one if told so."""
    if root.kind not in HOMES:
        raise BadInput(
            f"Run {root.id} ({root.name}) is a {root.kind or 'run of something else'}: give the "
            "study that it belongs to with --study, or the run of a study or an import."
        )
    study = root.tags["study"]
    if root.unfinished and not unfinished:
        raise BadInput(
            f"{root.kind.capitalize()} {study!r} is unfinished ({root.unfinished}): let it go on "
            "to its end, or export what is finished of it with --unfinished."
        )
    parts = [
        one
        for kind in (PARTS if root.kind == "study" else ())
        for one in reversed(backend.records(kind, study))
        if one.unfinished is None
    ]
    store = store_id(backend)
    with new_bundle(out) as writer:
        runs = []
        for done, record in enumerate((root, *parts), 1):
            runs.append(_bundled(backend, record, store, writer))
            tell("exporting", done, len(parts) + 1)
        places = [backend.client.get_experiment(one) for one in set(backend.experiments.values())]
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
        writer.finish(manifest)
    return manifest


def _bundled(backend: Backend, record: StoredRun, store: str, writer: Writer) -> BundledRun:
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
        metrics=_metrics(backend, record),
        files=files,
    )


def _metrics(backend: Backend, record: StoredRun) -> dict[str, list[Value]]:
    """All values of all metrics. A trial has one of each, and they came with its run: to ask for
    each again takes a second a run."""
    if record.kind == "trial":
        found = {one.key: [one] for one in record.run.data.to_proto().metrics}
    else:
        client = backend.client
        found = {name: client.get_metric_history(record.id, name) for name in record.metrics}
    return {
        name: [Value(point.step, point.value, point.timestamp) for point in found[name]]
        for name in sorted(found)
    }


def bring_in(
    backend: Backend, bundle: Bundle, folder: Path, name: str | None, tell: Tell
) -> Arrival:
    """Makes the runs of a bundle, or completes what an earlier import left half-done.

    Processes that share `folder` do so one after the other.
    """
    with FileLock(folder / ".import.lock"):
        return _brought_in(backend, bundle, name, tell)


def _brought_in(backend: Backend, bundle: Bundle, name: str | None, tell: Tell) -> Arrival:
    told = bundle.manifest
    study = told.runs[0]
    home, _, own_id = study.origin.partition("/")
    own = backend.find_run(own_id) if home == store_id(backend) else None
    if own and own.run.info.lifecycle_stage == "active":
        return Arrival(study.kind, own.tags["study"], own.id, known=len(told.runs), own=True)
    here = {one.tags[ORIGIN]: one for one in backend.search(_of_study(study.origin), KINDS)}
    name = _settled(backend, told, here.get(study.origin), name)
    ids = {run.id: here[run.origin].id for run in told.runs if run.origin in here}
    todo = [run for run in told.runs if not _is_whole(here.get(run.origin), run, ids)]
    if not todo:
        return Arrival(study.kind, name, ids[study.id], known=len(told.runs))
    place = _Place(backend, bundle, name, here, ids)
    with place.arriving(study):
        for done, run in enumerate((run for run in todo if run is not study), 1):
            with place.arriving(run):
                pass
            tell("importing", done, len(todo))
    if study.kind == "study":
        offer_charts(backend.client, Pages(backend.experiments), ids[study.id], name)
    tell("importing", len(todo), len(todo))
    old = sum(run.origin in here for run in todo)
    known = len(told.runs) - len(todo)
    return Arrival(study.kind, name, ids[study.id], len(todo) - old, old, known)


def _of_study(origin: str) -> str:
    """The search condition for what was brought in with a study."""
    return f"tags.`{ORIGIN_STUDY}` = '{origin}'"


def _settled(backend: Backend, told: Manifest, known: StoredRun | None, name: str | None) -> str:
    """The study's name here. Raises BadInput where it is taken, where a newer export is here, and
    where another process is bringing it in."""
    if known:
        here = known.tags["study"]
        if known.run.info.status == "RUNNING" and _is_at_work(known.tags):
            raise BadInput(
                f"{here!r} is being brought in by process {known.tags['pid']} on "
                f"{known.tags['host']}: wait for its end. If that machine is gone, delete run "
                f"{known.id} in the UI; then the same command goes on."
            )
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
    if told.runs[0].kind == "study" and backend.find("study", wanted):
        raise BadInput(
            f"Another study here is called {wanted!r}: bring this one in under another name with "
            "--as NAME."
        )
    return wanted


def _is_at_work(tags: Mapping[str, str]) -> bool:
    """Whether the process of these tags may still run; of another machine nobody knows."""
    return tags["host"] != HOST or is_alive(tags)


def _is_whole(record: StoredRun | None, run: BundledRun, ids: Mapping[str, str]) -> bool:
    """Whether a run was brought in to its end, from a bundle that held the same of it, and is
    linked to the runs that are here."""
    if record is None or record.run.info.status != run.status:
        return False
    linked = all(record.tags.get(tag) == ids.get(to, to) for tag, to in run.links.items())
    return linked and record.tags.get(DIGEST) == run.digest


@dataclass(frozen=True)
class _Place:
    """Where a bundle's runs go: `here` has those that are there by their origin, `ids` their ids by
    the id that the bundle has for them."""

    backend: Backend
    bundle: Bundle
    name: str
    here: Mapping[str, StoredRun]
    ids: dict[str, str]

    @cached_property
    def experiments(self) -> dict[str, str]:
        """The ids of experiments here by those in the bundle."""
        found = map(self.backend.client.get_experiment, map(self.backend.experiments.get, KINDS))
        told = self.bundle.manifest.experiments
        return {told[one.name]: str(one.experiment_id) for one in found if one.name in told}

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
        """The id of the run, made if it is not here; it has its origin from the first.

        Raises BadInput where another process made the study's run at the same moment: each looks
        when its own is there, so that at most one goes on.
        """
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
        made_id = str(made.info.run_id)
        if run.kind in HOMES and len(self.backend.search(_of_study(run.origin), [run.kind])) > 1:
            client.delete_run(made_id)
            raise BadInput(
                f"Another process began to bring in {self.name!r} at the same moment, so this one "
                "stopped: give the same command again in a while."
            )
        return made_id

    def _tags(self, run: BundledRun) -> dict[str, str]:
        links = {tag: self.ids.get(to, to) for tag, to in run.links.items()}
        own = {"study": self.name, EXPORTED: self.bundle.manifest.exported}
        note = {NOTE: moved(run.tags[NOTE], self.ids, self.experiments)} if NOTE in run.tags else {}
        return {**run.tags, **self._origin(run), **links, **own, **note}

    def _origin(self, run: BundledRun) -> dict[str, str]:
        told = self.bundle.manifest
        return {
            ORIGIN: run.origin,
            ORIGIN_STUDY: told.runs[0].origin,
            ORIGIN_STORE: told.store,
            ORIGIN_RUN: run.origin.partition("/")[2],
        }
