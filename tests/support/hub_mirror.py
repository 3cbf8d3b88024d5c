"""A mirror of the Hugging Face hub, on this machine: a real server, nothing mocked.

It answers the requests that `huggingface_hub` and `datasets` make when HF_ENDPOINT names it, from a
folder with the hub's layout, OWNER/NAME/..., and knows each repository at one commit, its "main".
Error codes are the hub's own (huggingface_hub/utils/_http.py reads them). `huggingface_hub` reads
HF_ENDPOINT when it is imported, so what asks it is a process of its own (`outcomes`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(
    r"/api/(datasets|models)/(?P<name>[^/]+/[^/]+)"
    r"(/(?P<kind>revision|tree|paths-info)/(?P<rest>.+))?"
)
FILE = re.compile(r"(/datasets)?/(?P<name>[^/]+/[^/]+)/(?P<kind>resolve)/(?P<rest>.+)")


CLOSED = "http://127.0.0.1:9"


def outcomes(home: Path, arguments: Sequence[str], program: str, **environment: str) -> list[Any]:
    """The JSON list that a program prints, in a process that knows nothing of the tester's login
    or cache."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "LRM_")) and not name.lower().endswith("_proxy")
    }
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**kept, **quiet, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert ended.stderr == ""
    printed: list[Any] = json.loads(ended.stdout)
    return printed


class HubMirror:
    """Serves `folder` while entered. `revisions` maps repository to commit; `requests` is the
    log."""

    def __init__(
        self, folder: Path, revisions: Mapping[str, str], gated: frozenset[str] = frozenset()
    ) -> None:
        self.folder = folder
        self.revisions = revisions
        self.gated = gated
        self.requests: list[str] = []
        mirror = self

        class Handler(_Handler):
            hub = mirror

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubMirror:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubMirror

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        self.hub.requests.append(f"{self.command} {unquote(self.path)}")

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = unquote(urlsplit(self.path).path)
        found = API.fullmatch(path) or FILE.fullmatch(path)
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound")
        name, (revision, _, inside) = found["name"], (found["rest"] or "main").partition("/")
        if name not in self.hub.revisions:
            return self._refuse(HTTPStatus.UNAUTHORIZED, "RepoNotFound")
        if revision not in (self.hub.revisions[name], "main"):
            return self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        revision = self.hub.revisions[name]
        place = self.hub.folder / name / inside
        if found["kind"] in ("revision", None):
            entries = self._entries(name, place, True)
            files = [{"rfilename": each["path"]} for each in entries if each["type"] == "file"]
            known = {
                "id": name,
                "sha": revision,
                "siblings": files,
                "gated": name in self.hub.gated,
            }
            return self._send(json.dumps(known).encode(), revision)
        if found["kind"] == "tree" and place.is_dir():
            query = parse_qs(urlsplit(self.path).query)
            everything = query.get("recursive", ["false"])[0].lower() in ("true", "1")
            return self._send(json.dumps(self._entries(name, place, everything)).encode(), revision)
        if found["kind"] == "paths-info":
            asked = [self.hub.folder / name / path for path in parse_qs(body).get("paths", [])]
            entries = [self._entry(name, path) for path in asked if path.exists()]
            return self._send(json.dumps(entries).encode(), revision)
        if found["kind"] == "resolve" and name in self.hub.gated:
            known_login = "Authorization" in self.headers
            status = HTTPStatus.FORBIDDEN if known_login else HTTPStatus.UNAUTHORIZED
            return self._refuse(status, "GatedRepo")
        if not place.is_file():
            return self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound")
        return self._send(place.read_bytes(), revision)

    def _entries(self, name: str, folder: Path, recursive: bool) -> list[dict[str, object]]:
        paths = sorted(folder.rglob("*") if recursive else folder.iterdir())
        return [self._entry(name, path) for path in paths]

    def _entry(self, name: str, path: Path) -> dict[str, object]:
        inside = path.relative_to(self.hub.folder / name).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": inside, "size": 0, "oid": _oid("tree", b"")}
        content = path.read_bytes()
        return {
            "type": "file",
            "path": inside,
            "size": len(content),
            "oid": _oid("blob", content),
        }

    def _send(self, content: bytes, revision: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", revision)
        self.send_header("ETag", f'"{_oid("blob", content)}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _oid(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()
