"""Who does what where several processes share a folder: leases, which end when their holder does.

A lease is a file that its holder touches three times within its length. Another takes it at once
where the holder was a process of its own host and has ended, and else when the file was left alone
for that length by the other's own clock (`filelock.SoftFileLease`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from experiments.cli.progress import say
from lrm.errors import BadInput

PAUSE = 0.1
"""Seconds between two looks at a lease that another holds."""

SILENCE = 1.0
"""Seconds of waiting that are not worth a word; then one looks as rarely."""


class LeaseLost(Exception):
    """Another process has taken what this one held; the message says which."""


class Owner(NamedTuple):
    """The process that holds a lease."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.partition('?')[0]}"


class Leases:
    """Named leases in one folder, each `seconds` long, which all that share it must agree on."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self._known: dict[str, SoftFileLease] = {}

    def take(self, name: str, watch: bool = False) -> bool:
        """Whether the lease is this process's now; `watch`: after looking for as long as it takes
        to tell that a holder elsewhere has ended.

        Raises BadInput if another holds it for another length of time.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lease = self._lease(name)
        try:
            lease.acquire(timeout=self.seconds + SILENCE if watch else 0, poll_interval=PAUSE)
        except Timeout:
            return False
        except LeaseSettingsMismatch as error:
            other = lease.owner
            given = f"{other.lease_duration:g}" if other and other.lease_duration else "the same"
            raise BadInput(
                f"--heartbeat {self.seconds:g} is not what {self.owner(name) or 'another worker'} "
                f"works with: give --heartbeat {given}."
            ) from error
        return True

    def release(self, name: str) -> None:
        """Gives the lease back, if it is still this process's."""
        self._lease(name).release()

    def is_mine(self, name: str) -> bool:
        """Whether the lease is still this process's: one that was suspended may have lost it."""
        lease = self._lease(name)
        found = lease.owner
        return found is not None and found.token == lease.token

    def is_free(self, name: str) -> bool:
        """Whether no other process holds the lease."""
        if not self.path(name).exists() or self.is_mine(name):
            return True
        if free := self.take(name):
            self.release(name)
        return free

    def owner(self, name: str) -> Owner | None:
        """Who holds the lease, or held it last; None if it was given back."""
        found = self._lease(name).owner
        return found and Owner(found.hostname, found.pid)

    def names(self) -> list[str]:
        """The leases that are held, or were not given back."""
        return sorted(path.stem for path in self.folder.glob("*.lease"))

    @contextmanager
    def hold(self, name: str, does: str) -> Iterator[None]:
        """Holds the lease, once it is free; says whom it waits for. `does` is what its holder does:
        "compresses the model"."""
        since, told = time.monotonic(), False
        while not self.take(name):
            if not told and time.monotonic() - since > SILENCE:
                say(f"Waiting: {self.owner(name) or 'another worker'} {does}.")
                told = True
            time.sleep(SILENCE if told else PAUSE)
        try:
            yield
        finally:
            self.release(name)

    def _lease(self, name: str) -> SoftFileLease:
        # One object a lease: it notes when it saw the file change last.
        if name not in self._known:
            self._known[name] = SoftFileLease(self.path(name), lease_duration=self.seconds)
        return self._known[name]

    def path(self, name: str) -> Path:
        """The lease's file."""
        return self.folder / f"{name}.lease"
