"""Several workers on one study: the work is shared, and a death or an outage costs only time.

These run the main job as a person starts it, in processes of its own, against a real PostgreSQL and
an MLflow server in front of it: a minute each.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest

from experiments.leases import Leases
from experiments.sparsity_search import main
from experiments.workers import without_flags
from tests.postgres import Postgres, postgres
from tests.stores import Server, serving
from tracking.store import open_store

ROOT = Path(__file__).resolve().parents[1]
LEVELS, BUDGETS = ("0.0", "0.4", "0.5", "0.6"), ("24", "160")
ASKED = ["--model", "tiny-1m", "--benchmarks", "arithmetic,hops"]
ASKED += ["--sparsity", ",".join(LEVELS), "--budgets", ",".join(BUDGETS)]


@dataclass(frozen=True)
class Cluster:
    """A database and a record that workers share."""

    database: Postgres
    record: Server

    def study(self, name: str) -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.database.url("optuna"))

    def complete(self, name: str) -> dict[tuple[float, int], list[float]]:
        """The values by place, of which each is there once; all trials have ended."""
        trials = self.study(name).trials
        assert not [trial for trial in trials if not trial.state.is_finished()]
        done = [trial for trial in trials if trial.state.name == "COMPLETE"]
        values = {(one.params["sparsity"], one.params["budget"]): one.values for one in done}
        assert len(values) == len(done), "a place was told twice"
        return values

    def start(self, folder: Path, study: str, *flags: str) -> subprocess.Popen[str]:
        shared = ["--folder", str(folder), "--study", study, "--heartbeat", "10"]
        shared += ["--storage", self.database.url("optuna"), "--tracking-uri", self.record.address]
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.sparsity_search", *ASKED, *shared, *flags],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self, kind: Any, study: str) -> list[Any]:
        found = open_store(self.record.address)._backend.records(kind, study)
        assert {one.run.info.status for one in found} == {"FINISHED"}
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with postgres() as database:
        folder = tmp_path_factory.mktemp("server")
        with serving(database.url("mlflow"), folder) as record:
            yield Cluster(database, record)


@contextmanager
def stopped(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens, none of them is left."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ended(*processes: subprocess.Popen[str]) -> list[str]:
    """What they printed; all have reached the end of the study."""
    told = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), told
    return [out for out, _ in told]


def measured(folder: Path, study: str) -> list[dict[str, Any]]:
    """A row for each level that was measured to its end: by whom, and at what cost."""
    lines = (folder / "studies" / study / "workers.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def replies(folder: Path) -> Counter[tuple[str, str]]:
    """How often each reply was stored, by its file and its key."""
    files = [*folder.glob("generations/*.jsonl"), *folder.glob("calibration/*.jsonl")]
    return Counter((f.name, json.loads(x)["key"]) for f in files for x in f.open())


def until(what: Any, seconds: float = 120) -> Any:
    """What `what` returns as soon as it returns something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def test_four_workers_share_what_one_would_do(cluster: Cluster, tmp_path: Path) -> None:
    flags = ["--questions", "4"]
    one, four = tmp_path / "one", tmp_path / "four"
    alone = cluster.start(one, "one", *flags)
    with stopped(alone):
        (table,) = ended(alone)
    workers = [cluster.start(four, "four", *flags) for _ in range(4)]
    with stopped(*workers):
        tables = ended(*workers)
    values = cluster.complete("four")
    assert set(values) == {(float(key), int(budget)) for key in LEVELS for budget in BUDGETS}
    assert values == cluster.complete("one")
    assert replies(four) == replies(one)
    assert set(replies(four).values()) == {1}
    by_one, by_four = measured(one, "one"), measured(four, "four")
    assert sorted(row["level"] for row in by_four) == [float(key) for key in LEVELS]
    assert len({row["worker"] for row in by_four}) > 1
    for count in ("decoded", "pruned"):
        assert sum(row[count] for row in by_four) == sum(row[count] for row in by_one)
    assert sum(row["pruned"] for row in by_four) == 3
    assert len(cluster.runs("level", "four")) == len(LEVELS)
    assert len(cluster.runs("trial", "four")) == len(values)
    (study,) = cluster.runs("study", "four")
    assert study.artifact("report.html")
    collapse = re.compile(r"Collapse:.*?\n\n", re.S)
    assert {collapse.findall(text)[0] for text in tables} == {collapse.findall(table)[0]}
    numbers = {trial.number for trial in cluster.study("four").trials}
    assert {int(run.tags["optuna.trial_number"]) for run in cluster.runs("trial", "four")} < numbers


def test_the_level_of_a_killed_worker_is_gone_on_with(cluster: Cluster, tmp_path: Path) -> None:
    flags = ["--questions", "30", "--method", "magnitude"]
    workers = [cluster.start(tmp_path, "killed", *flags) for _ in range(2)]
    leases = Leases(tmp_path / "studies" / "killed", 10.0)
    with stopped(*workers):
        first = "level-0.0"
        begun = until(lambda: leases.owner(first) and len(replies(tmp_path)) > 8)
        assert begun
        pid = leases.owner(first).pid  # type: ignore[union-attr]
        (victim,) = (worker for worker in workers if worker.pid == pid)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        before, since = set(replies(tmp_path)), time.monotonic()
        (other,) = (worker for worker in workers if worker is not victim)
        until(lambda: (owner := leases.owner(first)) and owner.pid == other.pid)
        assert time.monotonic() - since < 60  # it is at a level of its own before
        ended(other)
    (again,) = (row for row in measured(tmp_path, "killed") if row["level"] == 0.0)
    assert again["worker"].endswith(f":{other.pid}")
    assert again["reused"] > 0
    assert before < set(replies(tmp_path))
    assert set(replies(tmp_path).values()) == {1}
    assert len(cluster.complete("killed")) == len(LEVELS) * len(BUDGETS)
    states = [trial.state.name for trial in cluster.study("killed").trials]
    assert "FAIL" in states
