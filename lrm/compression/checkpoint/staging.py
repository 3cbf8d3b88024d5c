"""Checkpoints in the making: kept block by block, so that a killed job resumes where it stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lrm.compression.checkpoint.folder import COPIED, Weights, read_checkpoint
from lrm.compression.checkpoint.receipt import RECEIPT, steps_of, write_receipt
from lrm.errors import BadInput, LrmError
from lrm.files import write_atomic
from lrm.records.model import Checkpoint

UNFINISHED = "unfinished"
"""Marks a staged folder whose copy is whole; holds the reports of its finished blocks."""

LOCK = "lock"

ModuleRow = Mapping[str, object]
"""A `lrm.compression.checkpoint.receipt.ModuleReport` on its way into a receipt."""


class StagedCheckpoint:
    """A copy of `parent` whose weights may be overwritten.

    `done` has a list for each finished block: the reports of its matrices.
    """

    def __init__(self, parent: Checkpoint, folder: Path, out: Path) -> None:
        self._parent, self._folder, self._out = parent, folder, out
        self.done: list[list[ModuleRow]] = []
        if (folder / UNFINISHED).is_file():
            self.done = json.loads((folder / UNFINISHED).read_text(encoding="utf-8"))
        else:
            others = [file for file in parent.path.iterdir() if file.suffix in COPIED]
            for file in [*Weights(parent.path).files, *others]:
                if file.is_file() and file.name != RECEIPT:
                    shutil.copyfile(file, folder / file.name)
            self._mark()
        self.weights = Weights(folder)

    def finish(self, block: Sequence[ModuleRow]) -> None:
        """Makes a block durable whose weights are all overwritten."""
        self.done.append(list(block))
        self._mark()

    def publish(self, step: Mapping[str, object]) -> Checkpoint:
        """Adds `step` (method, params, modules) to the lineage; renames the folder to `out`."""
        publish(self._folder, self._out, self._parent, step)
        return read_checkpoint(self._out)

    def _mark(self) -> None:
        _flush(self._folder)
        write_atomic(self._folder / UNFINISHED, json.dumps(self.done).encode())


def check_free(out: Path) -> None:
    """BadInput if something is at `out` already."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise BadInput(f"{out} exists already; open it, or remove it to make it again.")


@contextmanager
def staged(parent: Checkpoint, out: Path, identity: str) -> Iterator[StagedCheckpoint]:
    """A copy of `parent` in a hidden folder beside `out`, or what an earlier one of the same
    identity left there.

    As `staging_folder`; BadInput also if `out` exists.
    """
    check_free(out)
    with staging_folder(out.parent / f".{out.name}.{identity[:12]}", out) as folder:
        yield StagedCheckpoint(parent, folder, out)


@contextmanager
def staging_folder(folder: Path, out: Path) -> Iterator[Path]:
    """A hidden folder of one process in which `out` is made, or what an earlier one left there.

    An `LrmError` inside removes it; after any other end, even kill -9, it is kept to be resumed.
    BadInput if it cannot be written, or belongs to another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be written ({error.strerror}); name another.") from error
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(f"{out} is being made by another process; wait for that one.") from None
    try:
        yield folder
    except LrmError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release()


def publish(folder: Path, out: Path, parent: Checkpoint, step: Mapping[str, object]) -> None:
    """Adds `step` (method, params, modules) to the parent's lineage, and renames the folder, now
    whole and on the disk, to `out`."""
    steps = [*steps_of(parent.path), {"parent": parent.revision, **step}]
    for name in (UNFINISHED, LOCK):
        (folder / name).unlink(missing_ok=True)
    write_receipt(folder, steps)
    _flush(folder)
    folder.rename(out)


def _flush(folder: Path) -> None:
    """Makes sure that all that is written in a folder is on the disk."""
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
