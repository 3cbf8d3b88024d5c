"""A lock on a store, for what several processes must not do at once, like making tables."""

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
def store_lock(address: str, folder: Path) -> Iterator[None]:
    """Holds the lock of the store at `address`, a database or a server, during the block.

    On PostgreSQL it is a lock in the database, for processes on every host (pg_advisory_lock; it
    goes when the connection does). Elsewhere it is a file in `folder`, for all that share the
    folder. It is not reentrant. Raises SQLAlchemyError where the database cannot be reached.
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
