"""HTTP with an OpenAI-compatible server: requests, retries, and the errors that users read.

Only `GET /v1/models` and `POST /v1/completions` are used. The key comes from the environment and
goes into one header. Everything a server says passes through `_quoted`, which removes the key,
before it becomes part of a message.

Which failures are tried again is decided by exception classes and status codes alone. The waiting
is written out, not taken from a library: it must honour Retry-After, and give up at once where that
is longer than a try may take.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from lrm.engines.server.address import KEY_VARIABLE, address_of, key_of_environment
from lrm.engines.server.background import in_background
from lrm.errors import BadInput, ServerFailed
from lrm.network import check_network
from lrm.records.reply import Stop

MODELS_TIMEOUT = 10.0
"""Seconds that a server has to list its models."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the first retry, and before any later one, unless the server asks for more."""

LONGEST_QUOTE = 300
"""Characters of a server's message that are shown."""

FURTHER, INITIAL = 0, 1
"""Priorities: a request that follows an answer goes before all those that wait."""

TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now" (RFC 9110 section 15.5, RFC 8470, RFC 6585)."""

Body = Mapping[str, object]
"""The JSON of one request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's reply to one request. `reported_tokens` is how many tokens it says it decoded."""

    text: str
    stop: Stop
    reported_tokens: int | None


class _TransientFailure(Exception):
    """A try failed, but another may not; `wait` is how many seconds the server asks to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Endpoint:
    """A server at `url`. A try may take `timeout` seconds; at most `retries` follow the first."""

    def __init__(self, url: str, timeout: float, retries: int) -> None:
        self.url = address_of(url)
        self.timeout = timeout
        self.retries = retries
        self._key = key_of_environment()

    def models(self) -> dict[str, int | None]:
        """Names of the models that are served, each with its context length if the server says it.

        Raises BadInput if there is no such server or it refuses the key, ServerFailed if it is not
        ready yet.
        """
        try:
            check_network()
        except ConnectionError as error:
            raise BadInput(self._quoted(str(error))) from error
        try:
            response = httpx2.get(
                f"{self.url}/v1/models", headers=self._headers(), timeout=MODELS_TIMEOUT
            )
        except httpx2.RequestError as error:
            raise BadInput(
                f"no server answers at {self.url} ({self._quoted(_reason(error))}); start it, or "
                "correct the address"
            ) from error
        self._check_key(response.status_code)
        if _is_transient(response.status_code):
            raise ServerFailed(
                f"the server at {self.url} is not ready "
                f"({self._status_and_message(response)}); wait until it has loaded its model and "
                "try again"
            )
        try:
            listed = _json(response)["data"]
            return {str(model["id"]): _length(model.get("max_model_len")) for model in listed}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(
                f"{self.url}/v1/models names no models (status {response.status_code}); give the "
                "address that stands before /v1, for example http://127.0.0.1:8000"
            ) from error

    def complete_all(
        self,
        bodies: Sequence[Body],
        concurrency: int,
        on_answer: Callable[[int, Answer], Sequence[Body]],
    ) -> None:
        """Calls `on_answer(index, answer)` as each body is answered, `concurrency` in flight.

        The bodies it returns are sent before all that wait, and numbered on from the last. The
        first error that retries do not mend is raised, after the answers that came before it, and
        cancels the rest, as does an exception of `on_answer`.
        """
        initial = [(INITIAL, index, body) for index, body in enumerate(bodies)]
        waiting: asyncio.PriorityQueue[tuple[int, int, Body]] = asyncio.PriorityQueue()
        loops: list[asyncio.AbstractEventLoop] = []

        async def work(put: Callable[[tuple[int, Answer | Exception]], None]) -> None:
            loops.append(asyncio.get_running_loop())
            limits = httpx2.Limits(max_connections=concurrency)
            client = httpx2.AsyncClient(headers=self._headers(), timeout=None, limits=limits)
            for entry in initial:
                waiting.put_nowait(entry)

            async def send_waiting() -> None:
                while True:
                    _, index, body = await waiting.get()
                    try:
                        put((index, await self._complete(client, index, body)))
                    except Exception as error:
                        put((index, error))

            async with client, asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(send_waiting())

        total = len(bodies)
        unanswered = total
        with closing(in_background(work)) as outcomes:
            while unanswered:
                index, outcome = next(outcomes)
                if isinstance(outcome, Exception):
                    raise outcome
                unanswered -= 1
                for body in on_answer(index, outcome):
                    loops[0].call_soon_threadsafe(waiting.put_nowait, (FURTHER, total, body))
                    total, unanswered = total + 1, unanswered + 1

    async def _complete(self, client: httpx2.AsyncClient, index: int, body: Body) -> Answer:
        for retry in range(self.retries + 1):
            try:
                return await self._try(client, index, body)
            except _TransientFailure as failure:
                wait = max(failure.wait, _back_off(retry))
                if retry == self.retries or wait > self.timeout:
                    raise ServerFailed(
                        f"the server at {self.url} did not complete prompt {index}, tried "
                        f"{retry + 1} times ({failure}); see its log and try again"
                    ) from failure
            await asyncio.sleep(wait)
        raise AssertionError("the last try either returns or raises")

    async def _try(self, client: httpx2.AsyncClient, index: int, body: Body) -> Answer:
        try:
            async with asyncio.timeout(self.timeout):
                response = await client.post(f"{self.url}/v1/completions", json=body)
        except TimeoutError as error:
            raise _TransientFailure(
                f"no answer within {self.timeout:g} s: raise timeout or lower concurrency"
            ) from error
        except httpx2.RequestError as error:
            raise _TransientFailure(self._quoted(_reason(error))) from error
        if _is_transient(response.status_code):
            wait = _retry_after(response.headers)
            asks = f", asks to wait {wait:.0f} s" if wait else ""
            raise _TransientFailure(f"{self._status_and_message(response)}{asks}", wait)
        self._check_key(response.status_code)
        if response.status_code != httpx2.codes.OK:
            message = self._status_and_message(response)
            remedy = (
                "shorten the prompt, lower max_tokens, or give the server a longer context"
                if "context" in message.lower()
                else "this engine needs the /v1/completions of vLLM, SGLang or llama.cpp"
            )
            raise BadInput(f"the server at {self.url} refuses prompt {index} ({message}); {remedy}")
        try:
            return _parse(_json(response))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise _TransientFailure(
                f"what it sent is not a completion: {self._quoted(response.text)}"
            ) from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _check_key(self, status: int) -> None:
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            wrong = "does not accept the key in" if self._key else "asks for a key, which is not in"
            raise BadInput(
                f"the server at {self.url} {wrong} {KEY_VARIABLE} (status {status}); set that "
                "variable to the key the server was started with"
            )

    def _status_and_message(self, response: httpx2.Response) -> str:
        """Status and message of a refusal; servers put the message in different fields."""
        message: object = response.text
        try:
            fields = _json(response)
            error = fields.get("error") or fields
            message = error if isinstance(error, str) else error.get("message") or fields["detail"]
        except (ValueError, KeyError, AttributeError):
            pass
        return f"status {response.status_code}: {self._quoted(str(message))}"

    def _quoted(self, text: str) -> str:
        """A server's text as part of a sentence: without the key, on one line, not too long."""
        redacted = text.replace(self._key, "[key]") if self._key else text
        line = " ".join(redacted.split()).rstrip(".")
        return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}..."


