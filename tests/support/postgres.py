"""A real PostgreSQL on this machine, made for a test, which may stop it and start it again."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import sql

SECONDS = 60
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
max_connections = 200
"""


@dataclass(frozen=True)
class Postgres:
    """A running server. `password` is what its superuser `lrm` comes in with."""

    folder: Path
    port: int
    password: str
    _user: str | None

    def url(self, database: str) -> str:
        """The address of a database, which is made if it is not there."""
        with psycopg.connect(self._address("postgres", "postgresql"), autocommit=True) as session:
            known = "SELECT 1 FROM pg_database WHERE datname = %s"
            if not session.execute(known, [database]).fetchone():
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self._address(database, "postgresql+psycopg")

    def start(self) -> None:
        """Returns when the server answers."""
        self._control("start", "-l", str(self.folder / "log"), "-o", f"-p {self.port}")

    def stop(self) -> None:
        """Breaks every connection off at once, as a crash would."""
        self._control("stop", "-m", "immediate")

    def _control(self, order: str, *words: str) -> None:
        place = ["-D", str(self.folder / "data"), "-w", "-t", str(SECONDS)]
        _run([_binary("pg_ctl"), order, *place, *words], self._user)

    def _address(self, database: str, scheme: str) -> str:
        return f"{scheme}://lrm:{self.password}@127.0.0.1:{self.port}/{database}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Starts PostgreSQL on a free port of 127.0.0.1; its data is gone afterwards."""
    # It refuses to run as root, so it gets another user, who cannot pass through pytest's folders.
    user = "nobody" if os.geteuid() == 0 else None
    with TemporaryDirectory(prefix="lrm-postgres-") as name:
        folder, password = Path(name), secrets.token_hex(8)
        (folder / "password").write_text(password)
        if user:
            shutil.chown(folder, user)
        access = ["-U", "lrm", "-A", "scram-sha-256", "--pwfile", str(folder / "password")]
        _run([_binary("initdb"), "-D", str(folder / "data"), "-E", "UTF8", "-N", *access], user)
        with (folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        server = Postgres(folder, port, password, user)
        server.start()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()


def _binary(name: str) -> str:
    """The path of one of PostgreSQL's programs, which Debian keeps off PATH; the newest there."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    path = shutil.which(name) or (str(found[-1]) if found else None)
    if path is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return path


def _version(path: Path) -> float:
    return float(path.parents[1].name)


def _run(command: list[str], user: str | None) -> None:
    # The server inherits stdout and stderr, so they must not be pipes that one waits on.
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    group = pwd.getpwnam(user).pw_gid if user else None
    done = subprocess.run(
        command, user=user, group=group, extra_groups=[] if user else None, cwd="/", **quiet,
        timeout=2 * SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
