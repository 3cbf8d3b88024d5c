"""A model's repository on the hub: its files, of which only those that are needed are fetched."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrm.errors import BadInput
from lrm.network import check_network

HTTP_TIMEOUT = 5.0
"""Seconds without an answer after which the hub counts as out of reach."""


@dataclass(frozen=True)
class Repository:
    """A repository and the names of its files.

    `offline`: the hub is out of reach, and the files are those of a copy downloaded before.
    """

    name: str
    files: Sequence[str]
    offline: bool = False

    @property
    def described(self) -> str:
        return f"the copy of {self.name} here" if self.offline else self.name

    def fetch(self, wanted: Sequence[str]) -> Path:
        """A folder with all files that match a pattern of `wanted`, and perhaps others."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

        patterns = list(wanted)
        try:
            return Path(
                snapshot_download(self.name, allow_patterns=patterns, local_files_only=self.offline)
            )
        except (HTTPError, OSError) as error:
            raise _failure(self.name, error) from error

    def fetch_file(self, file: str, also: Sequence[str] = ()) -> Path:
        """The path of a file; the files in `also` are fetched with it."""
        return self.fetch([glob.escape(name) for name in (file, *also)]) / file


def find_repository(name: str) -> Repository:
    """Asks the hub which files it has, or looks for a copy if it is out of reach.

    The hub is asked before anything is downloaded, since a download is retried for minutes.
    Raises BadInput if there is neither.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

    try:
        check_network()
        info = HfApi().model_info(name, timeout=HTTP_TIMEOUT)
        return Repository(name, [file.rfilename for file in info.siblings or ()])
    except HFValidationError as error:
        raise _failure(name, error) from error
    except (HTTPError, OSError) as error:
        try:
            copy = Path(snapshot_download(name, local_files_only=True, allow_patterns=[]))
        except OSError:
            raise _failure(name, error) from error
        files = [path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()]
        return Repository(name, files, offline=True)


def _failure(name: str, error: Exception) -> BadInput:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BadInput(
        f"Model {name!r} is neither here nor reachable on the hub ({reason}): check the name, or "
        "give a local folder, a GGUF file or an embedded model."
    )
