"""What Optuna is asked and told, and what becomes of a killed search."""

import re
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, _CachedStorage

from experiments.coordination.leases import LeaseLost
from experiments.coordination.membership import lease_of
from experiments.search.open_study import open_search
from experiments.search.storage import RetryingStorage
from lrm.errors import BadInput
from lrm.records.point import Budget, Interval, Point
from tracking.retry import Retry

LEVELS, BUDGETS = (0.0, 0.3, 0.6, 0.9), (8, 16, 32)
IDENTITY = {"model": "abc", "budgets": [8, 16, 32], "seed": 0}


def opened(tmp_path, identity=IDENTITY, name="s", folder="leases", **others):
    storage = f"sqlite:///{tmp_path / 'o.db'}"
    asked = (name, storage, tmp_path / folder, identity, LEVELS, BUDGETS)
    return open_search(*asked, **{"seed": 0, "heartbeat": 1.0, **others})


def point(sparsity: float, budget: int) -> Point:
    accuracy, tokens = (1 - sparsity) * budget / 32, float(budget)
    return Point(
        sparsity,
        sparsity,
        Budget(budget),
        Interval(accuracy, accuracy, accuracy),
        Interval(tokens, tokens, tokens),
        f"run-{sparsity}-{budget}",
    )


def measure(search, asked, sparsity) -> None:
    for trial in search.trials(asked):
        search.tell(trial, point(sparsity, trial.params["budget"]))


def ask(search, stack: ExitStack):
    """The next level, which stays claimed until the stack ends."""
    return stack.enter_context(search.claimed(len(LEVELS)))


def stored(tmp_path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'o.db'}")


def test_the_densest_comes_first_and_every_level_once(tmp_path) -> None:
    with opened(tmp_path) as search:
        order = []
        while len(search.levels()) < len(LEVELS):
            with search.claimed(len(LEVELS)) as (asked, sparsity):
                order.append(sparsity)
                measure(search, asked, sparsity)
        assert order[0] == 0.0
        assert sorted(order) == list(LEVELS)
        known = search.measured()
        assert set(known) == {(s, b) for s in LEVELS for b in BUDGETS}
        assert known[0.3, 16].values == [pytest.approx(0.35), 16.0]
        assert known[0.3, 16].user_attrs["mlflow_run_id"] == "run-0.3-16"


def test_optuna_sees_the_pareto_front(tmp_path) -> None:
    with opened(tmp_path) as search, search.claimed(len(LEVELS)) as (asked, sparsity):
        measure(search, asked, sparsity)
    assert {trial.params["budget"] for trial in stored(tmp_path).best_trials} == set(BUDGETS)


def test_a_half_told_level_is_asked_again_and_what_is_told_is_not_told_twice(tmp_path) -> None:
    with opened(tmp_path) as search, search.claimed(len(LEVELS)) as (asked, sparsity):
        first = next(search.trials(asked))
        search.tell(first, point(sparsity, first.params["budget"]))
    with opened(tmp_path) as search:  # as after kill -9: trials are left running
        assert search.levels() == set()
        again = None
        while again != sparsity:
            with search.claimed(len(LEVELS)) as (asked, again):
                budgets = []
                for trial in search.trials(asked):
                    budgets.append(trial.params["budget"])
                    search.tell(trial, point(again, trial.params["budget"]))
        assert sparsity in search.levels()
        assert set(budgets) - {asked.params["budget"]} == set(BUDGETS) - {
            asked.params["budget"],
            first.params["budget"],
        }
        assert all(trial.values[1] == place[1] for place, trial in search.measured().items())
    assert not left_open(tmp_path)


def left_open(tmp_path) -> list:
    trials = stored(tmp_path).trials
    return [trial for trial in trials if trial.state.name in ("RUNNING", "WAITING")]


def test_other_settings_are_refused_by_name(tmp_path) -> None:
    with opened(tmp_path):
        pass
    with (
        pytest.raises(BadInput, match=r"budgets = \[8, 16, 32\], not \[8\]"),
        opened(tmp_path, IDENTITY | {"budgets": [8]}),
    ):
        pass


def test_another_number_of_objectives_is_refused_by_name(tmp_path) -> None:
    with opened(tmp_path):
        pass
    says = "accuracy, tokens per question, and this search accuracy, .*, bytes of weights"
    with pytest.raises(BadInput, match=says), opened(tmp_path, objectives=3):
        pass


def test_two_workers_never_get_the_same_level(tmp_path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(opened(tmp_path)) for _ in range(5)]
        claims = [ask(search, stack) for search in workers]
        assert claims.pop() is None  # nothing is free, and nothing is complete
        assert claims[0][1] == LEVELS[0]
        assert sorted(key for _, key in claims) == list(LEVELS)
        for search, (asked, key) in zip(workers, claims, strict=False):
            measure(search, asked, key)
    with opened(tmp_path) as search:
        known = search.measured()
        assert set(known) == {(s, b) for s in LEVELS for b in BUDGETS}
    complete = [trial for trial in stored(tmp_path).trials if trial.state.name == "COMPLETE"]
    assert len(complete) == len(known)
    assert not left_open(tmp_path)


