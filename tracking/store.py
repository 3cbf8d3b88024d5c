"""One MLflow store, checked and prepared before any long work begins."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from mlflow.exceptions import MlflowException

from lrm.errors import BadInput
from tracking import address
from tracking.backend import Backend, Curves, Kind
from tracking.connecting import connect
from tracking.database_files import sqlite_uri
from tracking.names import check_name
from tracking.origin import origin, store_id
from tracking.owners import tags_of_every_run
from tracking.processes import sigterm_raises
from tracking.provenance import provenance, redact_address
from tracking.runs import LevelRun, StudyRun, open_import, open_report, open_study
from tracking.stored_run import StoredRun
from tracking.views import Pages

T = TypeVar("T")

LOCAL_UI = "http://127.0.0.1:5000"
TAG = re.compile(r"[\w./-]+")


@dataclass(frozen=True)
class Store:
    """An MLflow store that can be written to. `uri` is its address, a database's path absolute."""

    uri: str
    root: Path
    _backend: Backend

    def ui_command(self) -> str:
        """The command that shows the store, or the address of its server; without passwords."""
        if address.is_server(self.uri):
            return redact_address(self.uri)
        # The link at the root is where plain `mlflow ui` looks.
        if self.uri != sqlite_uri(self.root / "mlflow.db"):
            return f"mlflow ui --backend-store-uri {shlex.quote(redact_address(self.uri))}"
        here = Path.cwd() == self.root
        return "mlflow ui" if here else f"cd {shlex.quote(str(self.root))} && mlflow ui"

    @property
    def pages(self) -> Pages:
        """Addresses in the UI, relative to `ui`."""
        return Pages(self._backend.experiments)

    @property
    def ui(self) -> str:
        """The address of the UI; a local one has its usual port."""
        server = address.is_server(self.uri)
        return (redact_address(self.uri).rstrip("/") if server else LOCAL_UI) + "/"

    @contextmanager
    def study(
        self,
        name: str,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        config: Mapping[str, object],
    ) -> Iterator[StudyRun]:
        """The run of a search, started or continued; provenance is added to its tags.

        Several processes may have it open. It is FINISHED as soon as the block of one ends, and
        FAILED or KILLED if the last block raises, on SIGTERM too. `config`, the whole
        configuration, becomes config.json. Processes of several hosts may start a study at once in
        a database, but not on an MLflow server.

        Raises BadInput if `name` cannot be one, if a study of that name has other params, or if
        the store fails (a full disk, a server that stayed away).
        """
        check_name(name, "a study")
        all_tags = {**provenance(self.root), **tags}
        with self._guarded(open_study(self._backend, name, params, all_tags, config)) as run:
            yield run

    def find_imported(self, name: str, identity: str) -> str | None:
        """The id of the finished import of that name with the caller's digest, or None."""
        with self.connected() as backend:
            return backend.find_finished("import", name, identity)

    @contextmanager
    def imported(
        self, name: str, identity: str, params: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[LevelRun]:
        """The run of replies that were made elsewhere; it keeps the promises of a level's run.

        The provenance is that of the grading, as its description says. Raises BadInput as `study`
        does.
        """
        check_name(name, "an import")
        all_tags = {**provenance(self.root), **tags}
        opened = open_import(self._backend, name, identity, params, all_tags)
        with self._guarded(opened) as run:
            yield run

    @contextmanager
    def reported(
        self,
        name: str,
        identity: str,
        params: Mapping[str, object],
        kind: Literal["report", "comparison"] = "report",
        about: Sequence[StoredRun] = (),
    ) -> Iterator[str]:
        """The id of a run for a report on several runs; the same identity gives the same run.
        `attach` stores its files. Its description names the runs that it is `about`.

        Raises BadInput as `study` does.
        """
        check_name(name, f"a {kind}")
        tags = provenance(self.root)
        opened = open_report(self._backend, kind, name, identity, params, tags, about)
        with self._guarded(opened) as run_id:
            yield run_id

    def log_curve(self, run_id: str, curves: Curves) -> None:
        """Writes metrics over a step into such a run."""
        with self.connected() as backend:
            backend.write(run_id, curves)

    def runs(self, run_ids: Sequence[str]) -> list[StoredRun]:
        """Stored runs by their ids. Raises BadInput for an unknown id, naming it."""
        with self.connected() as backend:
            return [backend.run(run_id) for run_id in run_ids]

    def find_run(self, run_id: str) -> StoredRun | None:
        """A stored run, None if there is none with that id."""
        with self.connected() as backend:
            return backend.find_run(run_id)

    def find_study(self, name: str) -> tuple[StoredRun, list[StoredRun]] | None:
        """The run of a study and those of its levels, the newest first; None if there is no study
        of that name."""
        with self.connected() as backend:
            return backend.find_study(name)

    def study_names(self) -> set[str]:
        """The names of all studies."""
        with self.connected() as backend:
            return {run.tags["study"] for run in backend.runs("study")}

    def tagged(self, tag: str, value: str) -> list[StoredRun]:
        """Studies and imports that have this tag, the newest first.

        Raises BadInput where tag or value cannot be searched for.
        """
        if not (TAG.fullmatch(tag) and "'" not in value):
            raise BadInput(f"{tag}={value} cannot be searched for: give letters and digits.")
        return self.matching(f"tags.`{tag}` = '{value}'", ["study", "import"])

    def matching(self, condition: str, kinds: Sequence[Kind]) -> list[StoredRun]:
        """Runs of these kinds under a condition in MLflow's search language, the newest first.

        Raises BadInput where it cannot be read.
        """
        with self.connected() as backend:
            try:
                runs_by_kind = [
                    backend.search(f"{condition} and tags.kind = '{kind}'", [kind])
                    for kind in kinds
                ]
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                detail = str(error.message).partition("\n")[0].rstrip(".")
                raise BadInput(
                    f"--filter {condition!r} cannot be searched for ({detail}): write it in "
                    "MLflow's search language, such as \"params.model = 'tiny-5m'\"."
                ) from error
        return [run for runs in runs_by_kind for run in runs]

    def origin(self, run: StoredRun) -> str:
        """What names a run in its first store, and in every store that it was imported into."""
        with self.connected() as backend:
            return origin(run, store_id(backend))

    def study_runs(self, name: str) -> tuple[StoredRun, list[StoredRun]]:
        """As `find_study`. Raises BadInput for an unknown study, with the nearest name."""
        with self.connected() as backend:
            return backend.study(name)

    def attach(self, run_id: str, path: str, data: bytes) -> None:
        """Stores `data` as the artifact `path` of a run that may have ended, or replaces it."""
        with self.connected() as backend:
            backend.attach(run_id, path, data)

    def connected(self) -> AbstractContextManager[Backend]:
        """The store's MLflow backend; its failures end in sentences, as everywhere in a store."""
        return self._guarded(nullcontext(self._backend))

    @contextmanager
    def _guarded(self, opened: AbstractContextManager[T]) -> Iterator[T]:
        """Closes open runs on SIGTERM, and turns a failure of the store into a sentence."""
        try:
            with sigterm_raises(), opened as run:
                yield run
        except address.FAILURES as error:
            raise address.unusable(self.uri, error) from error


def open_store(uri: str | None = None, root: Path | None = None, team: str | None = None) -> Store:
    """Opens the store at `uri`, else MLFLOW_TRACKING_URI, else mlruns/mlflow.db under `root`.

    Runs made through it have the tag `team`, from LRM_TEAM if left out.

    One process initialises a new database while others wait. Runs that a dead process of this host
    left open are marked FAILED. Raises BadInput if the store cannot be used.
    """
    root = (root or address.project_root()).resolve()
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or address.default_uri(root)
    uri = address.with_driver(uri)
    tags = tags_of_every_run(root, team)
    if address.is_server(uri):
        address.require_server(uri)
        return Store(uri, root, connect(uri, root / "mlruns", None, tags))
    path = address.sqlite_path(uri)
    folder = path.parent if path else root / "mlruns"
    address.require_writable(folder / "artifacts")
    address.require_writable(folder)
    address.require_database(uri)
    uri = sqlite_uri(path) if path else uri
    return Store(uri, root, connect(uri, folder, folder / "artifacts", tags))
