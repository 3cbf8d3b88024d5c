"""Repeats a call while a database or a server is out: an outage costs time and no results."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn, ParamSpec, TypeVar

import tenacity
from tqdm import tqdm

from lrm.errors import BadInput
from tracking.outages import Outage, find_outage
from tracking.provenance import redact, redact_address

P = ParamSpec("P")
T = TypeVar("T")

RETRY_DEADLINE = 3600.0
"""Seconds to wait for a store that cannot be reached."""
ERROR_DEADLINE = 30.0
"""Seconds to wait for a store that is reached and answers with an error of its own."""
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 2.0

# It logs a traceback for every failure, which is told in a sentence here or raised anyway.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


class StoreUnavailable(BadInput):
    """A store was out until the deadline."""


@dataclass(frozen=True)
class Retry:
    """How calls of the store at `address` are repeated; the deadlines are in seconds.

    Every call that is made through it must allow being made twice: it reads, or writes what is
    then the same again.
    """

    address: str
    deadline: float = RETRY_DEADLINE
    error_deadline: float = ERROR_DEADLINE

    @property
    def once(self) -> Retry:
        """The same without waiting: an outage raises StoreUnavailable at once."""
        return replace(self, deadline=0.0, error_deadline=0.0)

    def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns, repeated while it fails because the store is out.

        Says so on stderr once, and when it is over. Any other error is raised as it is. Raises
        StoreUnavailable at the deadline.
        """
        wait = _Wait(self, sys.exception(), time.monotonic())
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(wait.is_outage),
            stop=wait.is_over,
            wait=tenacity.wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            before_sleep=wait.announce,
            retry_error_callback=wait.give_up,
        )
        answer = retrying(call, *args, **kwargs)
        if wait.announced:
            _say(f"The store {redact_address(self.address)} answers again.")
        return answer


@dataclass
class _Wait:
    """The state of one call: its last outage, and since when the store has answered with errors."""

    retry: Retry
    handled: BaseException | None
    began: float
    outage: Outage | None = None
    errors_began: float | None = None
    announced: bool = False

    def is_outage(self, error: BaseException) -> bool:
        # Ctrl-C in an outage has that outage among its causes.
        if not isinstance(error, Exception):
            return False
        self.outage = find_outage(error, self.handled)
        if self.outage is None or not self.outage.answered:
            self.errors_began = None
        elif self.errors_began is None:
            self.errors_began = time.monotonic()
        return self.outage is not None

    def is_over(self, _: tenacity.RetryCallState) -> bool:
        now = time.monotonic()
        if self.errors_began is not None and now - self.errors_began >= self.retry.error_deadline:
            return True
        return now - self.began >= self.retry.deadline

    def announce(self, _: tenacity.RetryCallState) -> None:
        if self.announced or self.outage is None:
            return
        store, reason = redact_address(self.retry.address), redact(self.outage.reason)
        if self.outage.answered:
            _say(f"The store {store} answers with an error ({reason}); trying again for a while.")
        else:
            _say(f"The store {store} does not answer ({reason}); waiting. Nothing is lost.")
        self.announced = True

    def give_up(self, state: tenacity.RetryCallState) -> NoReturn:
        assert self.outage, "only an outage is waited for"
        assert state.outcome, "the call has ended"
        store, reason = redact_address(self.retry.address), redact(self.outage.reason)
        if self.outage.answered:
            sentence = (
                f"The store {store} answers with an error ({reason}), and has for "
                f"{self.retry.error_deadline:.0f} seconds: its log says why; once it is mended, "
                "the same command goes on."
            )
        else:
            sentence = (
                f"The store {store} does not answer ({reason}), and has not for "
                f"{self.retry.deadline / 60:.0f} minutes: start it again; the same command goes on."
            )
        raise StoreUnavailable(sentence) from state.outcome.exception()


def _say(text: str) -> None:
    # So that a progress bar stays whole.
    tqdm.write(text, file=sys.stderr)
