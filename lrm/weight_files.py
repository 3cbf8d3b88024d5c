"""The safetensors files of a Hugging Face folder: which they are."""

from __future__ import annotations

import json
from pathlib import Path

from lrm.errors import BadInput, DamagedModel, unreadable

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
COMPUTED = ".rotary_emb.inv_freq"
"""Old checkpoints store these frequencies; every engine computes them from the config."""


def weight_files(folder: Path) -> list[Path]:
    """The single weight file, or the shards that the index names; BadInput if there are none."""
    single, index = folder / SINGLE, folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        raise BadInput(
            f"{folder} has no .safetensors weights (model.safetensors, or shards with an index); "
            "convert them, others are not read."
        )
    shards = sorted(set(weight_index(index).values()))
    if not shards:
        raise DamagedModel(f"{index} names no weight file; fetch it again.")
    return [folder / Path(shard).name for shard in shards]


def weight_index(path: Path) -> dict[str, str]:
    """The file of each tensor of a sharded model, by the tensor's name."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(path, error) from error
