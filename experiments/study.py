"""The Optuna study: what is asked next, and what is already known.

A trial is one (level, budget) with two objectives: accuracy (more is better) and tokens per
question (fewer is better), or a third, the bytes of the weights (fewer is better). A level is a
sparsity or a recipe. One evaluated level holds every budget, so all of them are told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from experiments.levels import Key
from lrm.errors import BadInput
from lrm.records import Point

Place = tuple[Key, int]
DIRECTIONS = (
    StudyDirection.MAXIMIZE,
    StudyDirection.MINIMIZE,
    StudyDirection.MINIMIZE,
)
IDENTITY = "settings"
RUN_ID = "mlflow_run_id"


class Search:
    """A stored study over level x budget, held by one process of this machine at a time.

    `keys` are the levels in their order, the dense one first; `axis` is Optuna's name for them.
    """

    def __init__(
        self, study: optuna.Study, keys: Sequence[Key], budgets: Sequence[int], axis: str
    ) -> None:
        self._study, self._axis = study, axis
        self.keys, self.budgets = keys, budgets
        self._space: dict[str, BaseDistribution] = {
            axis: CategoricalDistribution(keys),
            "budget": CategoricalDistribution(budgets),
        }

    def measured(self) -> dict[Place, FrozenTrial]:
        """Finished trials by place; the first of each counts."""
        found: dict[Place, FrozenTrial] = {}
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            found.setdefault((trial.params[self._axis], trial.params["budget"]), trial)
        return found

    def levels(self) -> set[Key]:
        """Levels of which every budget has been told."""
        known = self.measured()
        return {key for key in self.keys if all((key, budget) in known for budget in self.budgets)}

    def ask(self) -> tuple[optuna.Trial, Any]:
        """The next level that is not yet measured, and the trial that proposed it.

        The first comes first: all others are compared with it. Where Optuna proposes a measured
        level, it is answered from what is known, and the nearest unmeasured one is asked for.
        """
        known, done = self.measured(), self.levels()
        if not known:
            self._enqueue(self.keys[0], max(self.budgets))
        while True:
            trial = self._study.ask(self._space)
            key, budget = trial.params[self._axis], trial.params["budget"]
            if key not in done:
                return trial, key
            same = known[key, budget]
            for name, value in same.user_attrs.items():
                trial.set_user_attr(name, value)
            self._study.tell(trial, same.values)
            here = self.keys.index(key)
            left = [place for place, other in enumerate(self.keys) if other not in done]
            self._enqueue(self.keys[min(left, key=lambda place: abs(place - here))], budget)

    def trials(self, asked: optuna.Trial) -> Iterator[optuna.Trial]:
        """A running trial for each budget of the asked level that is not known yet.

        The asked one comes last, so that a kill on the way leaves the level to be asked again.
        """
        known, key = self.measured(), asked.params[self._axis]
        for budget in self.budgets:
            if budget != asked.params["budget"] and (key, budget) not in known:
                self._enqueue(key, budget)
                yield self._study.ask(self._space)
        yield asked

    def tell(self, trial: optuna.Trial, point: Point) -> None:
        """Finishes a trial with its point."""
        trial.set_user_attr(RUN_ID, point.run_id)
        values = [point.accuracy.value, point.tokens.value, point.weights_bytes or 0.0]
        self._study.tell(trial, values[: len(self._study.directions)])

    def _enqueue(self, key: Key, budget: int) -> None:
        self._study.enqueue_trial({self._axis: key, "budget": budget})


@contextmanager
def open_search(
    name: str,
    storage: str,
    folder: Path,
    identity: Mapping[str, Any],
    keys: Sequence[Key],
    budgets: Sequence[int],
    seed: int,
    axis: str = "sparsity",
    objectives: int = 2,
) -> Iterator[Search]:
    """Opens or starts the study `name` in `storage` (a database URL), locked against other
    processes of this machine by a file in `folder`.

    `identity` is what all its trials share: a stored study that differs is refused, naming the
    field. Trials that a killed process left waiting or running are marked failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name.replace(os.sep, '-')}.lock", timeout=0)
    try:
        held = lock.acquire()
    except Timeout:
        raise BadInput(
            f"Study {name!r} is being run by another process here: wait for it, or start another "
            "with --study."
        ) from None
    with held:
        study = _create(name, storage, folder, seed, objectives)
        _check(study, name, identity)
        while study.get_trials(deepcopy=False, states=[TrialState.WAITING]):
            study.ask()
        for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            study.tell(trial.number, state=TrialState.FAIL)
        try:
            yield Search(study, keys, budgets, axis)
        except StorageInternalError as error:
            raise BadInput(f"{error}: make room or access; the same command goes on.") from error


def _create(name: str, storage: str, folder: Path, seed: int, objectives: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with FileLock(folder / "storage.lock"):
            return optuna.create_study(
                study_name=name,
                storage=storage,
                load_if_exists=True,
                directions=list(DIRECTIONS[:objectives]),
                sampler=optuna.samplers.TPESampler(seed=seed),
            )
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"--storage is no usable database URL ({reason}): write sqlite:///FILE or leave it out."
        ) from error
    except OperationalError as error:
        raise BadInput(
            f"The study's database cannot be opened ({str(error.orig).splitlines()[0]}): check "
            "--storage and that its folder can be written to."
        ) from error


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


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
