"""Prepares a store: its experiments, the folder of its artifacts, runs that were left open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from lrm.errors import BadInput
from tracking import address
from tracking.artifact_relocation import Relocation, relocate
from tracking.backend import Backend, Kind
from tracking.client import RetryingClient
from tracking.database_files import SQLITE
from tracking.lock import store_lock
from tracking.provenance import redact_address
from tracking.retry import Retry
from tracking.schema import prepare
from tracking.views import Pages, offer_studies
from tracking.workers import sweep

EXPERIMENTS: Mapping[Kind, str] = {
    "study": "lrm/studies",
    "level": "lrm/levels",
    "trial": "lrm/trials",
    "import": "lrm/levels",
    "report": "lrm/studies",
    "comparison": "lrm/studies",
}


def connect(uri: str, folder: Path, artifacts: Path | None, tags: Mapping[str, str]) -> Backend:
    """Makes what is missing in the store at `uri`, and closes what was left open. An outage is not
    waited for.

    `artifacts` is the folder of a database's artifacts; a server has its own, and None is given.
    One process at a time prepares a database, which `folder` belongs to.
    """
    lock = partial(store_lock, uri, folder)
    try:
        with lock() if artifacts else nullcontext(), _no_stray_folders(uri):
            if path := None if address.is_server(uri) else address.sqlite_path(uri):
                prepare(path)
            client = MlflowClient(uri, uri)
            experiments = {
                name: _experiment(client, uri, name, artifacts)
                for name in dict.fromkeys(EXPERIMENTS.values())
            }
            if artifacts:
                _relocate(uri, artifacts, experiments.values())
            ids: dict[Kind, str] = {
                kind: str(experiments[name].experiment_id) for kind, name in EXPERIMENTS.items()
            }
            backend = Backend(RetryingClient(client, Retry(uri)), ids, tags, lock)
            offer_studies(backend.client.once, Pages(ids))
            sweep(replace(backend, client=backend.client.once))
            return backend
    except address.FAILURES as error:
        raise address.unusable(uri, error) from error


@contextmanager
def _no_stray_folders(uri: str) -> Iterator[None]:
    """MLflow makes the folder of an SQLite file from its address without decoding that: of "%3F" in
    it a folder of this name, beside the right one. Inside, they are taken away again."""
    literal = Path(uri.removeprefix(SQLITE)).parent
    stray = [folder for folder in (literal, *literal.parents) if not folder.exists()]
    yield
    for folder in stray if uri.startswith(SQLITE) else ():
        with suppress(OSError):
            folder.rmdir()


def _experiment(client: MlflowClient, uri: str, name: str, artifacts: Path | None) -> Experiment:
    """The experiment, made if it is missing; a server decides where its artifacts are."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # Without a kind MLflow's UI guesses one, and may open on pages meant for chat applications.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            client.create_experiment(name, artifacts and _location(artifacts, name), tags=kind)
        except MlflowException as error:
            # Another process was faster.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage == "deleted":
        raise BadInput(
            f"The experiment {name} was deleted in this store: bring it back with `mlflow "
            f"experiments restore -x {experiment.experiment_id}`, or give another --tracking-uri."
        )
    if artifacts and experiment.artifact_location.startswith("mlflow-artifacts:"):
        raise BadInput(
            f"The store {redact_address(uri)} belongs to an MLflow server, which keeps the "
            "artifacts: give the server's http address with --tracking-uri."
        )
    return experiment


def _relocate(uri: str, artifacts: Path, experiments: Iterable[Experiment]) -> None:
    relocations = [
        Relocation(
            experiment.experiment_id,
            experiment.artifact_location,
            _location(artifacts, experiment.name),
        )
        for experiment in experiments
        if experiment.artifact_location.startswith("file:")
    ]
    if moved := [relocation for relocation in relocations if relocation.old != relocation.new]:
        relocate(uri, moved)


def _location(artifacts: Path, name: str) -> str:
    return (artifacts / name.rpartition("/")[2]).as_uri()
