"""GGUF as a format that models are opened in, and written in for llama.cpp."""

from __future__ import annotations

from pathlib import Path

from lrm.compression.gguf import files
from lrm.records.model import Checkpoint


class GGUFFormat:
    """Contract: `lrm.contracts.file_format.FileFormat`."""

    def open(self, path: Path) -> Checkpoint:
        return files.open_gguf(path)

    def has_chat_template(self, path: Path) -> bool:
        return files.chat_template(path) is not None

    def write(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        # Only this needs torch, which takes seconds to import.
        from lrm.compression.gguf.convert import write_f16

        return write_f16(checkpoint, out)


GGUF_FORMAT = GGUFFormat()
