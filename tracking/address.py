"""The address of a store, and whether it can be used: known in seconds, said in one sentence."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from importlib.metadata import version
from pathlib import Path

import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from lrm.errors import BadInput, MissingExtra
from tracking.database_files import is_absent, sqlite_uri
from tracking.provenance import redact, redact_address
from tracking.schema import is_known

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
CONNECT_SECONDS = 10
REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")
"""MLflow's error codes for wrong credentials."""
FAILURES = (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)
"""The errors of a store."""


def project_root() -> Path:
    """The folder that holds pyproject.toml above this package, else the working directory."""
    parent = Path(__file__).resolve().parents[1]
    return parent if (parent / "pyproject.toml").is_file() else Path.cwd()


def default_uri(root: Path) -> str:
    """The store of a project: mlruns/mlflow.db."""
    return sqlite_uri(root / "mlruns" / "mlflow.db")


def is_server(address: str) -> bool:
    """Whether `address` is that of an MLflow server. Raises BadInput if it can be no store's."""
    scheme = address.partition(":")[0].partition("+")[0]
    if scheme not in SERVERS + DATABASES:
        raise BadInput(
            f"{redact_address(address)!r} is no store MLflow can write to: give sqlite:///PATH.db, "
            "postgresql://... or http://... with --tracking-uri."
        )
    return scheme in SERVERS


def with_driver(address: str) -> str:
    """`address` with the driver we install where it names PostgreSQL alone, else as it is.

    SQLAlchemy's own choice depends on its version.
    """
    scheme, colon, rest = address.partition(":")
    return f"postgresql+psycopg:{rest}" if scheme == "postgresql" and colon else address


def sqlite_path(address: str, flag: str = "--tracking-uri") -> Path | None:
    """The file of an SQLite address, None for another database; `flag` is what it was given with.

    Raises BadInput for an address that cannot be read, names no file, or most likely means another.
    """
    try:
        url = sqlalchemy.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise unusable(address, error, flag) from error
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise BadInput(f"{address!r} names no file: give sqlite:///PATH.db with {flag}.")
    path, literal = Path(url.database), Path(address.partition(":///")[2])
    # A path as it stands, of which SQLAlchemy would read "%2F" or "?" as something else.
    other = path != literal and literal.parent.is_dir()
    if other and (not path.parent.is_dir() or "?" in str(literal.parent)):
        raise BadInput(
            f"{flag} {address} means the file {path}: write {sqlite_uri(literal)} for that in "
            f"{literal.parent}."
        )
    return path.resolve()


def require_writable(folder: Path) -> None:
    """Makes `folder` and a file in it; raises BadInput if either cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BadInput(
            f"Cannot write the record to {folder} ({error.strerror}): make it writable, or give "
            "another database with --tracking-uri sqlite:////PATH/mlflow.db."
        ) from error


def require_server(address: str) -> None:
    """Raises BadInput if no server answers at `address` within CONNECT_SECONDS.

    Any answer will do. MLflow itself would wait for minutes.
    """
    try:
        http_request(
            get_default_host_creds(address),
            "/version",
            "GET",
            max_retries=0,
            timeout=CONNECT_SECONDS,
            raise_on_status=False,
        )
    except FAILURES as error:
        raise unusable(address, error) from error


def require_database(address: str) -> None:
    """Raises BadInput if the database cannot be opened, or is of a newer MLflow.

    MLflow itself would try again for minutes, logging as it goes.
    """
    path = sqlite_path(address)
    if path and is_absent(path):
        return
    if path and not os.access(path, os.W_OK):
        raise BadInput(f"{path} is read-only: make it writable, or give another --tracking-uri.")
    limit = {} if path else {"connect_timeout": CONNECT_SECONDS}
    try:
        engine = sqlalchemy.create_engine(address, connect_args=limit)
        tables = sqlalchemy.inspect(engine).get_table_names()
        with engine.connect() as session:
            query = sqlalchemy.text("SELECT version_num FROM alembic_version")
            schema = session.scalar(query) if "alembic_version" in tables else None
        engine.dispose()
    except ImportError as error:
        raise no_driver(error) from error
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise unusable(address, error) from error
    if schema and not is_known(schema):
        others = set(tables) - {"alembic_version"}
        if others and "experiments" not in others:
            raise BadInput(
                f"The database {redact_address(address)} belongs to another program than MLflow: "
                "give another with --tracking-uri."
            )
        raise BadInput(
            f"The store {redact_address(address)} was made by a newer MLflow (its schema {schema} "
            f"is not known to {version('mlflow')}): pip install -U mlflow, or give another with "
            "--tracking-uri."
        )


def no_driver(error: ImportError) -> MissingExtra:
    """The sentence for a database whose driver is not installed."""
    return MissingExtra(
        f"The database's driver cannot be loaded ({error}): install it, for PostgreSQL with "
        "pip install -e '.[postgresql]'."
    )


def unusable(address: str, error: Exception, flag: str = "--tracking-uri") -> BadInput:
    """The sentence for a store that answers with an error, or not at all."""
    if isinstance(error, MlflowException) and error.error_code in REFUSED:
        return BadInput(
            f"The store {redact_address(address)} does not let you in: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to "
            "what it knows you by."
        )
    root: BaseException = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    detail = redact(str(root).replace(address, redact_address(address))).partition("\n")[0]
    return BadInput(
        f"Cannot use the store {redact_address(address)} ({detail}): mend it, or give another with "
        f"{flag}."
    )
