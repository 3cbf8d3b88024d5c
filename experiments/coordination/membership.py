"""The workers of one study: who works on it, who measured which level, who writes its report.

All of it is in the study's folder, which they share: leases, a line in workers.jsonl for each level
that a worker measured, and concluded.json when the report was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote
from uuid import uuid4

from experiments.cli.progress import say
from experiments.coordination.leases import Leases, Owner
from lrm.digests import of_json
from lrm.errors import BadInput
from lrm.files import write_atomic
from lrm.records.model import LevelKey
from tracking.processes import this_process

PRESENT = "worker-"
"""How the names of the leases begin that workers hold while they are on the study."""
LONGEST_FOLDER = 255
"""Bytes in the name of a folder, on nearly every file system."""


class Conclusion(TypedDict, total=False):
    """What concluded.json says: the levels that the report is on, its store, who wrote it when."""

    levels: list[str]
    store: str
    host: str
    pid: str
    process_start: str
    at: str


class WorkerMembership:
    """The workers of a study, of which this process is one inside `joined`.

    `folder` is the study's own; `heartbeat` is the length of their leases in seconds.
    """

    def __init__(self, folder: Path, heartbeat: float) -> None:
        self.folder = folder
        self.leases = Leases(folder, heartbeat)
        self.name = f"{PRESENT}{uuid4().hex[:12]}"
        self._before = self._concluded()

    @property
    def id(self) -> str:
        """Identifies the folder, wherever it is mounted or moved to."""
        path = self.folder / "id"
        if not path.is_file():
            write_atomic(path, uuid4().hex.encode())
        return path.read_text(encoding="utf-8")

    @contextmanager
    def joined(self, one_host: bool) -> Iterator[None]:
        """Makes this process known to the others; BadInput if `one_host` and one is elsewhere."""
        with self.leases.hold("join", "joins the study"):
            self.leases.take(self.name)
            try:
                if one_host:
                    self._require_one_host()
            except BaseException:
                self.leases.release(self.name)
                raise
        try:
            yield
        finally:
            self.leases.release(self.name)

    def _require_one_host(self) -> None:
        own = self.leases.owner(self.name)
        for name in self.leases.names():
            other = self.leases.owner(name)
            if not name.startswith(PRESENT) or name == self.name or self.leases.is_free(name):
                continue
            if own and other and own.host != other.host:
                self._require_gone(name, other)

    def _require_gone(self, name: str, other: Owner) -> None:
        say(f"Looking for {self.leases.seconds:g} s whether {other} still works on this study.")
        if not self.leases.take(name, watch=True):
            raise BadInput(
                f"{other} works on this study, and an SQLite file is no database for several "
                "machines: give all of them --storage postgresql://... and a --tracking-uri, or "
                "wait for that one."
            )
        self.leases.release(name)

    def log(self, facts: Mapping[str, object]) -> None:
        """Adds a line to workers.jsonl about what this worker did."""
        process = this_process()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"worker": f"{process['host']}:{process['pid']}", **facts, "at": now}
        with (self.folder / "workers.jsonl").open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")

    @contextmanager
    def concluding(self, levels: list[str], store: str) -> Iterator[tuple[bool, bool]]:
        """One worker at a time is inside. Yields whether this one must write the report, and
        whether its levels or its store are new.

        It need not if another has written the same since this one came.
        """
        with self.leases.hold("conclude", "writes the report"):
            stored = self._concluded()
            new = stored.get("levels") != levels or stored.get("store") != store
            due = new or stored == self._before
            yield due, new
            if due:
                now = datetime.now(UTC).isoformat()
                conclusion = {"levels": levels, "store": store, **this_process(), "at": now}
                write_atomic(self.folder / "concluded.json", json.dumps(conclusion).encode())

    def _concluded(self) -> Conclusion:
        path = self.folder / "concluded.json"
        conclusion: Conclusion = json.loads(path.read_bytes()) if path.is_file() else {}
        return conclusion


def folder_of(studies: Path, name: str) -> Path:
    """The folder of a study in the folder `studies`; its name may have any characters."""
    folder = quote(name, safe=" ")
    if len(folder) > LONGEST_FOLDER:
        folder = f"{folder[:200]}-{of_json(name)[:16]}"
    return studies / folder


def lease_of(key: LevelKey) -> str:
    """The name of a level's lease."""
    return f"level-{quote(str(key), safe='')}"
