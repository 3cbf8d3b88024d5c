"""Stores of several teams: each made quickly as a copy of one, with an identity of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tracking.store import open_store

TABLES = ("experiments", "runs", "params", "metrics", "latest_metrics", "tags")


def copied(fresh: Path, root: Path) -> Path:
    """A project folder at `root` with the empty store of `fresh`, of another age."""
    shutil.copytree(fresh, root)
    with sqlite3.connect(root / "mlruns" / "mlflow.db") as database:
        database.execute("UPDATE experiments SET creation_time = ?", (time.time_ns(),))
    database.close()
    open_store(None, root)
    return root


def uri(root: Path) -> str:
    return f"sqlite:///{root}/mlruns/mlflow.db"


def everything(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that a store's database says of its runs, and the bytes of their artifacts."""
    database = sqlite3.connect(root / "mlruns" / "mlflow.db")
    found = {name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr) for name in TABLES}
    database.close()
    files = [path for path in root.rglob("artifacts/**/*") if path.is_file()]
    return found | {"files": sorted((str(path), path.read_bytes()) for path in files)}


def python(script: str, uri: str) -> subprocess.Popen[str]:
    """Starts a script in which `open_store()` opens `uri`; stdout and stderr come as one."""
    # MLflow is quieter where it believes it is being tested, so it must not know.
    silencing = {"CI", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in silencing}
    return subprocess.Popen(
        [sys.executable, "-c", f"from tracking.store import open_store\n{textwrap.dedent(script)}"],
        cwd=Path(__file__).resolve().parents[2],
        env={**environment, "MLFLOW_TRACKING_URI": uri},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def mlflow_server(fresh: Path, folder: Path) -> Iterator[str]:
    """An MLflow server on this machine with the empty store of `fresh`; its address."""
    shutil.copy(fresh / "mlruns" / "mlflow.db", folder / "server.db")
    with sqlite3.connect(folder / "server.db") as database:
        proxied = "UPDATE experiments SET artifact_location = 'mlflow-artifacts:/' || experiment_id"
        database.execute(proxied)
    database.close()
    with serving(f"sqlite:///{folder}/server.db", folder) as server:
        yield server.address


@dataclass
class Server:
    """An `mlflow` command that serves on a port of this machine, run in `folder`."""

    words: tuple[str, ...]
    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when the server answers."""
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1")
        command = [sys.executable, "-m", "mlflow", *self.words, *place]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **quiet},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait(f"{self.address}/health", self._process)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends the server, by default as a crash would."""
        if self._process:
            os.killpg(self._process.pid, how)
            self._process.wait(30)
            self._process = None


@contextmanager
def serving(backend: str, folder: Path) -> Iterator[Server]:
    """An MLflow server on a free port, in front of a database; its artifacts lie in `folder`."""
    artifacts = str(folder / "artifacts")
    words = ("server", "--backend-store-uri", backend, "--artifacts-destination", artifacts)
    with mlflow(*words, folder=folder) as server:
        yield server


@contextmanager
def mlflow(*words: str, folder: Path) -> Iterator[Server]:
    """An `mlflow` command that serves, on a free port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = Server(words, folder, unused.getsockname()[1])
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGTERM)


def _wait(page: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(page, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not come up: {process.poll()}")


@contextmanager
def unwilling() -> Iterator[str]:
    """A server on this machine that takes nobody's password, with one."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401, f"not {self.headers['Authorization']}")

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:hunter2@127.0.0.1:{server.server_port}"
        server.shutdown()
