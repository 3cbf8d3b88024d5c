"""SQLite files: their addresses, and how they are made so that a kill leaves none half made."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy
from filelock import FileLock

from lrm.errors import BadInput

SQLITE = "sqlite:///"


def sqlite_uri(path: Path) -> str:
    """The address of an SQLite file. Raises BadInput where its path cannot be written in one."""
    path = path.resolve()
    url, plain = sqlalchemy.URL.create("sqlite", database=str(path)), f"{SQLITE}{path}"
    with suppress(UnicodeError):  # a name that is no UTF-8
        str(path).encode()
        # Without quotes where that means the same: MLflow makes the folder that is written there.
        text = plain if sqlalchemy.make_url(plain) == url else url.render_as_string()
        if sqlalchemy.make_url(text) == url:
            return text
    raise BadInput(
        f"The path {str(path)!r} cannot be written in the address of a database: rename its "
        "folders to letters, digits and spaces."
    )


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """Where a database is to be made. When the block ends it gets the name `path`, in place of a
    file that is there; if the block raises, nothing of it stays."""
    with _draft(path) as draft:
        yield draft
        os.replace(draft, path)


@contextmanager
def rewritten(path: Path) -> Iterator[Path]:
    """A copy of a database that is there. When the block ends, its content replaces that of `path`
    in one transaction; if the block raises, `path` stays as it was.

    Processes that have `path` open see the new content, as they would not if it were another file.
    """
    with _draft(path) as draft:
        _copy(path, draft)
        yield draft
        _copy(draft, path)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Holds the lock of a database's file, which those hold who make or change all of it."""
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def is_absent(path: Path) -> bool:
    """Whether there is no file, or an empty one, as SQLite makes it before the first table."""
    return not path.is_file() or path.stat().st_size == 0


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    # One process at a time makes it, so that what a killed one left is in nobody's use.
    draft = path.with_name(f".{path.name}.new")
    _remove(draft)
    try:
        yield draft
    finally:
        _remove(draft)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def _remove(draft: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        draft.with_name(draft.name + ending).unlink(missing_ok=True)
