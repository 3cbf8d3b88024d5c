"""The tensors of a Hugging Face folder's safetensors files, by what the files' headers say.

Layout of a safetensors file (huggingface.co/docs/safetensors): 8 bytes with the header's length,
the header in JSON (dtype, shape and byte range of each tensor), then the tensors' bytes. No tensor
is read here but to be compared with another byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lrm.errors import BadInput, DamagedModel, unreadable
from lrm.weight_files import INDEX, SINGLE, weight_files, weight_index

CHUNK = 1 << 22
"""Bytes that are compared at once."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is stored: bytes [start, end) of a file. `dtype` in safetensors' names: "BF16"
    is bfloat16."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder by its name, from the headers alone.

    DamagedModel names a file that is missing, cut or broken, a tensor that two files have, and one
    that the index promises and no file has.
    """
    files = weight_files(folder)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in _header(file):
            if name in tensors:
                raise DamagedModel(
                    f"{name} is both in {tensors[name].file} and in {file.name}; save the model "
                    "again."
                )
            tensors[name] = tensor
    if files != [folder / SINGLE]:
        promised = set(weight_index(folder / INDEX)) - set(tensors)
        if promised:
            raise DamagedModel(
                f"{folder} has no weight {min(promised)}, which its index names; save the model "
                "again."
            )
    _check_no_others(folder, files, tensors)
    return tensors


def same_values(tensor: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors have the same shape, dtype and bytes."""
    if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
        return False
    with tensor.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(tensor.start)
        second.seek(other.start)
        left = tensor.end - tensor.start
        while left:
            size = min(left, CHUNK)
            if first.read(size) != second.read(size):
                return False
            left -= size
    return True


def _header(file: Path) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of a file, by name."""
    try:
        with safe_open(file, framework="np"):  # validates the header, ranges and file size
            pass
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size))
    except (OSError, ValueError, SafetensorError) as error:
        raise unreadable(file, error) from error
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        yield name, StoredTensor(file, entry["dtype"], tuple(entry["shape"]), start, end)


def _check_no_others(folder: Path, files: list[Path], tensors: dict[str, StoredTensor]) -> None:
    """BadInput if another file of the folder has a weight of the same name: some engines read
    every file there is."""
    for file in sorted(set(folder.glob("*.safetensors")) - set(files)):
        twice = sorted(name for name, _ in _header(file) if name in tensors)
        if twice:
            raise BadInput(
                f"{twice[0]} is both in {tensors[twice[0]].file} and in {file.name}, and engines "
                "differ in which they read; remove the one that is not meant."
            )
