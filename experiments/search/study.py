"""The Optuna study: what is asked next, and what is already known.

A trial is one (level, budget) with two objectives: accuracy (more is better) and tokens per
question (fewer is better), or a third, the bytes of the weights (fewer is better). A level is a
sparsity or a recipe. One evaluated level holds every budget, so all of them are told.

Several workers may share a study. Each level is measured by the one that holds its lease; what is
asked and told, one after the other under the lease `ask`. A trial that is running on a level which
nobody holds was left by a dead worker, and fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from experiments.cli.progress import say
from experiments.coordination.leases import LeaseLost
from experiments.coordination.membership import WorkerMembership, folder_of, lease_of
from lrm.errors import BadInput
from lrm.records import LevelKey, Point, level_label
from tracking.address import CONNECT_SECONDS, no_driver, with_driver
from tracking.lock import alone
from tracking.processes import HOST
from tracking.provenance import redact
from tracking.retry import Patient

Place = tuple[LevelKey, int]
OBJECTIVES = {
    "accuracy": StudyDirection.MAXIMIZE,
    "tokens per question": StudyDirection.MINIMIZE,
    "bytes of weights": StudyDirection.MINIMIZE,
}
IDENTITY = "settings"
FOLDER = "folder"
RUN_ID = "mlflow_run_id"
PAUSE = 1.0
"""Seconds between two looks at a study of which nothing is free."""


class SharedStudy:
    """A stored study over level x budget, which other workers may share.

    `keys` are the levels in their order, the dense one first; `axis` is Optuna's name for them.
    """

    def __init__(
        self,
        study: optuna.Study,
        crew: WorkerMembership,
        keys: Sequence[LevelKey],
        budgets: Sequence[int],
        axis: str,
    ) -> None:
        self._study, self._axis = study, axis
        self.crew, self.keys, self.budgets = crew, keys, budgets
        self._space: dict[str, BaseDistribution] = {
            axis: CategoricalDistribution(keys),
            "budget": CategoricalDistribution(budgets),
        }
        self._waits_for = ""

    def measured(self) -> dict[Place, FrozenTrial]:
        """Finished trials by place; the first of each counts."""
        found: dict[Place, FrozenTrial] = {}
        for trial in self._trials(TrialState.COMPLETE):
            found.setdefault((trial.params[self._axis], trial.params["budget"]), trial)
        return found

    def levels(self) -> set[LevelKey]:
        """Levels of which every budget has been told."""
        known = self.measured()
        return {key for key in self.keys if all((key, budget) in known for budget in self.budgets)}

    @contextmanager
    def claimed(self, wanted: int) -> Iterator[tuple[optuna.Trial, Any] | None]:
        """The next level to measure and the trial that proposed it; the level is this worker's
        alone inside the block. None if others are at all that is left of the `wanted` levels."""
        claim = self._claim(wanted)
        try:
            yield claim
        finally:
            if claim:
                self.crew.leases.release(lease_of(claim[1]))

    def check(self, key: LevelKey) -> None:
        """Raises LeaseLost if a level is no longer this worker's."""
        if not self.crew.leases.is_mine(lease_of(key)):
            owner = self.crew.leases.owner(lease_of(key)) or "another worker"
            raise LeaseLost(
                f"{level_label(key)} was taken over by {owner}, as this worker stood still"
            )

    def alone(self, key: LevelKey) -> AbstractContextManager[None]:
        """Holds a measured level while what is known of it is written."""
        return self.crew.leases.hold(lease_of(key), f"records {level_label(key)}")

    def wait(self) -> None:
        """Waits until one of the levels that others are at is free again; says whom it waits for,
        once."""
        leases = self.crew.leases
        owners = {key: leases.owner(lease_of(key)) for key in self.keys}
        busy = {key: owner for key, owner in owners.items() if owner}
        who = ", ".join(f"{level_label(key)} ({owner})" for key, owner in busy.items())
        if who and who != self._waits_for:
            say(f"Waiting for {who}.")
            self._waits_for = who
        time.sleep(PAUSE)
        while busy and not any(leases.is_free(lease_of(key)) for key in busy):
            time.sleep(PAUSE)

    def trials(self, asked: optuna.Trial) -> Iterator[optuna.Trial]:
        """A running trial for each budget of the asked level that is not known yet.

        The asked one comes last, so that a kill on the way leaves the level to be asked again.
        """
        key = asked.params[self._axis]
        for budget in self.budgets:
            if budget == asked.params["budget"] or (key, budget) in self.measured():
                continue
            with self._asking():
                self._enqueue(key, budget)
                trial = self._study.ask(self._space)
            yield trial
        yield asked

    def tell(self, trial: optuna.Trial, point: Point) -> None:
        """Finishes a trial with its point, unless the place is known or the trial was failed, since
        another worker has taken over its level."""
        values = [point.accuracy.value, point.tokens.value, point.weights_bytes or 0.0]
        with self._asking():
            if trial.number not in {one.number for one in self._trials(TrialState.RUNNING)}:
                return
            if (trial.params[self._axis], trial.params["budget"]) in self.measured():
                self._study.tell(trial, state=TrialState.FAIL)
                return
            trial.set_user_attr(RUN_ID, point.run_id)
            self._study.tell(trial, values[: len(self._study.directions)])

    def sweep(self) -> set[LevelKey]:
        """Fails the trials that nobody works on any more; returns the levels that others are at."""
        with self._asking():
            return self._sweep()

    def _claim(self, wanted: int) -> tuple[optuna.Trial, Any] | None:
        """The first comes first: all others are compared with it. Where Optuna proposes a measured
        level, it is answered from what is known, and the nearest one that is free is asked for; of
        one that another is at, the trial fails."""
        with self._asking():
            taken, known, done = self._sweep(), self.measured(), self.levels()
            free = [key for key in self.keys if key not in done and key not in taken]
            if not free or len(done) + len(taken) >= wanted:
                return None
            if not known and self.keys[0] in free:
                self._enqueue(self.keys[0], max(self.budgets))
            while True:
                trial = self._study.ask(self._space)
                key, budget = trial.params[self._axis], trial.params["budget"]
                if key in free:
                    return (trial, key) if self.crew.leases.take(lease_of(key)) else None
                if key in done:
                    same = known[key, budget]
                    for name, value in same.user_attrs.items():
                        trial.set_user_attr(name, value)
                    self._study.tell(trial, same.values)
                else:
                    self._study.tell(trial, state=TrialState.FAIL)
                here = self.keys.index(key)
                near = min(free, key=lambda one: abs(self.keys.index(one) - here))
                self._enqueue(near, budget)

    def _sweep(self) -> set[LevelKey]:
        leases = self.crew.leases
        taken = {key for key in self.keys if not leases.is_free(lease_of(key))}
        while self._trials(TrialState.WAITING):
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        for trial in self._trials(TrialState.RUNNING):
            if trial.params.get(self._axis) not in taken:
                self._study.tell(trial.number, state=TrialState.FAIL)
        return taken - self.levels()

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=[state])

    def _asking(self) -> AbstractContextManager[None]:
        return self.crew.leases.hold("ask", "asks the study")

    def _enqueue(self, key: LevelKey, budget: int) -> None:
        self._study.enqueue_trial({self._axis: key, "budget": budget})


