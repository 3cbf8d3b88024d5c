"""A model's config.json and generation_config.json."""

from __future__ import annotations

import json
from pathlib import Path

from lrm.errors import BadInput, unreadable


def read_config(folder: Path) -> dict[str, object]:
    """The config; BadInput unless it can be read and names a model type."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise BadInput(f"{path} names no model_type; fetch it again.")
    return config


def read_generation_config(folder: Path) -> dict[str, object]:
    """What the model's makers recommend for sampling; empty where there is no such file. BadInput
    if it cannot be read."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not isinstance(config, dict):
        raise BadInput(f"{path} is no JSON object; fetch it again.")
    return config
