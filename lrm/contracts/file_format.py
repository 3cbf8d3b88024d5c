"""What a format offers whose models are files of their own, not Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lrm.records.model import Checkpoint


class FileFormat(Protocol):
    """How models are opened in a format, and dense ones written in it.

    * `open` takes the first file of a model, and reads all of it once, for its digest. BadInput
      names what is missing, cut or not of this format.
    * `write` makes a file of a dense folder, whole or not at all. **What it cannot write is refused
      by a BadInput before anything is written.**
    """

    def open(self, path: Path) -> Checkpoint: ...

    def has_chat_template(self, path: Path) -> bool: ...

    def write(self, checkpoint: Checkpoint, out: Path) -> Checkpoint: ...
