"""Leases: which process does what in a shared folder, until that process ends.

A lease is a file that its holder touches three times within the lease's length. If the holder has
ended, another process takes the lease: at once on the same host; from another host after the file
was not touched for that length, by the other's own clock (`filelock.SoftFileLease`).
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
"""Seconds to wait before saying so; from then on also the seconds between two looks."""


class LeaseLost(Exception):
    """Another process has taken a lease that this one held; the message says which."""


class Owner(NamedTuple):
    """The process that holds a lease."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.partition('?')[0]}"


class Leases:
    """Named leases in one folder, each `seconds` long; all that share the folder use one length."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self._known: dict[str, SoftFileLease] = {}

    def take(self, name: str, watch: bool = False) -> bool:
        """Takes the lease if it is free; returns whether it is this process's now.

        With `watch` it waits as long as it takes to know that a holder on another host has ended.
        Raises BadInput if another process holds it with another length.
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
        """Whether the lease is still this process's, which may have lost it while suspended."""
        lease = self._lease(name)
        owner = lease.owner
        return owner is not None and owner.token == lease.token

    def is_free(self, name: str) -> bool:
        """Whether no other process holds the lease."""
        if not self.path(name).exists() or self.is_mine(name):
            return True
        if free := self.take(name):
            self.release(name)
        return free

    def owner(self, name: str) -> Owner | None:
        """Who holds the lease, or held it last; None if it was given back."""
        owner = self._lease(name).owner
        return owner and Owner(owner.hostname, owner.pid)

    def names(self) -> list[str]:
        """The leases that are held, or were not given back."""
        return sorted(path.stem for path in self.folder.glob("*.lease"))

    @contextmanager
    def hold(self, name: str, does: str) -> Iterator[None]:
        """Waits for the lease and holds it during the block; says whom it waits for.

        `does` is what a holder does, for example "compresses the model".
        """
        since, announced = time.monotonic(), False
        while not self.take(name):
            if not announced and time.monotonic() - since > SILENCE:
                say(f"Waiting: {self.owner(name) or 'another worker'} {does}.")
                announced = True
            time.sleep(SILENCE if announced else PAUSE)
        try:
            yield
        finally:
            self.release(name)

    def _lease(self, name: str) -> SoftFileLease:
        # One object for each lease, since it remembers when it saw the file change last.
        if name not in self._known:
            self._known[name] = SoftFileLease(self.path(name), lease_duration=self.seconds)
        return self._known[name]

    def path(self, name: str) -> Path:
        """The lease's file."""
        return self.folder / f"{name}.lease"
