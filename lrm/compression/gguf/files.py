"""GGUF files that are there already, whole or split into parts, opened with care."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Self

from lrm.compression.checkpoint.download import check_download
from lrm.compression.gguf.parts import parts
from lrm.digests import of_file, of_json
from lrm.errors import BadInput, DamagedModel, MissingExtra
from lrm.records.model import Checkpoint

if TYPE_CHECKING:
    from gguf import GGUFReader

MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: `row` values lie in a row, stored in `type` (gguf's names: "Q4_K")."""

    name: str
    row: int
    elements: int
    type: str
    bytes: int

    @classmethod
    def of(cls, name: str, shape: Sequence[int], kind: str) -> Self:
        """A tensor of that shape, the length of a row first, as GGUF has it."""
        gguf = library()
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        elements = prod(shape)
        return cls(name, shape[0], elements, kind, elements // block * size)


def tensors(file: Path) -> list[Tensor]:
    """The tensors of a file, by what its header says."""
    return [
        Tensor(
            str(tensor.name),
            int(tensor.shape[0]),
            int(tensor.n_elements),
            str(tensor.tensor_type.name),
            int(tensor.n_bytes),
        )
        for tensor in reader(file).tensors
    ]


def bits_per_weight(of: Iterable[Tensor]) -> float:
    """The stored bits of a value, over all these tensors."""
    chosen = list(of)
    return 8 * sum(tensor.bytes for tensor in chosen) / sum(tensor.elements for tensor in chosen)


def open_gguf(path: Path) -> Checkpoint:
    """Opens a file by its path, a split one by that of its first part.

    BadInput names what is missing, cut or no GGUF at all, or not what the hub said it is. Whether
    an engine knows the model's architecture is for that engine to say. The revision is that of the
    bytes of all parts.
    """
    files = parts(path)
    measured = measure(files)
    split = _field(path, "split.count") or 1
    if split != len(files):
        raise BadInput(
            f"{path} is one of {split} parts; give the first, named as it was made: "
            f"NAME-00001-of-{split:05}.gguf"
        )
    digests = [of_file(file) for file in files]
    check_download(path.parent, dict(zip([file.name for file in files], digests, strict=True)))
    revision = of_json(digests) if len(files) > 1 else digests[0]
    return Checkpoint(path, revision, format="gguf", measured=measured)


def chat_template(path: Path) -> str | None:
    """The chat template in a file's metadata."""
    template = _field(path, "tokenizer.chat_template")
    return None if template is None else str(template)


def measure(files: Sequence[Path]) -> dict[str, float]:
    """What the files of a model say of its weights: `weights/bytes`, their size, and
    `bits_per_weight`, the stored bits of a value, over all tensors."""
    stored = [tensor for file in files for tensor in tensors(file)]
    if not stored:
        raise BadInput(f"{files[0]} holds no weights; give a whole model")
    return {
        "weights/bytes": float(sum(file.stat().st_size for file in files)),
        "bits_per_weight": bits_per_weight(stored),
    }


def library() -> ModuleType:
    """The module gguf."""
    try:
        return import_module("gguf")
    except ImportError as error:
        raise MissingExtra(
            "GGUF files need the package gguf; install it with pip install 'lrm[gguf]'"
        ) from error


def _field(path: Path, name: str) -> object:
    field = reader(path).get_field(name)
    return field.contents() if field else None


def reader(file: Path) -> GGUFReader:
    """The file as gguf reads it. It is mapped into memory and trusted to be whole, so one that is
    not may fail in anything."""
    try:
        with file.open("rb") as opened:
            start = opened.read(len(MAGIC))
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror}); give another") from error
    if start != MAGIC:
        raise DamagedModel(
            f"{file} is no GGUF file; give one, or the folder of a Hugging Face model"
        )
    try:
        return library().GGUFReader(file)
    except MissingExtra:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DamagedModel(
            f"{file} is cut or broken, or newer than the package gguf ({reason}); fetch it again"
        ) from error
