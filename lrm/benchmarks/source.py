"""Rows of a published data set: from the folder named by LRM_DATA, else from a pinned place online.

The folder is read here, line by line, rather than by `datasets`: its errors name no line, and it
copies every file into a cache first. `datasets` is imported only to go online. It reads what was
downloaded, but does not download: it retries an unreachable hub for half a minute, and without
network it takes whatever revision it saw last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lrm.errors import BadInput
from lrm.files import write_atomic
from lrm.records import Question

VARIABLE = "LRM_DATA"
PATIENCE = 5.0
"""Seconds of silence after which a server counts as out of reach."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's rows are.

    `file` is the JSONL file under LRM_DATA. Online it is the `split` of the hub's data set `hub`
    (its `config`, if it has several) at the commit `revision`; with `data_file`, that file alone is
    downloaded and taken as the split. Where the hub has none, it is the JSON file at `url`, which
    is pinned by its own address. Both are downloaded once; the copy then serves without network.
    """

    file: str
    split: str
    hub: str = ""
    revision: str | None = None
    config: str | None = None
    url: str | None = None
    data_file: str | None = None

    def __str__(self) -> str:
        return self.url or "/".join(filter(None, (f"{self.hub}@{self.revision}", self.data_file)))


@dataclass(frozen=True, slots=True)
class DataRow:
    """One record, its place from 0, and where it was read, for messages."""

    values: Mapping[str, object]
    index: int
    origin: str

    def text(self, field: str) -> str:
        """The non-empty string in a field."""
        value = self._value(field)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(f'"{field}" must be a non-empty string, got {value!r:.80}')
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """The list of non-empty strings in a field."""
        values = self._value(field)
        if not isinstance(values, list) or not all(
            isinstance(v, str) and v.strip() for v in values
        ):
            raise self.bad(f'"{field}" must be a list of non-empty strings')
        return tuple(values)

    def integer(self, field: str) -> int:
        """The integer in a field, given as a number or in digits ("033" is 33)."""
        value = self._value(field)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(f'"{field}" must be an integer, got {value!r:.80}')
        return value

    def rows(self, field: str) -> list[DataRow]:
        """The list of objects in a field, as rows."""
        values = self._value(field)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.bad(f'"{field}" must be a list of objects')
        return [
            DataRow(value, index, f"{self.origin}, {field}[{index}]")
            for index, value in enumerate(values)
        ]

    def flag(self, field: str) -> bool:
        """The true or false in a field."""
        value = self._value(field)
        if not isinstance(value, bool):
            raise self.bad(f'"{field}" must be true or false, got {value!r:.80}')
        return value

    def has_list(self, field: str) -> bool:
        return isinstance(self._value(field), list)

    def bad(self, what: str) -> BadInput:
        return BadInput(f"{self.origin}: {what}; restore the file or fix that row")

    def _value(self, field: str) -> object:
        if field not in self.values:
            raise self.bad(f'the field "{field}" is missing')
        return self.values[field]


def questions(
    source: Source, question: Callable[[DataRow], Question], limit: int | None = None
) -> list[Question]:
    """The first `limit` questions in the source's order, all of it checked. Ids must differ.

    Raises BadInput naming file and line (or data set and row).
    """
    found: dict[str, Question] = {}
    for row in rows(source):
        made = question(row)
        if made.id in found:
            raise row.bad(f'the question id "{made.id}" stands for the second time')
        found[made.id] = made
    return list(found.values())[:limit]


def rows(source: Source) -> list[DataRow]:
    """All rows in order; none at all is an error."""
    folder = os.environ.get(VARIABLE)
    found = _from_folder(Path(folder), source) if folder else _online(source)
    if not found:
        place = Path(folder) / source.file if folder else source
        raise BadInput(f"{place} holds no rows; restore it or set {VARIABLE} to another folder")
    return found


def _from_folder(folder: Path, source: Source) -> list[DataRow]:
    path = folder / source.file
    remedy = f"set {VARIABLE} to a folder that holds {source.file}, or unset it to go online"
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where access is denied
        raise BadInput(f"{VARIABLE} names {folder}, which is not a folder; {remedy}")
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadInput(f"cannot read {path} ({error.strerror}); {remedy}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return [
        DataRow(_record(line, f"{path}, line {number}"), index, f"{path}, line {number}")
        for index, (number, line) in enumerate(numbered)
    ]


def _record(line: bytes, origin: str) -> dict[str, object]:
    try:
        record = json.loads(line.decode())
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise BadInput(f"{origin}: must be one JSON object in UTF-8; restore the file")
    return record


def _online(source: Source) -> list[DataRow]:
    import datasets
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        place = _download(source.url) if source.url else _snapshot(source)
    except (HTTPError, OSError) as error:
        raise _failure(source, *_cause(source, error)) from error
    file = place if source.url else source.data_file
    try:
        table = datasets.load_dataset(
            "json" if source.url else place,
            source.config,
            data_files={source.split: file} if file else None,
            split=source.split,
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).partition("\n")[0]
        copy = place if source.url else Path(place).parents[1]  # beside snapshots/ lies blobs/
        raise _failure(source, reason, f"delete {copy} to download it again") from error
    return [DataRow(record, index, f"{source}, row {index}") for index, record in enumerate(table)]


def _snapshot(source: Source) -> str:
    """The folder of the hub's data set at its revision, or the copy of it if the hub gives none.

    The first contact is a request of its own because `snapshot_download` sets no limit to the wait
    for its first answer and retries for half a minute.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(copy: bool) -> str:
        return snapshot_download(
            source.hub,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=source.data_file,
            local_files_only=copy,
        )

    try:
        HfApi().dataset_info(source.hub, revision=source.revision, timeout=PATIENCE)
        return fetch(copy=False)
    except Exception:
        with suppress(LocalEntryNotFoundError):
            return fetch(copy=True)
        raise


def _download(url: str) -> str:
    """A copy of the file at a pinned address."""
    from huggingface_hub import cached_assets_path, get_session

    folder = cached_assets_path("lrm", "downloads", hashlib.sha256(url.encode()).hexdigest())
    path = folder / url.rpartition("/")[2]
    if not path.exists():
        reply = get_session().get(url, timeout=PATIENCE)
        reply.raise_for_status()
        write_atomic(path, reply.content)
    return str(path)


def _cause(source: Source, error: Exception) -> tuple[str, str]:
    """Why nothing was downloaded, and what to do about it."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RepositoryNotFoundError):  # or its subclass, GatedRepoError
        page = f"{constants.ENDPOINT}/datasets/{source.hub}"
        return "the hub asks for a login", f"ask for access at {page} and run `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision", "correct the revision"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "no copy is here and HF_HUB_OFFLINE is set", "get online with HF_HUB_OFFLINE unset"
    said = str(error).partition("\n")[0] or type(error).__name__
    return f"no copy is here and the download failed: {said}", "get online"


def _failure(source: Source, reason: str, way: str) -> BadInput:
    remedy = f"set {VARIABLE} to a folder that holds {source.file}, or {way}"
    return BadInput(f"cannot load {source} ({reason}); {remedy}")
