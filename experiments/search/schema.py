"""The tables of Optuna in a database: made, brought up to date, or refused."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lrm.errors import BadInput
from tracking.address import CONNECT_SECONDS, sqlite_path
from tracking.database_files import file_lock, is_absent, made_whole, rewritten, sqlite_uri
from tracking.provenance import redact

FAILURES = (StorageInternalError, SQLAlchemyError, sqlite3.Error)
"""The errors of a database of studies."""


def opened(uri: str) -> RDBStorage:
    """The storage at a database's address, with the tables of the installed Optuna.

    A new SQLite file is made elsewhere and renamed, and an older one is migrated in a copy, so that
    a kill leaves none that is half made. Raises BadInput for another program's database, a damaged
    one, one of a newer Optuna; and what SQLAlchemy raises for one that cannot be reached.
    """
    is_file = sqlalchemy.make_url(uri).get_backend_name() == "sqlite"
    path = sqlite_path(uri, "--storage") if is_file else None
    if path is None:
        if _is_older(uri):
            raise BadInput(
                "The database of --storage was made by an older Optuna: keep a copy, then run "
                "`optuna storage upgrade --storage` with its address."
            )
        return _storage(uri)
    if not path.parent.is_dir():
        raise BadInput(f"--storage: there is no folder {path.parent}; make it, or name another.")
    if not is_absent(path) and not os.access(path, os.W_OK):
        raise BadInput(f"{path} is read-only: make it writable, or give another --storage.")
    uri = sqlite_uri(path)
    with file_lock(path):
        if is_absent(path):
            with made_whole(path) as draft:
                _storage(sqlite_uri(draft)).engine.dispose()
        _require_undamaged(path)
        if _is_older(uri):
            with rewritten(path) as copy:
                older = _storage(sqlite_uri(copy), check=False)
                older.upgrade()
                older.engine.dispose()
    return _storage(uri)


def broken(error: Exception) -> BadInput:
    """The sentence for a database that answers with an error."""
    cause = error.__cause__ or error if isinstance(error, StorageInternalError) else error
    if isinstance(cause, DBAPIError) and cause.orig:
        cause = cause.orig
    reason = redact(str(cause)).partition("\n")[0]
    # Of its subclasses none is about the file: https://docs.python.org/3/library/sqlite3.html
    if type(cause) is sqlite3.DatabaseError:
        return _damaged(reason)
    return BadInput(
        f"The study's database cannot be used ({reason}): check --storage, that it can be reached, "
        "and that there is room and access; the same command goes on."
    )


def _damaged(reason: str) -> BadInput:
    return BadInput(
        f"The study's database is damaged or none at all ({reason}): put a copy of it back, or "
        "give another --storage; replies that are stored are not decoded again."
    )


def _storage(uri: str, check: bool = True, make: bool = True) -> RDBStorage:
    # In braces Optuna would look for the number of its schema.
    text = uri.replace("{", "{{").replace("}", "}}")
    settings = {"connect_args": _limit(uri)}
    return RDBStorage(text, settings, not check, skip_table_creation=not make)


def _limit(uri: str) -> dict[str, int]:
    return {"connect_timeout": CONNECT_SECONDS} if uri.startswith("postgresql") else {}


def _require_undamaged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        answer = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    if answer != "ok":
        raise _damaged(" ".join(answer.split()))


def _is_older(uri: str) -> bool:
    """Whether an older Optuna made the tables. Raises BadInput if a newer one or another program
    did. Nothing is written, as it would be if Optuna were asked first."""
    engine = sqlalchemy.create_engine(uri, connect_args=_limit(uri))
    try:
        with engine.connect() as session:
            tables = set(sqlalchemy.inspect(session).get_table_names())
            query = sqlalchemy.text("SELECT version_num FROM alembic_version")
            schema = session.scalar(query) if "alembic_version" in tables else None
    finally:
        engine.dispose()
    if "experiments" in tables or (schema and "version_info" not in tables):
        owner = "MLflow" if "experiments" in tables else "another program"
        raise BadInput(
            f"The database of --storage belongs to {owner}: give the search one of its own, or "
            "leave out --storage."
        )
    if not schema:
        return False
    storage = _storage(uri, check=False, make=False)
    known, newest = storage.get_all_versions(), storage.get_head_version()
    storage.engine.dispose()
    if schema not in known:
        raise BadInput(
            f"The database of --storage was made by a newer Optuna (its schema {schema} is not "
            f"known to {version('optuna')}): pip install -U optuna, or give another."
        )
    return bool(schema != newest)
