"""Checks of a Hugging Face folder before any weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lrm import formats
from lrm.contracts.engine import EngineKind
from lrm.errors import BadInput
from lrm.model_config import read_config
from lrm.records import Checkpoint
from lrm.stored_tensors import stored_tensors

IDENTITY_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files that, with the weights, decide what a model says."""


def check_folder(checkpoint: Checkpoint, engine: EngineKind) -> Mapping[str, object]:
    """Returns the config; raises BadInput unless this is a folder with weights, dense or packed,
    that the engine loads. Whether all of them are there was checked when the folder was opened
    (`lrm.model_checks`)."""
    path = checkpoint.path
    formats.check(path, checkpoint.format, engine)
    if not (path / "config.json").is_file():
        raise BadInput(
            f"{path} has no readable config.json; give the folder of a Hugging Face checkpoint"
        )
    config = read_config(path)
    stored = formats.of_config(config, path)
    formats.check(path, stored, engine)
    return config


def check_same_shape(current: Checkpoint, other: Checkpoint) -> None:
    """Raises BadInput unless `other` differs from `current` in the values of its weights alone."""
    differing = [
        name
        for name in IDENTITY_FILES
        if _content(current.path / name) != _content(other.path / name)
    ]
    if not differing and tensor_shapes(current) != tensor_shapes(other):
        differing = ["weights' names or shapes"]
    if differing:
        raise BadInput(
            f"{other.path} cannot be swapped in for {current.path}: their {differing[0]} differ; "
            "start another engine on it"
        )


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def tensor_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, by its name; BadInput if a file is cut or broken."""
    return {name: tensor.shape for name, tensor in stored_tensors(checkpoint.path).items()}
