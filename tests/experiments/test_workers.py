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
import torch

from experiments.coordination.leases import Leases
from experiments.search.launch import on_gpus, without_flags
from experiments.search.study import RUN_ID
from experiments.sparsity_search import main
from lrm.errors import BadInput
from tests.support.postgres import Postgres, postgres
from tests.support.stores import Server, serving
from tracking.processes import started
from tracking.store import open_store

ROOT = Path(__file__).resolve().parents[2]
LEVELS, BUDGETS = ("0.0", "0.4", "0.5", "0.6"), ("24", "160")
ASKED = ["--model", "tiny-1m", "--benchmarks", "arithmetic,hops"]
ASKED += ["--sparsity", ",".join(LEVELS), "--budgets", ",".join(BUDGETS)]


@dataclass(frozen=True)
class Cluster:
    """A database and a record that workers share."""

    database: Postgres
    record: Server

    def trials(self, name: str) -> list[optuna.trial.FrozenTrial]:
        """Of a study in Optuna."""
        storage = optuna.storages.RDBStorage(self.database.url("optuna"))
        try:
            return optuna.load_study(study_name=name, storage=storage).trials
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def complete(self, name: str) -> dict[tuple[float, int], list[float]]:
        """The values by place; all trials have ended, and a place that Optuna proposed again was
        answered from what was known."""
        trials = self.trials(name)
        assert not [trial for trial in trials if not trial.state.is_finished()]
        done = [trial for trial in trials if trial.state.name == "COMPLETE"]
        values: dict[tuple[float, int], list[float]] = {}
        run_ids: dict[tuple[float, int], str] = {}
        for trial in done:
            setting = trial.params["sparsity"], trial.params["budget"]
            assert values.setdefault(setting, trial.values) == trial.values
            assert run_ids.setdefault(setting, trial.user_attrs[RUN_ID]) == trial.user_attrs[RUN_ID]
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
        runs = open_store(self.record.address)._backend.runs(kind, study)
        assert {run.entity.info.status for run in runs} == {"FINISHED"}
        return runs


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
    outputs = [process.communicate(timeout=480) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [out for out, _ in outputs]


def measured(folder: Path, study: str) -> list[dict[str, Any]]:
    """A row for each level that was measured to its end: by whom, and at what cost."""
    lines = (folder / "studies" / study / "workers.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def replies(folder: Path) -> Counter[tuple[str, str]]:
    """How often each reply was stored, by its file and its key."""
    files = [*folder.glob("generations/*.jsonl"), *folder.glob("calibration/*.jsonl")]
    lines = [(f.name, x) for f in files for x in f.read_bytes().splitlines(keepends=True)]
    return Counter((name, json.loads(x)["key"]) for name, x in lines if x.endswith(b"\n"))


def until(condition: Any, seconds: float = 240) -> Any:
    """What `condition` returns, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return result


@pytest.mark.database
def test_four_workers_share_what_one_would_do(cluster: Cluster, tmp_path: Path) -> None:
    flags = ["--questions", "4", "--method", "sparsegpt:calibration=prompts"]
    one, four = tmp_path / "one", tmp_path / "four"
    workers = [cluster.start(four, "four", *flags) for _ in range(4)]
    with stopped(*workers):
        tables = ended(*workers)
    alone = cluster.start(one, "one", *flags)
    with stopped(alone):
        (table,) = ended(alone)
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
    numbers = {trial.number for trial in cluster.trials("four")}
    assert {int(run.tags["optuna.trial_number"]) for run in cluster.runs("trial", "four")} < numbers


@pytest.mark.database
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
    states = [trial.state.name for trial in cluster.trials("killed")]
    assert "FAIL" in states


@pytest.mark.database
@pytest.mark.parametrize("victim", ["database", "record"])
def test_workers_wait_through_an_outage(cluster: Cluster, tmp_path: Path, victim: str) -> None:
    workers = [cluster.start(tmp_path, victim, "--questions", "12", "--method", "magnitude")]
    workers.append(cluster.start(tmp_path, victim, "--questions", "12", "--method", "magnitude"))
    rows = tmp_path / "studies" / victim / "workers.jsonl"
    server: Postgres | Server = getattr(cluster, victim)
    with stopped(*workers):
        until(rows.exists)
        server.stop()
        time.sleep(4)
        server.start()
        errors = [process.communicate(timeout=480)[1] for process in workers]
        assert [process.returncode for process in workers] == [0, 0], errors
    assert any("does not answer" in err and "answers again" in err for err in errors), errors
    assert len(cluster.complete(victim)) == len(LEVELS) * len(BUDGETS)
    assert set(replies(tmp_path).values()) == {1}
    assert len(cluster.runs("trial", victim)) == len(LEVELS) * len(BUDGETS)
    assert len(cluster.runs("level", victim)) == len(LEVELS)


@pytest.mark.engine
def test_workers_end_with_who_started_them_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """On one machine, with the default database."""
    code = (
        "import sys; from pathlib import Path; from experiments.sparsity_search import main; "
        "sys.exit(main(sys.argv[2:], root=Path(sys.argv[1])))"
    )
    flags = [*ASKED, "--questions", "12", "--method", "magnitude", "--study", "s"]
    words = [sys.executable, "-c", code, str(tmp_path), *flags, "--workers", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "mlruns"
    leases = Leases(folder / "studies" / "s", 30.0)

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(words, env=environment, stdout=pipe, stderr=pipe, text=True)

    parent = start()
    with stopped(parent):
        until(lambda: len(replies(folder)) > 8)
        present = [leases.owner(name) for name in leases.names() if name.startswith("worker-")]
        parent.kill()
        parent.wait()
    for owner in filter(None, present):
        until(lambda owner=owner: not started(owner.pid), 30)
    before = set(replies(folder))
    again = start()
    with stopped(again):
        out, err = again.communicate(timeout=480)
    assert again.returncode == 0, err
    assert out.count("Pareto front") == 1
    assert set(re.findall(r"^\[(.*?)\]", err, re.M)) == {"worker 1", "worker 2"}
    assert before < set(replies(folder))
    assert set(replies(folder).values()) == {1}
    assert sorted(row["level"] for row in measured(folder, "s")) == [float(key) for key in LEVELS]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--workers", "0"], "--workers 0 is too few"),
        (["--gpus", "0,x"], "--gpus 0,x names no GPUs: write 0,1,2,3"),
        (["--gpus", "0,0+1"], "names a GPU twice"),
        (["--gpus", "0,1", "--workers", "2"], "--workers and --gpus exclude each other"),
        (["--heartbeat", "0"], "give 1 to 3600 seconds"),
        (["--workers", "2", "--model", "no/such"], "no/such"),
        (["--workers", "2", "--storage", "sqlite:////no/such/folder/x.db"], "--storage"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    says: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(flags, tmp_path) == 2
    err = capfd.readouterr().err
    assert says in err
    assert err.count("\n") == 1, err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_gpus_none_are_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "0"], tmp_path) == 2
    assert "there is no GPU that PyTorch can use here" in capfd.readouterr().err
    assert not (tmp_path / "mlruns").exists()


def test_each_worker_sees_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [item["CUDA_VISIBLE_DEVICES"] for item in on_gpus(["0+1", "3"]).values()] == [
        "0,1", "3"
    ]  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert on_gpus(["2"]) == {"gpu 2": {"CUDA_VISIBLE_DEVICES": "6"}}
    with pytest.raises(BadInput, match="no GPU 4; those here are 0 to 3"):
        on_gpus(["4"])


def test_a_worker_is_not_told_to_start_workers() -> None:
    words = ["--workers", "2", "--model", "tiny-1m", "--gpus=0,1", "--workers=3", "--seed", "1"]
    assert without_flags(words) == ["--model", "tiny-1m", "--seed", "1"]
