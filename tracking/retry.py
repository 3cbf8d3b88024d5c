"""Waits while a database or a server does not answer: an outage costs time and no results."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from lrm.errors import BadInput
from tracking.provenance import redact

T = TypeVar("T")

PATIENCE = 3600.0
LONGEST_PAUSE = 2.0
SILENT = re.compile(
    r"connection (?:refused|reset|aborted|timed out|timeout expired)"
    r"|(?:server|remote end) closed (?:the )?connection|the connection is (?:closed|lost|bad)"
    r"|connection has been closed unexpectedly|terminating connection|broken pipe|timed out"
    r"|the database system is (?:shutting down|starting up|in recovery mode|not (?:yet )?accepting)"
    r"|too many clients|connection slots are reserved|no route to host|network is unreachable"
    r"|name resolution|could not translate host name|failed to resolve|database is locked"
    r"|50[0234] error responses",  # 500: the database went away within a call of the server
    re.IGNORECASE,
)
"""How SQLite, libpq, sockets and HTTP say that no one answered; MLflow hands on the text alone."""

# It prints a traceback for every failure, which here is told in a sentence or raised anyway.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class Unanswered(BadInput):
    """The patience is at its end."""


class Patient:
    """`target`, an MLflow client or the like, each call of which is repeated until it is answered.

    Every call that is made through it can be made twice: it reads, or writes what is then the same
    again. Only a run whose creation was carried out but never confirmed is made a second time; the
    first stays without a writer, and is closed when a store is next opened (`workers.sweep`).
    """

    def __init__(self, target: Any, place: str, seconds: float = PATIENCE) -> None:
        self._target, self._place, self._seconds = target, place, seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*words: Any, **options: Any) -> Any:
            with one_try():
                return patiently(self._place, lambda: found(*words, **options), self._seconds)

        return call


def hurried(patient: Patient) -> Patient:
    """The same without patience: a call that is not answered at once raises Unanswered."""
    return Patient(patient._target, patient._place, 0)


def patiently(place: str, call: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What `call` returns, repeated while it fails because `place`, an address, does not answer.

    Says so on stderr once, and when it is over. Any other error is raised as it is. Raises
    Unanswered after so many seconds.
    """
    outer, began, pause = sys.exception(), time.monotonic(), 0.0
    while True:
        try:
            answer = call()
        except Exception as error:
            reason = silence(error, outer)
            if reason is None:
                raise
            if time.monotonic() - began >= seconds:
                raise Unanswered(
                    f"The store {redact(place)} does not answer ({reason}), and has not for "
                    f"{seconds / 60:.0f} minutes: start it again; the same command goes on."
                ) from error
        else:
            if pause:
                _say(f"The store {redact(place)} answers again.")
            return answer
        if not pause:
            _say(f"The store {redact(place)} does not answer ({reason}); waiting. Nothing is lost.")
        pause = min(2 * pause or 0.25, LONGEST_PAUSE)
        time.sleep(pause)


def silence(error: BaseException, outer: BaseException | None = None) -> str | None:
    """How an error says that no one answered, None where it says something else.

    `outer` is what was being handled before, which Python chains to it.
    """
    seen: BaseException | None = error
    while seen and seen is not outer:
        if found := SILENT.search(str(seen)):
            return found[0]
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def one_try(seconds: int | None = None) -> Iterator[None]:
    """MLflow's HTTP calls are tried once, where it would go on for minutes and say nothing.

    They may take so many seconds; by default as long as MLflow lets them.
    """
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    if seconds:
        limits["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(seconds)
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _say(text: str) -> None:
    # So that a progress bar stays whole.
    tqdm.write(text, file=sys.stderr)
