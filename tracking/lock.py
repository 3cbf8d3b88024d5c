"""One process at a time, for what several must not do to a store at once, like making tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from filelock import FileLock

from tracking.address import CONNECT_SECONDS, with_driver

KEY = int.from_bytes(b"lrm-lock")
"""Names our advisory lock among those of a database, by a number of 64 bits."""


@contextmanager
def alone(address: str, folder: Path) -> Iterator[None]:
    """The block runs while no other process runs such a block on the store, a database or server.

    On PostgreSQL a lock in the database says so to every host (pg_advisory_lock; it goes when the
    connection does). Elsewhere a file in `folder` does, to all that share the folder. Not
    reentrant. Raises SQLAlchemyError where the database cannot be reached.
    """
    if not address.startswith("postgresql"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".mlflow.lock"):
            yield
        return
    engine = sqlalchemy.create_engine(
        with_driver(address),
        poolclass=sqlalchemy.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    with engine.connect() as session:
        session.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": KEY})
        yield
