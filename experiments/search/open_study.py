"""Opens a search's study in Optuna: starts it, continues it, or joins other workers on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import optuna
from optuna.study import StudyDirection

from experiments.coordination.membership import WorkerMembership, folder_of
from experiments.search.schema import FAILURES, broken
from experiments.search.storage import open_storage
from experiments.search.study import SharedStudy
from lrm.errors import BadInput
from lrm.records.model import LevelKey
from tracking.processes import HOST

OBJECTIVES = {
    "accuracy": StudyDirection.MAXIMIZE,
    "tokens per question": StudyDirection.MINIMIZE,
    "bytes of weights": StudyDirection.MINIMIZE,
}
IDENTITY = "settings"
FOLDER = "folder"


@contextmanager
def open_search(
    name: str,
    storage: str,
    studies: Path,
    identity: Mapping[str, object],
    keys: Sequence[LevelKey],
    budgets: Sequence[int],
    seed: int,
    axis: str = "sparsity",
    objectives: int = 2,
    heartbeat: float = 30.0,
    one_host: bool = True,
) -> Iterator[SharedStudy]:
    """Opens, starts or joins the study `name` in `storage` (a database URL). Its workers share a
    folder in `studies` and leases of `heartbeat` seconds; with `one_host` they must be on one host.

    `identity` is what all its trials share. A stored study with another identity raises BadInput,
    naming the field. Trials that a killed process left waiting or running are marked failed.
    """
    membership = WorkerMembership(folder_of(studies, name), heartbeat)
    with membership.joined(one_host), ExitStack() as stack:
        with open_storage(storage, studies) as database:
            stack.callback(database.close)
            study = optuna.create_study(
                study_name=name,
                storage=database,
                load_if_exists=True,
                directions=list(OBJECTIVES.values())[:objectives],
                sampler=optuna.samplers.TPESampler(seed=seed),
            )
        _check_ours(study, name)
        _check_objectives(study, name, objectives)
        _check_identity(study, name, identity)
        _check_folder(study, name, membership)
        search = SharedStudy(study, membership, keys, budgets, axis)
        search.sweep()
        try:
            yield search
        except FAILURES as error:
            raise broken(error) from error


def _check_ours(study: optuna.Study, name: str) -> None:
    """Raises BadInput for a study that another program has made."""
    attributes = study.user_attrs
    # Of one of ours, which was killed as it began, there is only the name.
    begun = bool(attributes or study.get_trials(deepcopy=False))
    folder = attributes.get(FOLDER, {"id": "", "at": ""})
    ours = isinstance(attributes.get(IDENTITY), dict) and isinstance(folder, dict)
    if begun and not (ours and {"id", "at"} <= set(folder)):
        raise BadInput(
            f"Study {name!r} in this database is not one of these searches: give another --study, "
            "or another --storage."
        )


def _check_objectives(study: optuna.Study, name: str, wanted: int) -> None:
    """Raises BadInput if the study has other objectives; Optuna would open it all the same."""
    stored, names = len(study.directions), list(OBJECTIVES)
    if stored != wanted:
        raise BadInput(
            f"Study {name!r} has the objectives {', '.join(names[:stored])}, and this search "
            f"{', '.join(names[:wanted])}: give another --study."
        )


def _check_identity(study: optuna.Study, name: str, identity: Mapping[str, object]) -> None:
    """Stores the identity of a new study. Raises BadInput if the stored one differs."""
    stored = study.user_attrs.get(IDENTITY)
    if stored is None:
        study.set_user_attr(IDENTITY, dict(identity))
        return
    for field in {**identity, **stored}:
        value = identity.get(field)
        if stored.get(field) != value:
            raise BadInput(
                f"Study {name!r} was started with {field} = {_short(stored.get(field))}, not "
                f"{_short(value)}: give the same flags to continue it, or another --study."
            )


def _check_folder(study: optuna.Study, name: str, membership: WorkerMembership) -> None:
    """Raises BadInput if the study's workers share another folder, which has their leases."""
    here = {"id": membership.id, "at": f"{HOST}:{membership.folder.resolve()}"}
    stored = study.user_attrs.get(FOLDER)
    if stored is None or stored["at"] == here["at"]:
        study.set_user_attr(FOLDER, here)
    elif stored["id"] != here["id"]:
        raise BadInput(
            f"Study {name!r} keeps its leases and replies in {stored['at']}, not in {here['at']}: "
            "give all workers the same --folder, or another --study."
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
