"""The record on PostgreSQL, by itself and behind an MLflow server: shared, interrupted, refused."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest
import sqlalchemy
from mlflow import MlflowClient

from lrm.errors import BadInput
from tests.support.postgres import Postgres, postgres
from tests.support.stored_runs import row, stored, write_generations
from tests.support.stores import Server, python, serving
from tracking import address
from tracking.store import Store, open_store

pytestmark = pytest.mark.database

ROOT = Path(__file__).resolve().parents[2]
OUTAGE = 3.0
JOIN = """
    with open_store().study("shared", {"seed": 0}, {}, {}) as study:
        print(study.id)
"""


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@dataclass(frozen=True)
class Started:
    """A store that was not there when several processes opened it and one study in it, at once."""

    uri: str
    outputs: list[str]
    statuses: list[int]


@pytest.fixture(scope="module")
def direct(database: Postgres) -> Started:
    return _start(database.url("direct"), 4)


@pytest.fixture(scope="module")
def server(database: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(database.url("served"), tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def served(server: Server) -> Started:
    return _start(server.address, 2)


def _start(uri: str, processes: int) -> Started:
    running = [python(JOIN, uri) for _ in range(processes)]
    outputs = [process.communicate()[0] for process in running]
    return Started(uri, outputs, [process.returncode for process in running])


@pytest.fixture(params=["direct", "served"])
def started(request: pytest.FixtureRequest) -> Started:
    store: Started = request.getfixturevalue(request.param)
    return store


def test_several_processes_start_a_store_and_a_study_at_once(started: Started) -> None:
    assert not any(started.statuses), started.outputs
    (run_id,) = {output.strip() for output in started.outputs}
    client = MlflowClient(started.uri)
    names = Counter(experiment.name for experiment in client.search_experiments())
    assert names == Counter(["Default", "lrm/studies", "lrm/levels", "lrm/trials"])
    run = client.get_run(run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "0"})
    assert not [tag for tag in run.data.tags if tag.startswith("worker/")]
    everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [run.info.run_id for run in client.search_runs(everywhere)] == [run_id]


def _write(store: Store, name: str, outage: Callable[[], None]) -> None:
    """A study with two levels and four trials, and an outage in the middle of the second level."""
    with store.study(name, {"seed": 0}, {}, {"budgets": [16, 32]}) as study:
        for level in ("0.0", "0.5"):
            with study.level(level, f"sparsity {level}", {"sparsity": level}) as run:
                run.log_samples([{"score": 1.0, "looped": False, "tokens": 4, "level": level}])
                if level == "0.5":
                    outage()
                write_generations(run, "hops", [row("hops", "q1", 1, 9, text=f"naïve {level}")])
                run.log_curve({"accuracy": {16: 0.25, 32: 0.75}})
            for budget in (16, 32):
                setting = f"{level} at {budget}"
                study.trial(
                    setting,
                    setting,
                    {"budget": budget},
                    {"tokens": 9.0},
                    number=0,
                    level_run_id=run.id,
                )
        study.log_curve({"pareto/accuracy": {0: 0.2, 1: 0.9}})
        study.artifact("frontier/front.json", b"[1]")


def _check(store: Store, name: str) -> None:
    """All of it is there, and nothing twice."""
    study, levels = store.study_runs(name)
    assert study.unfinished is None
    assert study.history("pareto/accuracy") == {0: 0.2, 1: 0.9}
    assert study.artifact("frontier/front.json") == b"[1]"
    assert [level.tags["identity"] for level in levels] == ["0.5", "0.0"]
    for level in levels:
        assert level.unfinished is None
        assert level.history("accuracy") == {16: 0.25, 32: 0.75}
        text = f"naïve {level.tags['identity']}"
        assert list(level.replies("hops")) == [stored(row("hops", "q1", 1, 9, text=text))]
        table = json.loads(level.artifact("samples.json") or b"")
        assert table["data"] == [[1.0, False, 4, level.tags["identity"]]]
    client = MlflowClient(store.uri)
    trials = client.get_experiment_by_name("lrm/trials").experiment_id
    runs = client.search_runs([trials], f"tags.study = '{name}'")
    assert Counter(run.data.tags["identity"] for run in runs) == Counter(
        f"{level} at {budget}" for level in ("0.0", "0.5") for budget in (16, 32)
    )
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.parametrize("stopped", ["direct", "served", "served itself"])
def test_an_outage_loses_nothing_and_doubles_nothing(
    stopped: str,
    database: Postgres,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    where, _, itself = stopped.partition(" ")
    store = open_store(request.getfixturevalue(where).uri, tmp_path)
    victim: Postgres | Server = request.getfixturevalue("server") if itself else database
    timers: list[Timer] = []

    def outage() -> None:
        victim.stop()
        timers.append(Timer(OUTAGE, victim.start))
        timers[0].start()

    _write(store, stopped, outage)
    timers[0].join()
    _check(open_store(store.uri, tmp_path), stopped)
    said = capfd.readouterr().err.splitlines()
    shown = store.uri.replace(f"lrm:{database.password}", "***")
    assert [line.partition(" (")[0] for line in said] == [
        f"The store {shown} does not answer", f"The store {shown} answers again.",
    ]  # fmt: skip


def test_who_is_interrupted_in_an_outage_leaves_at_once(
    direct: Started, database: Postgres, tmp_path: Path
) -> None:
    store, began = open_store(direct.uri, tmp_path), []

    def interrupt() -> None:
        database.stop()
        began.append(time.monotonic())
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt), store.study("interrupted", {}, {}, {}) as study:
            interrupt()
        assert time.monotonic() - began[0] < 5
    finally:
        database.start()
    # Its process lives, so nothing but its own end closes the run.
    assert MlflowClient(direct.uri).get_run(study.id).info.status == "RUNNING"
    with store.study("interrupted", {}, {}, {}) as again:
        assert again.id == study.id
    assert MlflowClient(direct.uri).get_run(study.id).info.status == "FINISHED"


def test_a_wrong_password_is_refused_and_not_shown(database: Postgres) -> None:
    wrong = database.url("direct").replace(database.password, "hunter2/x")
    done = subprocess.run(
        [sys.executable, "-m", "experiments.compare", "--study", "a", "b", "--tracking-uri", wrong],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Cannot use the store postgresql+psycopg://***@127.0.0.1:")
    assert "password authentication failed" in line
    assert "hunter2" not in line


def test_a_newer_schema_is_refused(database: Postgres, tmp_path: Path) -> None:
    uri = database.url("newer")
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as session:
        session.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num text)"))
        session.execute(sqlalchemy.text("INSERT INTO alembic_version VALUES ('ffffffffffff')"))
    engine.dispose()
    with pytest.raises(BadInput, match=r"newer MLflow \(its schema ffffffffffff"):
        open_store(uri, tmp_path)


@pytest.mark.parametrize("scheme", ["http://", "postgresql://me:hunter2@"])
def test_who_does_not_answer_is_given_up_in_seconds(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "CONNECT_SECONDS", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(BadInput, match="Cannot use the store") as refused:
            open_store(f"{scheme}127.0.0.1:{silent.getsockname()[1]}/x", tmp_path)
        assert time.monotonic() - began < 8
    assert "hunter2" not in str(refused.value)


def test_artifacts_follow_a_moved_project(database: Postgres, tmp_path: Path) -> None:
    # Other processes, as MLflow remembers where a run's artifacts lie as long as one lives.
    uri = database.url("moving")
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        root.mkdir()
    script = """
        import sys
        from pathlib import Path
        from lrm.errors import BadInput
        try:
            store = open_store(None, Path(sys.stdin.readline().strip()))
        except BadInput as error:
            sys.exit(str(error))
        with store.study("demo", {}, {}, {}) as study:
            print(store.study_runs("demo")[0].artifact("report.html"))
            study.artifact("report.html", b"here")
    """

    def use(root: Path) -> str:
        return python(script, uri).communicate(f"{root}\n")[0].strip()

    assert use(first) == "None"
    # Two folders, one database: all artifacts stay where they were first put.
    assert use(second) == "b'here'"
    first.rename(tmp_path / "renamed")
    message = f"keeps its artifacts in {first}/mlruns/artifacts, which is not here"
    assert message in use(second)
    assert use(tmp_path / "renamed") == "b'here'"
    assert not first.exists()


def test_both_spellings_of_the_address_are_one_store(direct: Started, tmp_path: Path) -> None:
    plain = direct.uri.replace("postgresql+psycopg:", "postgresql:")
    assert plain != direct.uri
    assert open_store(plain, tmp_path).uri == direct.uri
