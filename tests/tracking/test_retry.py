"""A store that does not answer is waited for; whatever else goes wrong is not."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from tracking.address import with_driver
from tracking.retry import Unanswered, patiently, silence


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

    assert patiently("sqlite:///x", write) == -1
    holder.close()
    assert capsys.readouterr().err.splitlines() == [
        "The store sqlite:///x does not answer (database is locked); waiting. Nothing is lost.",
        "The store sqlite:///x answers again.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "connection failed: connection to server at 127.0.0.1 failed: Connection refused",
        "connection to server at 127.0.0.1 failed: server closed the connection unexpectedly",
        "consuming input failed: server closed the connection unexpectedly",
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  the database system is shutting down",
        "connection failed: Connection reset by peer",
        "Caused by ResponseError('too many 503 error responses')",
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection'))",
    ],
)
def test_what_servers_said_while_they_were_stopped_and_started_is_silence(text: str) -> None:
    assert silence(RuntimeError(text))


@pytest.mark.parametrize(
    "error",
    [
        OSError("No space left on device"),
        RuntimeError('connection failed: FATAL: password authentication failed for user "x"'),
        RuntimeError("RESOURCE_DOES_NOT_EXIST: Run with id=5030 not found"),
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
            patiently("sqlite:///x", fail)
    assert raised.value is error
    assert len(calls) == 1


def test_it_ends_in_a_sentence() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"postgresql://me:hunter2@127.0.0.1:{unused.getsockname()[1]}/x"
    engine = sqlalchemy.create_engine(with_driver(place))
    with pytest.raises(Unanswered, match=r"\*\*\*@127.*refused.*the same command") as given_up:
        patiently(place, engine.connect, seconds=0.5)
    assert "hunter2" not in str(given_up.value)
