"""A store that is out is waited for; whatever else goes wrong is raised at once."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

from tests.support.postgres import postgres
from tracking.client import RetryingArtifacts, RetryingClient
from tracking.outages import find_outage
from tracking.processes import dead_marks, is_alive, started, this_mark, this_process
from tracking.retry import Retry, StoreUnavailable

EXPERIMENT = b'{"experiment": {"experiment_id": "1", "name": "lrm/levels"}}'
ARTIFACT = b"the bytes"
HALF = 206
"""Instead of a status: the connection breaks within the body."""


def test_a_locked_database_is_waited_for_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, calls = tmp_path / "x.db", []
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    def write() -> int:
        calls.append(1)
        if len(calls) == 3:
            holder.rollback()
        with closing(sqlite3.connect(file, timeout=0)) as database:
            return database.execute("PRAGMA user_version = 7").rowcount

    assert Retry("sqlite:///x")(write) == -1
    holder.close()
    assert capsys.readouterr().err.splitlines() == [
        "The store sqlite:///x does not answer (database is locked); waiting. Nothing is lost.",
        "The store sqlite:///x answers again.",
    ]


def test_a_locked_database_behind_sqlalchemy_is_an_outage_and_a_broken_one_is_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "x.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        outage = find_outage(failure(lambda: execute(engine, "CREATE TABLE t (x)")))
        assert outage
        assert (outage.answered, outage.reason) == (False, "database is locked")
    assert find_outage(failure(lambda: execute(engine, "SELECT x FROM nowhere"))) is None
    full = failure(lambda: execute(engine, "PRAGMA max_page_count = 1", "CREATE TABLE t (x)"))
    assert "full" in str(full)
    assert find_outage(full) is None
    engine.dispose()


def execute(engine: sqlalchemy.Engine, *statements: str) -> None:
    with engine.begin() as session:
        for statement in statements:
            session.execute(sqlalchemy.text(statement))


def failure(call: Callable[[], object]) -> Exception:
    """What a call raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011
        call()
    assert isinstance(raised.value, Exception)
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        OSError("No space left on device"),
        RuntimeError("connection refused: the database system is starting up, HTTP 503"),
        MlflowException("RESOURCE_DOES_NOT_EXIST: Run with id=5030 not found"),
        sqlalchemy.exc.OperationalError("connection refused", {}, Exception("connection refused")),
    ],
)
def test_what_waiting_does_not_mend_is_raised_at_once(error: Exception) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise error

    # Not even where it comes while an outage is being dealt with.
    with pytest.raises(type(error)) as raised:  # noqa: PT012
        try:
            raise ConnectionRefusedError("Connection refused")
        except ConnectionError:
            Retry("sqlite:///x")(fail)
    assert raised.value is error
    assert len(calls) == 1


def test_ctrl_c_in_an_outage_ends_it() -> None:
    def interrupted() -> None:
        try:
            raise ConnectionRefusedError("Connection refused")
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retry("http://x")(interrupted)


def test_it_ends_in_a_sentence() -> None:
    address = f"postgresql+psycopg://me:hunter2@127.0.0.1:{closed_port()}/x"
    engine = sqlalchemy.create_engine(address)
    with pytest.raises(
        StoreUnavailable, match=r"\*\*\*@127.*refused.*the same command"
    ) as given_up:
        Retry(address, deadline=0.5)(engine.connect)
    assert "hunter2" not in str(given_up.value)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@dataclass
class Web:
    """A server that answers as the statuses say, one after the other; None hangs up.

    The last one stays.
    """

    statuses: list[int | None]
    asked: list[float] = field(default_factory=list)
    port: int = 0

    @property
    def client(self) -> MlflowClient:
        address = f"http://127.0.0.1:{self.port}"
        return MlflowClient(address, address)

    def next(self) -> int | None:
        self.asked.append(time.monotonic())
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@contextmanager
def serving(*statuses: int | None, port: int = 0) -> Iterator[Web]:
    web = Web(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = "experiments" in self.path or "artifacts" in self.path
            status = web.next() if known else 404
            if status is None:
                return
            body = b'{"message": "no"}'
            if status in (200, HALF):
                listed = b'{"files": []}' if "?" in self.path else ARTIFACT
                body = EXPERIMENT if "experiments" in self.path else listed
            self.send_response(200 if status == HALF else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:4] if status == HALF else body)

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        web.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield web
        server.shutdown()


