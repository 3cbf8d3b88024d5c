"""The Optuna study: which level is measured next, and what is known already.

A trial is one (level, budget) with two objectives, accuracy (more is better) and tokens per
question (fewer is better), and in some searches a third, the bytes of the weights (fewer is
better). A level is a sparsity or a recipe. A measured level has the results of every budget, so
Optuna is told all of them.

Several workers may share a study. A worker measures a level while it holds the level's lease. It
asks and tells Optuna while it holds the lease `ask`. A trial that is running on a level without a
holder was left by a dead worker, and is failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from experiments.cli.progress import say
from experiments.coordination.leases import LeaseLost
from experiments.coordination.membership import WorkerMembership, lease_of
from lrm.records.model import LevelKey, level_label
from lrm.records.point import Point

Setting = tuple[LevelKey, int]
"""A level and a budget."""
RUN_ID = "mlflow_run_id"
PAUSE = 1.0
"""Seconds between two looks at a study in which no level is free."""


class SharedStudy:
    """A stored study over level x budget, which other workers may share.

    `keys` are the levels in their order, the dense one first; `axis` is Optuna's name for them.
    """

    def __init__(
        self,
        study: optuna.Study,
        membership: WorkerMembership,
        keys: Sequence[LevelKey],
        budgets: Sequence[int],
        axis: str,
    ) -> None:
        self._study, self._axis = study, axis
        self.membership, self.keys, self.budgets = membership, keys, budgets
        self._space: dict[str, BaseDistribution] = {
            axis: CategoricalDistribution(keys),
            "budget": CategoricalDistribution(budgets),
        }
        self._waits_for = ""

    def measured(self) -> dict[Setting, FrozenTrial]:
        """Finished trials by level and budget; of several the first counts. Those that another
        program has added to the study are none."""
        trials: dict[Setting, FrozenTrial] = {}
        for trial in self._trials(TrialState.COMPLETE):
            if self._space.keys() <= trial.params.keys():
                trials.setdefault(self._setting(trial), trial)
        return trials

    def levels(self) -> set[LevelKey]:
        """The levels whose results are known at every budget."""
        known = self.measured()
        return {key for key in self.keys if all((key, budget) in known for budget in self.budgets)}

    @contextmanager
    def claimed(self, wanted: int) -> Iterator[tuple[optuna.Trial, LevelKey] | None]:
        """The next level to measure and the trial that proposed it; this worker holds the level's
        lease inside the block. None if others measure all that is left of the `wanted` levels."""
        claim = self._claim(wanted)
        try:
            yield claim
        finally:
            if claim:
                self.membership.leases.release(lease_of(claim[1]))

    def check(self, key: LevelKey) -> None:
        """Raises LeaseLost if this worker holds the level's lease no longer."""
        leases = self.membership.leases
        if not leases.is_mine(lease_of(key)):
            owner = leases.owner(lease_of(key)) or "another worker"
            raise LeaseLost(
                f"{level_label(key)} was taken over by {owner}, as this worker stood still"
            )

    def hold(self, key: LevelKey) -> AbstractContextManager[None]:
        """Holds the lease of a measured level while its results are recorded."""
        return self.membership.leases.hold(lease_of(key), f"records {level_label(key)}")

    def wait(self) -> None:
        """Waits until one of the levels that others measure is free again; says once whom it waits
        for."""
        leases = self.membership.leases
        owners = {key: leases.owner(lease_of(key)) for key in self.keys}
        busy = {key: owner for key, owner in owners.items() if owner}
        names = ", ".join(f"{level_label(key)} ({owner})" for key, owner in busy.items())
        if names and names != self._waits_for:
            say(f"Waiting for {names}.")
            self._waits_for = names
        time.sleep(PAUSE)
        while busy and not any(leases.is_free(lease_of(key)) for key in busy):
            time.sleep(PAUSE)

    def trials(self, asked: optuna.Trial) -> Iterator[optuna.Trial]:
        """A running trial for each budget of the asked level that is not known yet.

        The asked trial comes last, so that after a kill on the way the level is asked for again.
        """
        key, asked_budget = self._setting(asked)
        for budget in self.budgets:
            if budget == asked_budget or (key, budget) in self.measured():
                continue
            with self._asking():
                self._enqueue(key, budget)
                trial = self._study.ask(self._space)
            yield trial
        yield asked

    def tell(self, trial: optuna.Trial, point: Point) -> None:
        """Finishes a trial with its point. A trial whose result is known is failed instead; one
        that was failed, since another worker has taken over its level, stays as it is."""
        values = [point.accuracy.value, point.tokens.value, point.weights_bytes or 0.0]
        with self._asking():
            if trial.number not in {item.number for item in self._trials(TrialState.RUNNING)}:
                return
            if self._setting(trial) in self.measured():
                self._study.tell(trial, state=TrialState.FAIL)
                return
            trial.set_user_attr(RUN_ID, point.run_id)
            self._study.tell(trial, values[: len(self._study.directions)])

    def sweep(self) -> set[LevelKey]:
        """Fails the trials that nobody works on any more; returns the levels that others hold."""
        with self._asking():
            return self._sweep()

    def _claim(self, wanted: int) -> tuple[optuna.Trial, LevelKey] | None:
        with self._asking():
            taken, known, done = self._sweep(), self.measured(), self.levels()
            free = [key for key in self.keys if key not in done and key not in taken]
            if not free or len(done) + len(taken) >= wanted:
                return None
            # The dense level is measured first, since all others are compared with it.
            if not known and self.keys[0] in free:
                self._enqueue(self.keys[0], max(self.budgets))
            while True:
                trial = self._study.ask(self._space)
                key, budget = self._setting(trial)
                if key in free:
                    return (trial, key) if self.membership.leases.take(lease_of(key)) else None
                if key in done:
                    # A proposal that is known is answered from its first result.
                    first = known[key, budget]
                    for name, value in first.user_attrs.items():
                        trial.set_user_attr(name, value)
                    self._study.tell(trial, first.values)
                else:
                    self._study.tell(trial, state=TrialState.FAIL)
                # The next proposal is the free level that is nearest to this one.
                index = self.keys.index(key)
                nearest = min(free, key=lambda other: abs(self.keys.index(other) - index))
                self._enqueue(nearest, budget)

    def _sweep(self) -> set[LevelKey]:
        leases = self.membership.leases
        taken = {key for key in self.keys if not leases.is_free(lease_of(key))}
        while self._trials(TrialState.WAITING):
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        for trial in self._trials(TrialState.RUNNING):
            if trial.params.get(self._axis) not in taken:
                self._study.tell(trial.number, state=TrialState.FAIL)
        return taken - self.levels()

    def _setting(self, trial: optuna.Trial | FrozenTrial) -> Setting:
        return trial.params[self._axis], trial.params["budget"]

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=[state])

    def _asking(self) -> AbstractContextManager[None]:
        return self.membership.leases.hold("ask", "asks the study")

    def _enqueue(self, key: LevelKey, budget: int) -> None:
        self._study.enqueue_trial({self._axis: key, "budget": budget})
