"""Stores of several teams: each made quickly as a copy of one, with an identity of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def mlflow_server(fresh: Path, folder: Path) -> Iterator[str]:
    """An MLflow server on this machine with the empty store of `fresh`; its address."""
    shutil.copy(fresh / "mlruns" / "mlflow.db", folder / "server.db")
    with sqlite3.connect(folder / "server.db") as database:
        proxied = "UPDATE experiments SET artifact_location = 'mlflow-artifacts:/' || experiment_id"
        database.execute(proxied)
    database.close()
    words = (
        "server", "--backend-store-uri", f"sqlite:///{folder}/server.db",
        "--artifacts-destination", str(folder / "artifacts"),
    )  # fmt: skip
    with mlflow(*words, folder=folder) as address:
        yield address


@contextmanager
def mlflow(*words: str, folder: Path) -> Iterator[str]:
    """An `mlflow` command that serves, run in `folder`; its address on this machine."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", *words, *place]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(f"{address}/health", process)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait(page: str, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(page, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not come up: {process.poll()}")
