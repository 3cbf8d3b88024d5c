"""HTTP with an OpenAI-compatible server: what is sent, what is tried again, what is told.

Of the protocol only `GET /v1/models` and `POST /v1/completions` are used. The key comes from the
environment and goes into one header; everything that a server says passes `_quoted`, which takes
the key out, before it may become part of a message.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from lrm.engines.server.background import in_background
from lrm.errors import BadInput, ServerFailed
from lrm.records import Stop

KEY_VARIABLE = "LRM_SERVER_KEY"
"""The variable that holds the key. Not OPENAI_API_KEY: who has that one set for another service
would send it to every server they try."""

GREETING_SECONDS = 10.0
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
LONGEST_QUOTE = 300
FOLLOWS, WAITS = 0, 1

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that say "not now" (RFC 9110 section 15.5, RFC 8470, RFC 6585)."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to one request."""

    text: str
    stop: Stop
    reported_tokens: int | None


class _PassingFailure(Exception):
    """A try failed in a way that another try may not; `wait` is what the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Endpoint:
    """A server at `url`. `timeout` is in seconds, of one try; `retries` follow a failed one."""

    def __init__(self, url: str, timeout: float, retries: int) -> None:
        self.url = _address(url)
        self.timeout = timeout
        self.retries = retries
        self._key = _key()

    def models(self) -> dict[str, int | None]:
        """Names of the models that are served, each with its context length if that is told."""
        try:
            response = httpx2.get(
                f"{self.url}/v1/models", headers=self._headers(), timeout=GREETING_SECONDS
            )
        except httpx2.RequestError as error:
            raise BadInput(
                f"no server answers at {self.url} ({self._quoted(_reason(error))}); start it, or "
                "correct the address"
            ) from error
        self._check_key(response.status_code)
        if _may_pass(response.status_code):
            raise ServerFailed(
                f"the server at {self.url} is not ready ({self._told(response)}); wait until it "
                "has loaded its model and try again"
            )
        try:
            return {model["id"]: model.get("max_model_len") for model in response.json()["data"]}
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

        The bodies it returns are asked before all that wait, numbered on from the last. The first
        that fails in the end is raised, after those answered before it, and the rest are cancelled,
        as they are by an exception of `on_answer`.
        """
        first = [(WAITS, index, body) for index, body in enumerate(bodies)]
        waiting: asyncio.PriorityQueue[tuple[int, int, Body]] = asyncio.PriorityQueue()
        loops: list[asyncio.AbstractEventLoop] = []

        async def work(put: Callable[[tuple[int, Answer | Exception]], None]) -> None:
            loops.append(asyncio.get_running_loop())
            limits = httpx2.Limits(max_connections=concurrency)
            client = httpx2.AsyncClient(headers=self._headers(), timeout=None, limits=limits)
            for entry in first:
                waiting.put_nowait(entry)

            async def ask() -> None:
                while True:
                    _, index, body = await waiting.get()
                    try:
                        put((index, await self._complete(client, index, body)))
                    except Exception as error:
                        put((index, error))

            async with client, asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(ask())

        count = len(bodies)
        left = count
        with closing(in_background(work)) as outcomes:
            while left:
                index, outcome = next(outcomes)
                if isinstance(outcome, Exception):
                    raise outcome
                left -= 1
                for body in on_answer(index, outcome):
                    loops[0].call_soon_threadsafe(waiting.put_nowait, (FOLLOWS, count, body))
                    count, left = count + 1, left + 1

    async def _complete(self, client: httpx2.AsyncClient, index: int, body: Body) -> Answer:
        for tried in range(self.retries + 1):
            try:
                return await self._try(client, index, body)
            except _PassingFailure as failure:
                wait = max(failure.wait, _back_off(tried))
                if tried == self.retries or wait > self.timeout:
                    raise ServerFailed(
                        f"the server at {self.url} did not complete prompt {index}, tried "
                        f"{tried + 1} times ({failure}); see its log and try again"
                    ) from failure
            await asyncio.sleep(wait)
        raise AssertionError("the last try either returns or raises")

    async def _try(self, client: httpx2.AsyncClient, index: int, body: Body) -> Answer:
        try:
            async with asyncio.timeout(self.timeout):
                response = await client.post(f"{self.url}/v1/completions", json=body)
        except TimeoutError as error:
            raise _PassingFailure(
                f"no answer within {self.timeout:g} s: raise timeout or lower concurrency"
            ) from error
        except httpx2.RequestError as error:
            raise _PassingFailure(self._quoted(_reason(error))) from error
        if _may_pass(response.status_code):
            wait = _retry_after(response.headers)
            asks = f", asks to wait {wait:.0f} s" if wait else ""
            raise _PassingFailure(f"{self._told(response)}{asks}", wait)
        self._check_key(response.status_code)
        if response.status_code != httpx2.codes.OK:
            told = self._told(response)
            remedy = (
                "shorten the prompt, lower max_tokens, or give the server a longer context"
                if "context" in told.lower()
                else "this engine needs the /v1/completions of vLLM, SGLang or llama.cpp"
            )
            raise BadInput(f"the server at {self.url} refuses prompt {index} ({told}); {remedy}")
        try:
            return _parse(response.json())
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise _PassingFailure(
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

    def _told(self, response: httpx2.Response) -> str:
        """Status and words of a refusal, wherever a server puts them."""
        words: Any = response.text
        try:
            found = response.json()
            error = found.get("error") or found
            words = error if isinstance(error, str) else error.get("message") or found["detail"]
        except (ValueError, KeyError, AttributeError):
            pass
        return f"status {response.status_code}: {self._quoted(str(words))}"

    def _quoted(self, words: str) -> str:
        """Another's words as part of a sentence: without the key, on one line, not too long."""
        hidden = words.replace(self._key, "[key]") if self._key else words
        line = " ".join(hidden.split()).rstrip(".")
        return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}..."


def _address(url: str) -> str:
    """The URL up to and without /v1. It enters records, so it may hold no secret."""
    try:
        parts = urlsplit(url.strip())
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise BadInput(
            "the url of the server is not an address; give one such as http://127.0.0.1:8000"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadInput(
            "the url of the server holds a user name, password or query, which records would "
            f"show; give it without, and the key in the variable {KEY_VARIABLE}"
        )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{KEY_VARIABLE} holds characters that no key has; set it again")
    return key


def _parse(found: Any) -> Answer:
    """Raises ValueError, KeyError, TypeError, ... if this is not one whole completion."""
    choice = found["choices"][0]
    text, stop = choice["text"], choice["finish_reason"]
    if not isinstance(text, str) or stop not in ("stop", "length"):
        raise ValueError(f"finish reason {stop!r}")
    text.encode()
    reported = (found.get("usage") or {}).get("completion_tokens")
    return Answer(text, stop, reported if isinstance(reported, int) else None)


def _may_pass(status: int) -> bool:
    return status in PASSING or status >= httpx2.codes.INTERNAL_SERVER_ERROR


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _back_off(tried: int) -> float:
    """Doubles with each try; the random half keeps many clients from coming back together."""
    return min(FIRST_WAIT * 2.0**tried, LONGEST_WAIT) * random.uniform(0.5, 1.0)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, given as such or as a date (RFC 9110, 10.2.3), else 0."""
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (TypeError, ValueError):
        return 0.0
    return max(wait.total_seconds(), 0.0)
