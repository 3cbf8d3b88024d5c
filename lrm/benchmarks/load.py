"""Rows and questions of a published data set: from the folder named by LRM_DATA, else online.

The folder is read here, line by line, and not by `datasets`, whose errors name no line and which
copies every file into a cache first.
"""

from __future__ import annotations

import json
import os
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from lrm.benchmarks.source import VARIABLE, DataRow, Source
from lrm.errors import BadInput
from lrm.records.question import Question

Made = TypeVar("Made")


def load_questions(
    source: Source, question: Callable[[DataRow], Question], limit: int | None = None
) -> list[Question]:
    """The first `limit` questions in the source's order; the rest is checked too.

    Raises BadInput naming file and line (or data set and row), also where two ids are equal.
    """
    return list(by_id(load_rows(source), question, lambda made: made.id).values())[:limit]


def by_id(
    rows: Iterable[DataRow], make: Callable[[DataRow], Made], id_of: Callable[[Made], str]
) -> dict[str, Made]:
    """What is made of each row, by its question's id; BadInput where two are equal."""
    items: dict[str, Made] = {}
    for row in rows:
        made = make(row)
        if id_of(made) in items:
            raise row.bad(f'the question id "{id_of(made)}" stands for the second time')
        items[id_of(made)] = made
    return items


def load_rows(source: Source) -> list[DataRow]:
    """All rows in order; none at all is an error."""
    folder = os.environ.get(VARIABLE)
    if folder:
        rows = _from_folder(Path(folder), source)
    else:
        from lrm.benchmarks.hub import download_rows  # it imports `datasets`, only to go online

        rows = download_rows(source)
    if not rows:
        origin = Path(folder) / source.file if folder else source
        raise BadInput(f"{origin} holds no rows; restore it or set {VARIABLE} to another folder")
    return rows


def _from_folder(folder: Path, source: Source) -> list[DataRow]:
    path = folder / source.file
    remedy = f"set {VARIABLE} to a folder that holds {source.file}, or unset it to go online"
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where access is denied
        raise BadInput(f"{VARIABLE} names {folder}, which is not a folder; {remedy}")
    return read_rows(path, remedy)


def read_rows(path: Path, remedy: str) -> list[DataRow]:
    """The JSON objects of a file, one a line; BadInput, with the `remedy`, if it cannot be read."""
    try:
        lines = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
    except OSError as error:
        raise BadInput(f"cannot read {path} ({error.strerror}); {remedy}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return [
        DataRow(_record(line, f"{path}, line {number}"), index, f"{path}, line {number}")
        for index, (number, line) in enumerate(numbered)
    ]


def _record(line: bytes, origin: str) -> dict[str, object]:
    """The JSON object on a line; `origin` names the line in the BadInput for anything else."""
    try:
        record = json.loads(line.decode())
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise BadInput(f"{origin}: must be one JSON object in UTF-8; restore the file")
    return record
