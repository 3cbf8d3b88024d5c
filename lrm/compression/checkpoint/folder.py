"""Hugging Face folders as checkpoints: their weights read, measured and overwritten.

Pruning changes no shape and no dtype, so a pruned safetensors file has exactly the layout of its
source: a staged checkpoint is a copy of the source folder in which weights are overwritten in
place, one at a time. What is not overwritten keeps its bits, and memory never holds a second model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import ceil, prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lrm import formats
from lrm.compression.checkpoint import receipt
from lrm.compression.checkpoint.receipt import RECEIPT, check_files, steps_of
from lrm.digests import of_digests, of_hf_folder
from lrm.errors import BadInput, DamagedModel, unreadable
from lrm.model_config import read_config
from lrm.records.model import Checkpoint, Format
from lrm.stored_tensors import stored_tensors
from lrm.weight_files import weight_files

COPIED = {".json", ".jinja", ".model", ".txt"}
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
Check = Callable[[Path, Format, Mapping[str, str]], object]
"""Raises what is wrong with a folder whose weights are stored so; takes its files' digests too."""

BLOCK_WEIGHT = re.compile(r"(^|\.)layers\.\d+\..+\.weight$")


class Weights:
    """The tensors of a folder's safetensors files, by name, one file or sharded.

    Making one reads the headers alone; errors as of `lrm.stored_tensors.stored_tensors`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = weight_files(folder)
        self._tensors = stored_tensors(folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def linears(self) -> list[str]:
        """Names of the matrices inside the blocks: never embeddings, head, norms or biases."""
        return [
            name
            for name, tensor in self._tensors.items()
            if len(tensor.shape) == 2 and BLOCK_WEIGHT.search(name)
        ]

    def sizes(self) -> dict[str, int]:
        """Weights of each linear layer of the blocks, by the layer's own name."""
        return {name.removesuffix(".weight"): prod(self.shape(name)) for name in self.linears()}

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def bytes(self, name: str) -> int:
        """What a tensor takes in its file."""
        tensor = self._tensors[name]
        return tensor.end - tensor.start

    def dtype(self, name: str) -> torch.dtype:
        """How a weight is stored; BadInput if it is missing, or quantized."""
        if name not in self._tensors:
            raise DamagedModel(f"{self.folder} has no weight {name}; save the model again.")
        stored = self._tensors[name].dtype
        if stored not in DTYPES:
            raise BadInput(
                f"{name} of {self.folder} is stored as {stored}; give a model stored as "
                f"{', '.join(DTYPES)}."
            )
        return DTYPES[stored]

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored."""
        file = self._tensors[name].file
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
                return tensor
        except (OSError, SafetensorError) as error:
            raise unreadable(file, error) from error

    def holds_numbers(self, name: str) -> bool:
        """Whether a tensor's values are as they are computed with: not packed, nor quantized."""
        return self._tensors[name].dtype in DTYPES

    def read_finite(self, name: str) -> Tensor:
        """A tensor as it is stored; DamagedModel if it has values that are no numbers."""
        tensor = self.read(name)
        if self.holds_numbers(name) and tensor.numel():
            # Both are NaN where a single value is.
            least, most = tensor.aminmax()
            if not (least.isfinite() and most.isfinite()):
                raise DamagedModel(
                    f"{name} of {self.folder} has values that are infinite or no numbers; fetch or "
                    "make the model again."
                )
        return tensor

    def overwrite(self, name: str, tensor: Tensor) -> None:
        """Replaces a tensor by one of the same shape and dtype."""
        stored = self._tensors[name]
        if tuple(tensor.shape) != stored.shape or tensor.dtype != self.dtype(name):
            raise ValueError(f"{name} is {stored.shape} {stored.dtype}, not {tensor.shape}")
        data = tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
        with stored.file.open("r+b") as file:
            file.seek(stored.start)
            file.write(data.tobytes())


def read_checkpoint(path: Path, check: Check | None = None) -> Checkpoint:
    """Reads a whole folder once: its digest, its lineage, and what is measured.

    `check` is asked before any weight is read. DamagedModel names a file that is not what it was
    when we made it, BadInput what else is wrong.
    """
    steps = steps_of(path)
    digests = of_hf_folder(path, without=RECEIPT)
    check_files(path, digests)
    stored = formats.of_config(read_config(path), path)
    if check:
        check(path, stored, digests)
    weights = Weights(path)
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise BadInput(f"{path} has no tokenizer.json; save the model's tokenizer there too.")
    return Checkpoint(
        path=path,
        revision=of_digests(digests),
        format=stored,
        lineage=tuple(step["method"] for step in steps),
        measured=(measure if stored == "dense" else measure_packed)(weights)
        | (receipt.measured(steps[-1]["modules"]) if steps else {}),
    )


def architecture(folder: Path) -> str:
    """The model type that the config names; BadInput if there is none."""
    return str(read_config(folder)["model_type"])


def measure(weights: Weights) -> dict[str, float]:
    """What saved dense weights say of themselves, read back tensor by tensor.

    `sparsity/achieved`: share of zeros in the blocks' matrices; `sparsity/all`: in all tensors;
    `weights/bytes`: size of the safetensors files; `weights/nonzero`: values that are not zero;
    `bits_per_weight`: stored bits per value, zeros included. `weights/packed_bytes` is what the
    files would take if the blocks' matrices did without their zeros: each as its other values and
    one bit for every value, which says where they are, or as it is if that is less; all else as
    stored. No engine here stores them so; it is the size at which pruned models are compared with
    others.
    """
    inside = set(weights.linears())
    size = {True: 0, False: 0}
    kept = {True: 0, False: 0}
    stored = saved = 0
    for name in weights:
        tensor = weights.read_finite(name)
        if tensor.dim() == 2:
            weights.dtype(name)  # packed matrices that the config is silent about hold no values
        count, nonzeros = tensor.numel(), int(tensor.count_nonzero())
        size[name in inside] += count
        kept[name in inside] += nonzeros
        stored += count * tensor.element_size()
        if name in inside:
            saved += max(0, (count - nonzeros) * tensor.element_size() - ceil(count / 8))
    total, nonzero = sum(size.values()), sum(kept.values())
    whole = sum(file.stat().st_size for file in weights.files)
    return {
        "sparsity/achieved": 1 - kept[True] / size[True] if size[True] else 0.0,
        "sparsity/all": 1 - nonzero / total,
        "weights/bytes": float(whole),
        "weights/packed_bytes": float(whole - saved),
        "weights/nonzero": float(nonzero),
        "bits_per_weight": 8 * stored / total,
    }


def measure_packed(weights: Weights) -> dict[str, float]:
    """What can be said of packed weights without unpacking them: `weights/bytes` as in `measure`.
    How many values share those bytes is known to the kernels alone. What is not packed, scales
    among it, must be finite all the same."""
    for name in weights:
        if weights.holds_numbers(name):
            weights.read_finite(name)
    return {"weights/bytes": float(sum(file.stat().st_size for file in weights.files))}
