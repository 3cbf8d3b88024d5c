"""Where a server is, and the key that it asks for."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import httpx2

from lrm.errors import BadInput

KEY_VARIABLE = "LRM_SERVER_KEY"
"""The variable that holds the key. Not OPENAI_API_KEY: users who have that set for another service
would send it to every server they try."""


def address_of(url: str) -> str:
    """The URL before /v1. It is recorded with results, so it may hold no secret."""
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        httpx2.URL(url.strip())  # stricter on characters and lengths
        (parts.hostname or "").encode("idna")  # as the lookup of the name does
    except (ValueError, httpx2.InvalidURL):
        valid = False
    if not valid:
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


def key_of_environment() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{KEY_VARIABLE} holds characters that no key has; set it again")
    return key
