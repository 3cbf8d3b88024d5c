"""Checks of a Hugging Face folder before any weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lrm import formats
from lrm.contracts import EngineKind
from lrm.errors import BadInput
from lrm.records import Checkpoint

IDENTITY_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
"""Files that, with the weights, decide what a model says."""


def check_folder(checkpoint: Checkpoint, engine: EngineKind) -> Mapping[str, object]:
    """Returns the config; raises BadInput unless this is a folder with safetensors weights, dense
    or packed, that the engine loads."""
    path = checkpoint.path
    formats.check(path, checkpoint.format, engine)
    try:
        config: object = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} has no readable config.json; give the folder of a Hugging Face checkpoint"
        ) from error
    if not isinstance(config, dict):
        raise BadInput(f"{path}/config.json is no JSON object; fetch the checkpoint again")
    if not any(path.glob("*.safetensors")):
        raise BadInput(f"{path} has no .safetensors weights; convert them, others are not read")
    formats.check(path, formats.of_config(config, path), engine)
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


def tensor_shapes(checkpoint: Checkpoint) -> dict[str, list[int]]:
    """The shape of every tensor, by its name; BadInput if a file is cut or broken."""
    shapes: dict[str, list[int]] = {}
    try:
        for path in sorted(checkpoint.path.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                shapes |= {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"checkpoint {checkpoint.path} cannot be loaded, save it again: {error}"
        ) from error
    return shapes
