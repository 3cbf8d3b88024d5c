"""Whether an error is an outage of a store, decided by exception classes and status codes.

The libraries wrap each other's errors, and the chain of causes is read from the outside in:

    a server      MlflowException <- requests' error <- urllib3's error <- OSError
    a database    MlflowException or Optuna's StorageInternalError <- SQLAlchemy's error <- driver's
"""

from __future__ import annotations

import errno
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import requests
import sqlalchemy
import urllib3
from mlflow.exceptions import RestException

UNAVAILABLE = frozenset({502, 503, 504})
"""HTTP statuses of a server, or of a proxy in front of it, that cannot answer for the moment."""
SERVER_ERROR = 500
SQLITE_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
SQLSTATES = frozenset({"57P01", "57P02", "57P03", "57P05", "53300"})
"""PostgreSQL shuts down, has crashed, starts, has closed an idle session, has no free connection.

https://www.postgresql.org/docs/current/errcodes-appendix.html; class 08 is of connections too.
"""
UNREACHABLE = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ETIMEDOUT}
)
NO_ANSWER = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)


@dataclass(frozen=True)
class Outage:
    """Why a call of a store failed, where the same call may succeed later.

    `answered`: the store was reached and failed by itself (HTTP 500, a login that was refused),
    which time alone seldom mends. `reason` is a few words for the user.
    """

    answered: bool
    reason: str


def find_outage(error: BaseException, handled: BaseException | None = None) -> Outage | None:
    """The outage that an error comes from, None if it comes from anything else.

    `handled` is the exception that was being handled when the call began: Python chains it to
    every error of the call, and it is not a cause of them.
    """
    outage = None
    for cause in _causes(error, handled):
        if isinstance(cause, requests.exceptions.SSLError):
            return None  # a subclass of ConnectionError, but waiting mends no certificate
        answered = _answered(cause)
        if answered is not None:
            first = answered if outage is None else outage.answered
            outage = Outage(first, _describe(cause))
    return outage


def _causes(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause and cause is not handled:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _answered(error: BaseException) -> bool | None:
    """Whether the store was reached, None where the error is not an outage."""
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        return _database_answered(error)
    if isinstance(error, sqlite3.Error):
        # The lowest byte is the primary code: https://www.sqlite.org/rescode.html
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in SQLITE_BUSY
        return False if busy else None
    status = _http_status(error)
    if status is not None:
        return True if status == SERVER_ERROR else False if status in UNAVAILABLE else None
    if isinstance(error, NO_ANSWER) or (isinstance(error, OSError) and error.errno in UNREACHABLE):
        return False
    return None


def _database_answered(error: sqlalchemy.exc.DBAPIError) -> bool | None:
    if error.connection_invalidated:
        return False
    driver = error.orig
    if not isinstance(error, sqlalchemy.exc.OperationalError) or not hasattr(driver, "sqlstate"):
        return None
    state: str | None = getattr(driver, "sqlstate", None)
    if state:
        return False if state in SQLSTATES or state.startswith("08") else None
    # Without a code no connection was made. libpq keeps the code of a refused login to itself, but
    # not that a password was used: a server that is down, starting or full does not get so far.
    attempt = getattr(driver, "pgconn", None)
    return bool(attempt and (attempt.used_password or attempt.needs_password))


def _http_status(error: BaseException) -> int | None:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code
    if isinstance(error, RestException):
        # An answer without MLflow's error code counts as its 500, whatever its status was.
        status = int(error.get_http_status_code())
        return status if status in UNAVAILABLE else None
    if isinstance(error, urllib3.exceptions.ResponseError):
        # The only words that are read. MLflow lets urllib3 raise on a status, and urllib3 keeps
        # that status nowhere but in this text, which it makes from a template of its own.
        for status in (SERVER_ERROR, *UNAVAILABLE):
            if str(error) == error.SPECIFIC_ERROR.format(status_code=status):
                return status
    return None


def _describe(error: BaseException) -> str:
    status = _http_status(error)
    if status is not None:
        return f"HTTP {status}"
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig:
        return _describe(error.orig)
    if error.args and isinstance(error.args[-1], Exception):  # as requests and urllib3 nest them
        return _describe(error.args[-1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).partition("\n")[0]
