"""A model that somebody gives is checked when it is opened, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lrm.compression.checkpoint.download import check_download
from lrm.compression.checkpoint.folder import read_checkpoint
from lrm.errors import BadInput
from lrm.model_checks import check_model
from lrm.records.model import Checkpoint, Format


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens a local Hugging Face folder, and reads all of it once.

    BadInput names what is missing or wrong (see `lrm.model_checks.check_model`), DamagedModel also
    a file that is not what it was when we made it, or when the hub named it.
    """
    if not path.is_dir():
        raise BadInput(f"{path} is no folder; give the folder of a Hugging Face checkpoint.")
    return read_checkpoint(path, _check)


def _check(folder: Path, stored: Format, digests: Mapping[str, str]) -> None:
    check_download(folder, digests)
    check_model(folder, stored)