def _json(response: httpx2.Response) -> Any:
    """What a server sent. Raises ValueError if it is no JSON, or JSON nested too deeply to read."""
    try:
        return response.json()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _parse(fields: Any) -> Answer:
    """The JSON of a server as an answer. Raises ValueError, KeyError, TypeError, IndexError or
    AttributeError if it is not one whole completion."""
    choice = fields["choices"][0]
    text, stop = choice["text"], choice["finish_reason"]
    if not isinstance(text, str) or stop not in ("stop", "length"):
        raise ValueError(f"finish reason {stop!r}")
    text.encode()  # half a surrogate pair is no text
    reported = (fields.get("usage") or {}).get("completion_tokens")
    return Answer(text, stop, reported if isinstance(reported, int) else None)


def _length(value: object) -> int | None:
    """A context length, which some servers write as text or with a point; None if it is none."""
    text = str(value).strip().removesuffix(".0")
    return int(text) or None if text.isdecimal() else None


def _is_transient(status: int) -> bool:
    """Whether a later try may succeed."""
    return status in TRANSIENT_STATUSES or status >= httpx2.codes.INTERNAL_SERVER_ERROR


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _back_off(retry: int) -> float:
    """Seconds before a retry, counted from 0. They double each time; the random half keeps many
    clients from coming back together."""
    return min(FIRST_WAIT * 2.0**retry, LONGEST_WAIT) * random.uniform(0.5, 1.0)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, as a number or until a date (RFC 9110, 10.2.3), or 0."""
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (TypeError, ValueError):
        return 0.0
    return max(wait.total_seconds(), 0.0)
