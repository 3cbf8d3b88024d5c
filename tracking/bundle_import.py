"""Brings the runs of a bundle into a store, each once and whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Metric

from lrm.errors import BadInput
from tracking.backend import Backend
from tracking.bundles import Bundle, ProgressCallback
from tracking.manifest import (
    DIGEST,
    EXPORTED,
    HOMES,
    PARTS,
    BundledKind,
    BundledRun,
    Manifest,
)
from tracking.notes import NOTE, moved
from tracking.origin import ORIGIN, ORIGIN_RUN, ORIGIN_STORE, ORIGIN_STUDY, store_id
from tracking.processes import HOST, is_alive, this_process
from tracking.stored_run import StoredRun
from tracking.views import Pages, offer_charts

KINDS: tuple[BundledKind, ...] = (*HOMES, *PARTS)


@dataclass(frozen=True)
class Arrival:
    """What an import did: how many runs were new, completed, or here already.

    `own`: the study or import was made in this store.
    """

    kind: BundledKind
    study: str
    run_id: str
    new: int = 0
    completed: int = 0
    known: int = 0
    own: bool = False


def bring_in(
    backend: Backend, bundle: Bundle, folder: Path, name: str | None, on_progress: ProgressCallback
) -> Arrival:
    """Makes the runs of a bundle, or completes what an earlier import left half-done.

    Processes that share `folder` do so one after the other.
    """
    with FileLock(folder / ".import.lock"):
        return _brought_in(backend, bundle, name, on_progress)


def _brought_in(
    backend: Backend, bundle: Bundle, name: str | None, on_progress: ProgressCallback
) -> Arrival:
    manifest = bundle.manifest
    study = manifest.runs[0]
    home, _, own_id = study.origin.partition("/")
    own = backend.find_run(own_id) if home == store_id(backend) else None
    if own and own.entity.info.lifecycle_stage == "active":
        return Arrival(study.kind, own.tags["study"], own.id, known=len(manifest.runs), own=True)
    here = {run.tags[ORIGIN]: run for run in backend.search(_of_study(study.origin), KINDS)}
    name = _settled(backend, manifest, here.get(study.origin), name)
    ids = {run.id: here[run.origin].id for run in manifest.runs if run.origin in here}
    todo = [run for run in manifest.runs if not _is_whole(here.get(run.origin), run, ids)]
    if not todo:
        return Arrival(study.kind, name, ids[study.id], known=len(manifest.runs))
    destination = _Destination(backend, bundle, name, here, ids)
    with destination.arriving(study):
        for done, run in enumerate((run for run in todo if run is not study), 1):
            with destination.arriving(run):
                pass
            on_progress("importing", done, len(todo))
    if study.kind == "study":
        offer_charts(backend.client, Pages(backend.experiments), ids[study.id], name)
    on_progress("importing", len(todo), len(todo))
    old = sum(run.origin in here for run in todo)
    known = len(manifest.runs) - len(todo)
    return Arrival(study.kind, name, ids[study.id], len(todo) - old, old, known)


def _of_study(origin: str) -> str:
    """The search condition for what was brought in with a study."""
    return f"tags.`{ORIGIN_STUDY}` = '{origin}'"


def _settled(
    backend: Backend, manifest: Manifest, known: StoredRun | None, name: str | None
) -> str:
    """The study's name here. `known` is its run here, if there is one.

    Raises BadInput where the name is taken, where a newer export is here, and where another process
    is bringing it in.
    """
    if known:
        here = known.tags["study"]
        if known.entity.info.status == "RUNNING" and _is_at_work(known.tags):
            raise BadInput(
                f"{here!r} is being brought in by process {known.tags['pid']} on "
                f"{known.tags['host']}: wait for its end. If that machine is gone, delete run "
                f"{known.id} in the UI; then the same command goes on."
            )
        if name not in (None, here):
            raise BadInput(
                f"This study is here already, as {here!r}: give --as {here!r}, or leave it out."
            )
        if known.tags.get(EXPORTED, "") > manifest.exported:
            raise BadInput(
                f"A newer export of study {here!r}, of {known.tags[EXPORTED]}, is here already: "
                f"the one of {manifest.exported} was not brought in."
            )
        return here
    wanted = name or manifest.study
    if manifest.runs[0].kind == "study" and backend.find("study", wanted):
        raise BadInput(
            f"Another study here is called {wanted!r}: bring this one in under another name with "
            "--as NAME."
        )
    return wanted


def _is_at_work(tags: Mapping[str, str]) -> bool:
    """Whether the process of these tags may still run; on another machine it may."""
    return tags["host"] != HOST or is_alive(tags)


def _is_whole(stored: StoredRun | None, run: BundledRun, ids: Mapping[str, str]) -> bool:
    """Whether a run was brought in to its end, from a bundle that held the same of it, and is
    linked to the runs that are here."""
    if stored is None or stored.entity.info.status != run.status:
        return False
    linked = all(stored.tags.get(tag) == ids.get(to, to) for tag, to in run.links.items())
    return linked and stored.tags.get(DIGEST) == run.digest


@dataclass(frozen=True)
class _Destination:
    """Where a bundle's runs go. `here` has the runs that are there already, by their origin; `ids`
    has the ids there, by the ids in the bundle."""

    backend: Backend
    bundle: Bundle
    name: str
    here: Mapping[str, StoredRun]
    ids: dict[str, str]

    @cached_property
    def experiments(self) -> dict[str, str]:
        """The ids of experiments here by those in the bundle."""
        client, bundled = self.backend.client, self.bundle.manifest.experiments
        here = [client.get_experiment(self.backend.experiments[kind]) for kind in KINDS]
        return {
            bundled[experiment.name]: str(experiment.experiment_id)
            for experiment in here
            if experiment.name in bundled
        }

    @contextmanager
    def arriving(self, run: BundledRun) -> Iterator[None]:
        """The run is open as one of this process during the block, then written and closed as it
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
                    backend.client.log_artifacts(run_id, folder)
            if "reason" in self._left(run) and "reason" not in tags:
                backend.client.delete_tag(run_id, "reason")
            backend.client.set_terminated(run_id, run.status, run.end)
            last = {name: tags[name] for name in of_writer if name in tags}
            backend.log(run_id, [], {}, {**last, DIGEST: run.digest})

    def _left(self, run: BundledRun) -> Mapping[str, str]:
        """The tags that an earlier import left on the run."""
        stored = self.here.get(run.origin)
        return stored.tags if stored else {}

    def _opened(self, run: BundledRun) -> str:
        """The id of the run, made if it is not here; it has its origin from its beginning.

        Raises BadInput where another process made the study's run at the same moment: each looks
        after it made its own, so that at most one goes on.
        """
        client, stored = self.backend.client, self.here.get(run.origin)
        tags = {**self._origin(run), **this_process(), "kind": run.kind, "study": self.name}
        if stored:
            client.reopen_run(stored.id)
            self.backend.log(stored.id, [], {}, tags)
            return stored.id
        name = self.name if run.kind == "study" else run.name
        experiment = self.backend.experiments[run.kind]
        made_id = client.create_run(experiment, name, tags, start_time=run.start)
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
        manifest = self.bundle.manifest
        return {
            ORIGIN: run.origin,
            ORIGIN_STUDY: manifest.runs[0].origin,
            ORIGIN_STORE: manifest.store,
            ORIGIN_RUN: run.origin.partition("/")[2],
        }