@contextmanager
def open_search(
    name: str,
    storage: str,
    studies: Path,
    identity: Mapping[str, Any],
    keys: Sequence[LevelKey],
    budgets: Sequence[int],
    seed: int,
    axis: str = "sparsity",
    objectives: int = 2,
    heartbeat: float = 30.0,
    one_host: bool = True,
) -> Iterator[SharedStudy]:
    """Opens, starts or joins the study `name` in `storage` (a database URL), whose workers share a
    folder in `studies` and leases of `heartbeat` seconds; `one_host` if they must be on one.

    `identity` is what all its trials share: a stored study that differs is refused, naming the
    field. Trials that a killed process left waiting or running are marked failed.
    """
    crew = WorkerMembership(folder_of(studies, name), heartbeat)
    with crew.joined(one_host):
        study = _opened(name, storage, studies, seed, objectives)
        _check_objectives(study, name, objectives)
        _check(study, name, identity)
        _check_folder(study, name, crew)
        search = SharedStudy(study, crew, keys, budgets, axis)
        search.sweep()
        try:
            yield search
        except StorageInternalError as error:
            raise BadInput(f"{error}: make room or access; the same command goes on.") from error


def _opened(name: str, storage: str, studies: Path, seed: int, objectives: int) -> optuna.Study:
    """The study, made if it is new; from now on an outage of its database is waited for."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = with_driver(storage)
    patience = {"connect_timeout": CONNECT_SECONDS} if place.startswith("postgresql") else {}
    try:
        with alone(place, studies):
            made = optuna.storages.RDBStorage(place, {"connect_args": patience})
            patient = Patient(optuna.storages.get_storage(made), storage)
            return optuna.create_study(
                study_name=name,
                storage=cast(optuna.storages.BaseStorage, patient),
                load_if_exists=True,
                directions=list(OBJECTIVES.values())[:objectives],
                sampler=optuna.samplers.TPESampler(seed=seed),
            )
    except ImportError as error:
        raise no_driver(error) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        reason = redact(str(error).splitlines()[0])
        raise BadInput(
            f"--storage is no usable database URL ({reason}): write sqlite:///FILE, "
            "postgresql://USER@HOST/DATABASE, or leave it out."
        ) from error
    except OperationalError as error:
        raise BadInput(
            f"The study's database cannot be opened ({redact(str(error.orig).splitlines()[0])}): "
            "check --storage, and that it can be reached and written to."
        ) from error


def _check_objectives(study: optuna.Study, name: str, wanted: int) -> None:
    """BadInput for a study of other objectives, which Optuna would open all the same."""
    stored, names = len(study.directions), list(OBJECTIVES)
    if stored != wanted:
        raise BadInput(
            f"Study {name!r} has the objectives {', '.join(names[:stored])}, and this search "
            f"{', '.join(names[:wanted])}: give another --study."
        )


def _check(study: optuna.Study, name: str, identity: Mapping[str, Any]) -> None:
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


def _check_folder(study: optuna.Study, name: str, crew: WorkerMembership) -> None:
    """BadInput if the study's workers share another folder, where their leases are."""
    here = {"id": crew.id, "at": f"{HOST}:{crew.folder.resolve()}"}
    stored = study.user_attrs.get(FOLDER)
    if stored is None or stored["at"] == here["at"]:
        study.set_user_attr(FOLDER, here)
    elif stored["id"] != here["id"]:
        raise BadInput(
            f"Study {name!r} keeps its leases and replies in {stored['at']}, not in {here['at']}: "
            "give all workers the same --folder, or another --study."
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
