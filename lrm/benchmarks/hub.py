"""Rows of a published data set from a pinned place online, downloaded once.

`datasets` reads what was downloaded, but does not download: it retries an unreachable hub for half
a minute, and without network it takes whatever revision it saw last.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import datasets
from huggingface_hub import (
    HfApi,
    cached_assets_path,
    constants,
    errors,
    get_session,
    snapshot_download,
)
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from lrm.benchmarks.source import VARIABLE, DataRow, Source
from lrm.errors import BadInput
from lrm.files import write_atomic
from lrm.network import check_network

HTTP_TIMEOUT = 5.0
"""Seconds of silence after which a server counts as out of reach."""


def download_rows(source: Source) -> list[DataRow]:
    """All rows in order; BadInput if they cannot be downloaded or read."""
    try:
        copy = _download(source.url) if source.url else _snapshot(source)
    except (HTTPError, OSError) as error:
        raise _failure(source, *_cause(source, error)) from error
    file = copy if source.url else source.data_file
    try:
        table = datasets.load_dataset(
            "json" if source.url else copy,
            source.config,
            data_files={source.split: file} if file else None,
            split=source.split,
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).partition("\n")[0]
        # The bytes of a snapshot are in blobs/ beside snapshots/, so both must go.
        stored = copy if source.url else Path(copy).parents[1]
        raise _failure(source, reason, f"delete {stored} to download it again") from error
    return [DataRow(record, index, f"{source}, row {index}") for index, record in enumerate(table)]


def _snapshot(source: Source) -> str:
    """The folder of the hub's data set at its revision, or the copy of it if the hub gives none.

    The first contact is a request of its own because `snapshot_download` sets no limit to the wait
    for its first answer and retries for half a minute.
    """

    def fetch(local_only: bool) -> str:
        return snapshot_download(
            source.hub,
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=source.data_file,
            local_files_only=local_only,
        )

    try:
        check_network()
        HfApi().dataset_info(source.hub, revision=source.revision, timeout=HTTP_TIMEOUT)
        return fetch(local_only=False)
    except Exception:
        with suppress(errors.LocalEntryNotFoundError):
            return fetch(local_only=True)
        raise


def _download(url: str) -> str:
    """A copy of the file at a pinned address."""
    folder = cached_assets_path("lrm", "downloads", hashlib.sha256(url.encode()).hexdigest())
    path = folder / url.rpartition("/")[2]
    if not path.exists():
        check_network()
        response = get_session().get(url, timeout=HTTP_TIMEOUT)
        response.raise_for_status()
        write_atomic(path, response.content)
    return str(path)


def _cause(source: Source, error: Exception) -> tuple[str, str]:
    """Why nothing was downloaded, and what to do about it."""
    if isinstance(error, errors.RepositoryNotFoundError):  # or its subclass, GatedRepoError
        page = f"{constants.ENDPOINT}/datasets/{source.hub}"
        return "the hub asks for a login", f"ask for access at {page} and run `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision", "correct the revision"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "no copy is here and HF_HUB_OFFLINE is set", "get online with HF_HUB_OFFLINE unset"
    reason = str(error).partition("\n")[0] or type(error).__name__
    return f"no copy is here and the download failed: {reason}", "get online"


def _failure(source: Source, reason: str, other_remedy: str) -> BadInput:
    remedy = f"set {VARIABLE} to a folder that holds {source.file}, or {other_remedy}"
    return BadInput(f"cannot load {source} ({reason}); {remedy}")
