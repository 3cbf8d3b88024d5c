"""What the hub's cache holds is what the hub says that it holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lrm.errors import DamagedModel

BLOB = re.compile(r"[0-9a-f]{64}")
"""The hub's cache names the file of a large download by its digest, and links to it."""


def check_download(folder: Path, digests: Mapping[str, str]) -> None:
    """DamagedModel unless files from the hub's cache have the content they are named by there."""
    for name, digest in digests.items():
        blob = (folder / name).resolve()
        if blob.parent.name == "blobs" and BLOB.fullmatch(blob.name) and blob.name != digest:
            raise DamagedModel(
                f"{folder / name} is not what the hub says it is; remove {blob} and fetch it again."
            )
