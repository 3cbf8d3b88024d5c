"""What names a run wherever it is: the store that it was made in, and its id there."""

from __future__ import annotations

from lrm.digests import of_json
from tracking.backend import Backend
from tracking.stored_run import StoredRun

ORIGIN = "origin"
ORIGIN_STUDY = "origin.study"
ORIGIN_STORE = "origin.store"
ORIGIN_RUN = "origin.run_id"


def store_id(backend: Backend) -> str:
    """Names a store, by whatever address it is reached and wherever its folder is moved: a digest
    of its experiments' ids and times of creation."""
    experiments = [
        backend.client.get_experiment(experiment_id)
        for experiment_id in dict.fromkeys(backend.experiments.values())
    ]
    facts = [[item.name, item.experiment_id, item.creation_time] for item in experiments]
    return of_json(facts)[:16]


def origin(run: StoredRun, store: str) -> str:
    """The origin of a run that is in the store with the id `store`."""
    return run.tags.get(ORIGIN, f"{store}/{run.id}")