@pytest.mark.parametrize("out", [502, 503, 504, 500, None])
def test_a_server_that_recovers_is_waited_for(
    out: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(out, out, 200) as web:
        client = RetryingClient(web.client, Retry("http://me:hunter2@x"))
        assert client.get_experiment("1").name == "lrm/levels"
        assert len(web.asked) == 3
    first, last = capsys.readouterr().err.splitlines()
    verb = "answers with an error" if out == 500 else "does not answer"
    assert first.startswith(f"The store http://***@x {verb} ({f'HTTP {out}' if out else 'Remote'}")
    assert last == "The store http://***@x answers again."


@pytest.mark.parametrize("out", [503, 500, None, HALF])
@pytest.mark.parametrize("longer", [True, False])
def test_an_artifact_is_read_through_an_outage(
    out: int | None, longer: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # MLflow lists before it reads; its own error says nothing of the cause, so we list again.
    listed_again = [503 if out == HALF else out] if longer else []
    with serving(200, out, *listed_again, 200) as web:
        uri = f"http://127.0.0.1:{web.port}/api/2.0/mlflow-artifacts/artifacts/run"
        artifacts = RetryingArtifacts(HttpArtifactRepository(uri), Retry("http://x"))
        assert artifacts.download("report.html", tmp_path).read_bytes() == ARTIFACT
    assert ("answers again" in capsys.readouterr().err) == longer


def test_an_artifact_that_is_not_there_is_raised_at_once(tmp_path: Path) -> None:
    with serving(404) as web:
        uri = f"http://127.0.0.1:{web.port}/api/2.0/mlflow-artifacts/artifacts/run"
        artifacts = RetryingArtifacts(HttpArtifactRepository(uri), Retry("http://x"))
        with pytest.raises(requests.HTTPError):
            artifacts.paths()
        assert len(web.asked) == 1


def test_a_server_that_is_not_up_yet_is_waited_for() -> None:
    port = closed_port()
    address = f"http://127.0.0.1:{port}"
    client = RetryingClient(MlflowClient(address, address), Retry(address))
    names: list[str] = []
    waiting = threading.Thread(target=lambda: names.append(client.get_experiment("1").name))
    waiting.start()
    time.sleep(0.5)
    with serving(200, port=port):
        waiting.join(20)
    assert names == ["lrm/levels"]


def test_an_error_500_that_stays_is_told_long_before_an_outage_would_be() -> None:
    with serving(500) as web, pytest.raises(StoreUnavailable, match=r"HTTP 500.*its log says why"):
        RetryingClient(web.client, Retry("http://x", error_deadline=1.0)).get_experiment("1")
    assert 1 <= web.asked[-1] - web.asked[0] < 10
    assert Retry("http://x").error_deadline <= 60 < Retry("http://x").deadline


def test_errors_500_apart_from_each_other_are_no_lasting_error() -> None:
    with serving(500, 503, 500, 503, 500, 200) as web:
        client = RetryingClient(web.client, Retry("http://x", error_deadline=0.1))
        with pytest.raises(StoreUnavailable, match="HTTP 500"):
            RetryingClient(web.client, Retry("http://x", error_deadline=0.0)).get_experiment("1")
        assert client.get_experiment("1").name == "lrm/levels"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_a_refusal_is_raised_at_once(status: int) -> None:
    with serving(status) as web:
        with pytest.raises(MlflowException):
            RetryingClient(web.client, Retry("http://x")).get_experiment("1")
        assert len(web.asked) == 1


def test_once_waits_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for status in (500, 503):
        with serving(status) as web:
            client = RetryingClient(web.client, Retry("http://x")).once
            with pytest.raises(StoreUnavailable):
                client.get_experiment("1")
            assert len(web.asked) == 1
    assert not capsys.readouterr().err


@pytest.mark.database
def test_postgresql_that_is_away_is_an_outage_and_a_refused_login_is_an_error() -> None:
    with postgres() as database:
        url = database.url("x")
        engine = sqlalchemy.create_engine(url)
        wrong = sqlalchemy.create_engine(url.replace(database.password, "hunter2"))
        session = engine.connect()
        refused = find_outage(failure(wrong.connect))
        assert refused
        assert refused.answered
        assert find_outage(failure(lambda: execute(engine, "SELECT x FROM nowhere"))) is None

        pid = session.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
        execute(engine, f"SELECT pg_terminate_backend({pid}, 5000)")
        terminated = find_outage(failure(lambda: session.execute(sqlalchemy.text("SELECT 1"))))
        assert terminated
        assert not terminated.answered
        session.close()

        session = engine.connect()
        session.execute(sqlalchemy.text("SELECT 1"))
        database.stop()
        for call in (lambda: session.execute(sqlalchemy.text("SELECT 1")), engine.connect):
            gone = find_outage(failure(call))
            assert gone
            assert not gone.answered
        session.close()

        starter = threading.Timer(0.5, database.start)
        starter.start()
        with Retry(url)(engine.connect) as again:
            assert again.scalar(sqlalchemy.text("SELECT 1")) == 1
        starter.join()
        wrong.dispose()
        engine.dispose()


def test_a_process_is_known_by_the_start_that_stores_hold() -> None:
    mine = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert started(os.getpid()) == mine
    assert this_process()["process_start"] == mine
    assert is_alive(this_process())
    assert not is_alive({**this_process(), "process_start": str(int(mine) - 1)})
    assert not is_alive({"pid": "x"})
    assert not dead_marks(this_mark())


def test_a_process_that_has_ended_is_dead_also_as_a_zombie() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert started(process.pid)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert started(process.pid) == ""
    process.communicate()
    assert started(process.pid) == ""
