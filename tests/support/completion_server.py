"""A server on this machine that speaks the completions protocol, and fails when it is told to."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What goes back over the wire. `text` is sent as it is instead of `found` as JSON."""

    found: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None


DROP = Reply(status=-1)
HANG = Reply(status=-2)
"""The connection is closed without a word; nothing comes until the server goes away."""


def completed(text: str, stop: str = "stop", tokens: int | None = None) -> Reply:
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    return Reply({"choices": [{"index": 0, "text": text, "finish_reason": stop}], **usage})


def refusal(status: int, words: str, **headers: str) -> Reply:
    found = {"error": {"message": words, "type": "test", "code": status}}
    return Reply(found, status, {name.replace("_", "-"): text for name, text in headers.items()})


class CompletionServer:
    """Answers each completion with the next of `upcoming`, or else with `answer(body)`.

    `models` is the list that it serves; `key`, if not empty, must be sent with every request.
    `bodies` are the requests it was sent, as they came.
    """

    def __init__(
        self, answer: Callable[[Body], Reply], models: list[Body] | None = None, key: str = ""
    ) -> None:
        self.answer = answer
        self.models: Reply = Reply({"data": models or [{"id": "m"}]})
        self.key = key
        self.upcoming: deque[Reply] = deque()
        self.bodies: list[Body] = []
        self.leaving = threading.Event()
        server = self

        class Handler(_Handler):
            ours = server

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> CompletionServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what several tests are about."""


class _Handler(BaseHTTPRequestHandler):
    ours: CompletionServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        known = self.path == "/v1/models"
        self._send(self._refused() or (self.ours.models if known else refusal(404, "Not Found")))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self._send(refusal(404, "Not Found"))
        self.ours.bodies.append(body)
        if refused := self._refused():
            return self._send(refused)
        try:
            reply = self.ours.upcoming.popleft()
        except IndexError:
            reply = self.ours.answer(body)
        return self._send(reply)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _refused(self) -> Reply | None:
        given = self.headers.get("Authorization", "")
        if not self.ours.key or given == f"Bearer {self.ours.key}":
            return None
        return refusal(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}.")

    def _send(self, reply: Reply) -> None:
        if reply is HANG:
            self.ours.leaving.wait()
        if reply in (DROP, HANG):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        content = (json.dumps(reply.found) if reply.text is None else reply.text).encode()
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
