"""JSONL files from elsewhere, gzipped or not, read one line at a time."""

from __future__ import annotations

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lrm.errors import BadInput

LONGEST_LINE = 64 * 2**20
"""Bytes. One line is held in memory; a longer one is no reply."""


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers from 1, without blank ones; never the whole file at
    once.

    Raises BadInput where the file cannot be read to its end.
    """
    try:
        with _opened(path) as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(BOM_UTF8)  # as Windows saves it
                if len(line) > LONGEST_LINE:
                    raise BadInput(
                        f"{path}, line {number} is longer than {LONGEST_LINE >> 20} MiB: give one "
                        "JSON object a line."
                    )
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"Cannot read {path} ({reason}): give a whole JSONL file.") from error


def parsed(line: bytes, location: str) -> dict[str, object]:
    """The JSON object on a line. Raises BadInput that names the `location` ("a.jsonl, line 3")."""
    try:
        value = json.loads(line.decode())
        if b"\\ud" in line.lower():  # an escape that may be half a surrogate pair, which is no text
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise BadInput(f"{location} is not UTF-8: save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        raise BadInput(
            f"{location} is not JSON ({reason}): give one whole JSON object a line."
        ) from error
    if not isinstance(value, dict):
        raise BadInput(
            f"{location} is not a JSON object: give one a line, with a question and a text."
        )
    return value


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if zipped else file
