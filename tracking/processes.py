"""Which processes write a run, whether they still live, and how one is asked to stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import psutil

HOST = socket.gethostname()
MARK = "worker/"
"""How the tags begin that processes at work on the same run keep there: worker/HOST/PID."""


def this_process() -> dict[str, str]:
    """The tags that name this process: host, pid, and its start, as a pid is used again."""
    return {"host": HOST, "pid": str(os.getpid()), "process_start": started(os.getpid())}


def this_mark() -> dict[str, str]:
    """The mark of this process; its value is the start."""
    return {f"{MARK}{HOST}/{os.getpid()}": started(os.getpid())}


def marks(tags: Mapping[str, str]) -> list[str]:
    """The names of the marks among a run's tags."""
    return [name for name in tags if name.startswith(MARK)]


def dead_marks(tags: Mapping[str, str]) -> list[str]:
    """The marks whose process has ended, which is known only of processes on this host."""
    here = [name for name in marks(tags) if name.startswith(f"{MARK}{HOST}/")]
    return [name for name in here if not _runs(name.rpartition("/")[2], tags[name])]


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether the process named by a run's tags still runs; it must be one of this host's."""
    return _runs(tags.get("pid", ""), tags.get("process_start"))


def _runs(pid: str, start: str | None) -> bool:
    return pid.isdecimal() and started(int(pid)) == start != ""


def started(pid: int) -> str:
    """When a process of this host started; empty if it has ended, as a zombie has too.

    On Linux in clock ticks since boot (field 22 of proc_pid_stat(5)), which a change of the clock
    leaves alone; elsewhere as `ps -o lstart=` prints it. Stores hold such texts.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return ""
        moment = float(process.create_time())
    except psutil.NoSuchProcess:
        return ""
    if not psutil.LINUX:
        return time.ctime(moment)
    return str(round((moment - psutil.boot_time()) * os.sysconf("SC_CLK_TCK")))


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Makes SIGTERM end the block by SystemExit, so that open runs are closed on the way out.

    Signals belong to the main thread (signal(7), Python's `signal`); elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
