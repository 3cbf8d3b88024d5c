"""The workers of one study: who is on it, who measured what, and who writes what it comes to.

All of it lies in the study's folder, which they share: leases, a line in workers.jsonl for each
level that a worker measured, and a mark when the study was concluded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from experiments.cli.progress import say
from experiments.coordination.leases import Leases, Owner
from lrm.errors import BadInput
from lrm.files import write_atomic
from lrm.records import LevelKey
from tracking.processes import this_process

PRESENT = "worker-"


class WorkerMembership:
    """A study's workers, of which this process is one while it is inside `joined`.

    `folder` is the study's own; `heartbeat` the length of their leases in seconds.
    """

    def __init__(self, folder: Path, heartbeat: float) -> None:
        self.folder = folder
        self.leases = Leases(folder, heartbeat)
        self.name = f"{PRESENT}{uuid4().hex[:12]}"
        self._before = self._mark()

    @property
    def id(self) -> str:
        """What tells the folder from others, wherever it is mounted or moved to."""
        path = self.folder / "id"
        if not path.is_file():
            write_atomic(path, uuid4().hex.encode())
        return path.read_text()

    @contextmanager
    def joined(self, one_host: bool) -> Iterator[None]:
        """Makes this process known to the others; BadInput if `one_host` and one is elsewhere."""
        with self.leases.hold("join", "joins the study"):
            self.leases.take(self.name)
            try:
                self._meet(one_host)
            except BaseException:
                self.leases.release(self.name)
                raise
        try:
            yield
        finally:
            self.leases.release(self.name)

    def _meet(self, one_host: bool) -> None:
        own = self.leases.owner(self.name)
        for name in self.leases.names():
            other = self.leases.owner(name)
            if not name.startswith(PRESENT) or name == self.name or self.leases.is_free(name):
                continue
            if one_host and own and other and own.host != other.host:
                self._see_gone(name, other)

    def _see_gone(self, name: str, other: Owner) -> None:
        say(f"Looking for {self.leases.seconds:g} s whether {other} still works on this study.")
        if not self.leases.take(name, watch=True):
            raise BadInput(
                f"{other} works on this study, and an SQLite file is no database for several "
                "machines: give all of them --storage postgresql://... and a --tracking-uri, or "
                "wait for that one."
            )
        self.leases.release(name)

    def log(self, facts: Mapping[str, Any]) -> None:
        """Adds a line on what this worker did to workers.jsonl."""
        process = this_process()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"worker": f"{process['host']}:{process['pid']}", **facts, "at": now}
        with (self.folder / "workers.jsonl").open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")

    @contextmanager
    def concluding(self, **what: Any) -> Iterator[tuple[bool, bool]]:
        """Alone among the workers; yields whether this one is to write what the study comes to, and
        whether `what` it comes to is new.

        It is not to if another has written the same since this one came.
        """
        with self.leases.hold("conclude", "writes the report"):
            found = self._mark()
            new = any(found.get(name) != what[name] for name in what)
            due = new or found == self._before
            yield due, new
            if due:
                mark = {**what, **this_process(), "at": datetime.now(UTC).isoformat()}
                write_atomic(self.folder / "concluded.json", json.dumps(mark).encode())

    def _mark(self) -> dict[str, Any]:
        path = self.folder / "concluded.json"
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
        return found


def folder_of(studies: Path, name: str) -> Path:
    """The folder of a study among others, whatever signs its name has."""
    return studies / quote(name, safe=" ")


def lease_of(key: LevelKey) -> str:
    """The name of a level's lease."""
    return f"level-{quote(str(key), safe='')}"