def test_no_more_levels_are_begun_than_are_wanted(tmp_path) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(opened(tmp_path)) for _ in range(3)]
        claims = [stack.enter_context(search.claimed(2)) for search in workers]
        assert [claim is None for claim in claims] == [False, False, True]


def test_who_comes_back_too_late_tells_nothing(tmp_path) -> None:
    with opened(tmp_path) as late, opened(tmp_path) as quick, ExitStack() as stack:
        asked, key = ask(late, stack)
        half = next(late.trials(asked))
        late.membership.leases.path(lease_of(key)).unlink()
        again, same = ask(quick, stack)  # as after a suspension longer than the heartbeat
        assert same == key
        with pytest.raises(LeaseLost, match=r"was taken over by process \d+ on"):
            late.check(key)
        late.tell(half, point(key, half.params["budget"]))
        assert not late.measured()
        measure(quick, again, key)
        late.tell(asked, point(key, asked.params["budget"]))
        places = [(t.params["sparsity"], t.params["budget"]) for t in late.measured().values()]
        assert sorted(places) == [(key, budget) for budget in BUDGETS]


def test_another_folder_is_refused(tmp_path) -> None:
    with opened(tmp_path):
        pass
    shutil.copytree(tmp_path / "leases", tmp_path / "moved")
    with opened(tmp_path, folder="moved"):  # the same one, elsewhere
        pass
    with pytest.raises(BadInput, match="same --folder"), opened(tmp_path, folder="other"):
        pass


def test_a_sqlite_file_serves_one_machine(tmp_path) -> None:
    with opened(tmp_path) as search, opened(tmp_path) as other:
        for worker in other.membership.folder.glob("worker-*"):
            if other.membership.name not in worker.name:
                text = re.sub("host=.*", "host=elsewhere", worker.read_text())
                worker.write_text(text)
        with (
            pytest.raises(BadInput, match="on elsewhere works on this study, and an SQLite file"),
            opened(tmp_path) as third,
        ):
            pass
        with opened(tmp_path, one_host=False) as third:
            assert third.levels() == search.levels()


def test_all_workers_have_one_heartbeat(tmp_path) -> None:
    with (
        opened(tmp_path),
        pytest.raises(BadInput, match=r"--heartbeat 5 is not what .*: give --heartbeat 1\."),
        opened(tmp_path, heartbeat=5),
    ):
        pass


def test_a_worker_elsewhere_that_died_is_replaced_within_a_heartbeat(tmp_path) -> None:
    with opened(tmp_path) as search, search.claimed(len(LEVELS)) as claim:
        _, key = claim
        lease = search.membership.leases.path(lease_of(key))
        left = lease.read_text()
    lease.write_text(re.sub("host=.*", "host=elsewhere", left))
    with opened(tmp_path) as search:
        start, again = time.monotonic(), None
        while again != key and time.monotonic() < start + 10:
            with search.claimed(1) as claim:
                again = claim and claim[1]
        taken = time.monotonic() - start
    assert again == key
    assert 1 <= taken < 2


def test_two_studies_share_a_storage(tmp_path) -> None:
    with opened(tmp_path, name="a"), opened(tmp_path, name="b/c") as second:
        assert second.levels() == set()


class Locked(InMemoryStorage):
    """A storage whose database is locked when the first trial is made."""

    locked: sqlalchemy.exc.OperationalError | None = None

    def create_new_trial(self, study_id, template_trial=None) -> int:
        error, self.locked = self.locked, None
        if error:
            raise StorageInternalError("An exception is raised during the commit.") from error
        return super().create_new_trial(study_id, template_trial)


def test_an_outage_of_its_database_is_waited_for(tmp_path, capsys) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db", connect_args={"timeout": 0})
    storage = Locked()
    study = optuna.create_study(
        storage=RetryingStorage(storage, Retry("sqlite:///x.db"), engine.dispose)
    )
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlalchemy.exc.OperationalError) as raised, engine.connect() as session:
            session.execute(sqlalchemy.text("SELECT * FROM sqlite_master"))
    storage.locked = raised.value
    study.tell(study.ask(), 1.0)
    assert [trial.value for trial in study.trials] == [1.0]
    assert "(database is locked); waiting" in capsys.readouterr().err
    engine.dispose()


def test_every_call_of_the_storage_is_repeated() -> None:
    calls = {name for name in vars(_CachedStorage) if name in vars(BaseStorage) and name[0] != "_"}
    assert BaseStorage.__abstractmethods__ <= set(vars(RetryingStorage))
    assert calls - {"get_best_trial"} <= set(vars(RetryingStorage))
