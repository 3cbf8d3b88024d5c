"""Whether another checkpoint's weights can take the place of those that an engine runs."""

from __future__ import annotations

from pathlib import Path

from lrm.errors import BadInput
from lrm.records.model import Checkpoint

IDENTITY_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files that, with the weights, decide what a model says."""


def check_same_files(current: Checkpoint, other: Checkpoint) -> None:
    """Raises BadInput unless the checkpoints have the same config, tokenizer and template."""
    for name in IDENTITY_FILES:
        if _content(current.path / name) != _content(other.path / name):
            raise not_swapped(current, other, name)


def not_swapped(current: Checkpoint, other: Checkpoint, differing: str) -> BadInput:
    """What to raise where something else than the values of the weights differs."""
    return BadInput(
        f"{other.path} cannot be swapped in for {current.path}: their {differing} differ; "
        "start another engine on it"
    )


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
