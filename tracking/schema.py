"""The tables of MLflow in an SQLite file: made at once, and brought up to date at once.

MLflow makes them in some fifty steps, and cannot go on from a step in which it was killed. Other
databases make their tables in a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import sqlalchemy
from mlflow.store.db import utils as mlflow_db
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

from tracking.database_files import file_lock, is_absent, made_whole, rewritten, sqlite_uri

VERSIONS = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
"""A file for each schema that the installed MLflow knows, with its name."""
TEMPORARY = "_alembic_tmp_"
"""How the names of tables begin that a migration makes on its way."""


def is_known(schema: str) -> bool:
    """Whether the installed MLflow knows this schema; it does not know those of newer ones."""
    return next(VERSIONS.glob(f"{schema}_*.py"), None) is not None


def prepare(path: Path) -> None:
    """Makes the tables, or migrates them to the installed MLflow's schema."""
    with file_lock(path):
        if is_absent(path) or _is_half_made(path):
            with made_whole(path) as draft, _engine(draft) as engine:
                mlflow_db._initialize_tables(engine)
        elif _schema(path) != mlflow_db._get_latest_schema_revision():
            with rewritten(path) as copy, _engine(copy) as engine:
                mlflow_db._upgrade_db(engine)


@contextmanager
def _engine(path: Path) -> Iterator[sqlalchemy.Engine]:
    engine = mlflow_db.create_sqlalchemy_engine(sqlite_uri(path))
    try:
        yield engine
    finally:
        engine.dispose()


def _schema(path: Path) -> str | None:
    with _engine(path) as engine:
        schema: str | None = mlflow_db._get_schema_version(engine)
        return schema


def _is_half_made(path: Path) -> bool:
    """Whether an earlier version was killed while it made the tables. They are MLflow's, and not
    even its first experiment is there, which comes last."""
    known = {*InitialBase.metadata.tables, *Base.metadata.tables, "alembic_version"}
    with _engine(path) as engine, engine.connect() as session:
        tables = set(sqlalchemy.inspect(session).get_table_names())
        if any(name not in known and not name.startswith(TEMPORARY) for name in tables):
            return False
        if "experiments" not in tables:
            return True
        return session.scalar(sqlalchemy.text("SELECT 1 FROM experiments")) is None
