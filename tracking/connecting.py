"""A store's first words: its experiments, its artifacts' place, and runs that were left open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from lrm.errors import BadInput
from tracking import address, artifact_relocation
from tracking.backend import Backend, Kind
from tracking.lock import alone
from tracking.provenance import redact
from tracking.retry import Patient, hurried
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


def connect(place: str, folder: Path, artifacts: Path | None, tags: Mapping[str, str]) -> Backend:
    """Makes what is missing in the store, and closes what was left open; without patience.

    A database is one process's meanwhile; a server has made its own.
    """
    guard = partial(alone, place, folder)
    try:
        with guard() if artifacts else nullcontext():
            client = MlflowClient(place, place)
            found = {
                name: _experiment(client, place, name, artifacts)
                for name in dict.fromkeys(EXPERIMENTS.values())
            }
            if artifacts:
                _follow(place, artifacts, found.values())
            ids: dict[Kind, str] = {
                kind: str(found[name].experiment_id) for kind, name in EXPERIMENTS.items()
            }
            offer_studies(client, Pages(ids))
            backend = Backend(Patient(client, place), ids, tags, guard)
            sweep(replace(backend, client=hurried(backend.client)))
            return backend
    except address.FAILURES as error:
        raise address.unusable(place, error) from error


def _experiment(client: MlflowClient, place: str, name: str, artifacts: Path | None) -> Experiment:
    """The experiment, made where missing; a server decides where artifacts lie."""
    found = client.get_experiment_by_name(name)
    if found is None:
        # Without a kind MLflow's UI guesses one, and may open on pages meant for chat applications.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            client.create_experiment(name, artifacts and _wanted(artifacts, name), tags=kind)
        except MlflowException as error:
            # Another process was faster.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        raise BadInput(
            f"The experiment {name} was deleted in this store: bring it back with `mlflow "
            f"experiments restore -x {found.experiment_id}`, or give another --tracking-uri."
        )
    if artifacts and found.artifact_location.startswith("mlflow-artifacts:"):
        raise BadInput(
            f"The store {redact(place)} belongs to an MLflow server, which keeps the artifacts: "
            "give the server's http address with --tracking-uri."
        )
    return found


def _follow(place: str, artifacts: Path, experiments: Iterable[Experiment]) -> None:
    every = [
        artifact_relocation.Move(
            found.experiment_id, found.artifact_location, _wanted(artifacts, found.name)
        )
        for found in experiments
        if found.artifact_location.startswith("file:")
    ]
    if moved := [move for move in every if move.old != move.new]:
        artifact_relocation.follow(place, moved)


def _wanted(artifacts: Path, name: str) -> str:
    return (artifacts / name.rpartition("/")[2]).as_uri()
