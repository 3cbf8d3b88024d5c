"""Packed checkpoints: what is measured of them from their own bytes, and the same weights unpacked.

Layout (github.com/vllm-project/compressed-tensors, "pack-quantized"): a matrix is stored as
`weight_packed`, its integers side by side in 32-bit words; `weight_scale` and, where values are
not symmetric, `weight_zero_point`, one for each group of a row; `weight_shape`; and `weight_g_idx`
where groups are not of weights that lie side by side.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import ModuleReport, steps_of
from lrm.errors import CompressionFailed
from lrm.records.model import Checkpoint

TWIN = "unpacked"
SCALED = "scaled.safetensors"
SERVED = (4, 8)
"""Bits that engines have kernels for."""

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that engines run as one matrix, so that all of them are packed or none."""

PART = re.compile(r"(?P<module>.+)\.weight_(packed|scale|zero_point|shape|g_idx)")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A weight as the files have it: how many values, in how many bytes (scales and the like
    counted in), and in which type, "int4" where it is packed."""

    values: int
    bytes: int
    type: str

    @property
    def packed(self) -> bool:
        return self.type.startswith("int")


def open_packed(folder: Path) -> Checkpoint:
    """A folder that AWQ or GPTQ wrote, with what was measured.

    `bits_per_weight` of all tensors and `bits_per_weight/blocks` of the linear layers of the
    blocks; `reconstruction/error`, ||W - Q||^2 / ||W||^2 over those layers, for AWQ with W as it
    had scaled them; `protected/share` of their weights; `tensors/TYPE`, how many are stored in a
    type; `perplexity` of the unpacked weights (see `lrm.compression.quality.perplexity`) and
    `perplexity/dense`, that of the model before.
    """
    opened, step = open_checkpoint(folder), steps_of(folder)[-1]
    rows = [row for row in step["modules"] if row["block"]]
    values, perplexity = sum(row["weights"] for row in rows), step["perplexity"]
    kinds = Counter(row["type"] for row in step["modules"])
    measured = {
        "bits_per_weight": _bits(step["modules"]),
        "bits_per_weight/blocks": _bits(rows),
        "reconstruction/error": sum(row["lost"] for row in rows) / sum(row["norm"] for row in rows),
        "protected/share": sum(row["weights"] for row in rows if row["protected"]) / values,
        **{f"tensors/{kind}": float(count) for kind, count in kinds.items()},
        "perplexity": perplexity["own"],
        "perplexity/dense": perplexity["dense"],
    }
    return replace(opened, measured={**opened.measured, **measured})


def _bits(rows: list[ModuleReport]) -> float:
    return 8 * sum(row["bytes"] for row in rows) / sum(row["weights"] for row in rows)


def reports(
    source: Path, folder: Path, kept: Collection[str], bits: int, scaled: Path
) -> Iterator[ModuleReport]:
    """A row for every tensor of `source`: its type and bytes as they are in the packed `folder`,
    and for the linear layers of the blocks the squares of what quantization lost (`lost`) and of
    the weights (`norm`), which are those of the file `scaled`, if it is there.

    CompressionFailed if a layer that is not `kept` was not packed in so many bits, or one that is,
    was, or if the unpacked twin does not hold what the source does.
    """
    dense, twin = Weights(source), Weights(folder / TWIN)
    stored, inside = _stored(folder), set(dense.linears())
    for name in dense:
        weight, kind = stored.get(name), f"int{bits}"
        protected = name.removesuffix(".weight") in kept
        if weight is None or weight.values != prod(dense.shape(name)):
            raise CompressionFailed(f"{name} is not what it was in {folder}")
        if weight.type != kind and name in inside and not protected:
            raise CompressionFailed(f"{name} was to be {kind} and is {weight.type}")
        if weight.packed and (protected or name not in inside):
            raise CompressionFailed(f"{name} was to stay as it was and is {weight.type}")
        row: ModuleReport = {
            "module": name,
            "block": name in inside,
            "weights": weight.values,
            "bytes": weight.bytes,
            "type": weight.type,
            "protected": protected,
        }
        if name in inside:
            w, q = _read(scaled, name) if scaled.exists() else dense.read(name), twin.read(name)
            row["lost"], row["norm"] = _squares(w.double() - q.double()), _squares(w.double())
        yield row


def twin(checkpoint: Checkpoint) -> Checkpoint | None:
    """The same weights unpacked, if they lie beside the packed ones."""
    if not has_twin(checkpoint):
        return None
    return replace(open_checkpoint(checkpoint.path / TWIN), lineage=checkpoint.lineage)


def has_twin(checkpoint: Checkpoint) -> bool:
    """Whether they do; nothing is read."""
    return checkpoint.format != "dense" and (checkpoint.path / TWIN).is_dir()


def served(folder: Path) -> bool:
    """Whether engines that load packed weights have kernels for all of these."""
    stored = _stored(folder)
    kinds = {weight.type for weight in stored.values() if weight.packed}
    if kinds - {f"int{bits}" for bits in SERVED}:
        return False
    for name in stored:
        for group in FUSED:
            parent, _, part = name.removesuffix(".weight").rpartition(".")
            if part == group[0]:
                together = {stored[f"{parent}.{other}.weight"].packed for other in group}
                if len(together) > 1:
                    return False
    return True


def _stored(folder: Path) -> dict[str, _Stored]:
    """Every weight by the name that it has, or would have unpacked; from the files' headers."""
    weights = Weights(folder)
    parts: dict[str, dict[str, str]] = {}
    stored = {}
    for name in weights:
        if part := PART.fullmatch(name):
            parts.setdefault(f"{part['module']}.weight", {})[part[2]] = name
        else:
            kind = str(weights.dtype(name)).removeprefix("torch.")
            stored[name] = _Stored(prod(weights.shape(name)), weights.bytes(name), kind)
    for name, pieces in parts.items():
        rows, columns = weights.read(pieces["shape"]).tolist()
        bits = 32 * weights.shape(pieces["packed"])[1] // columns
        size = sum(map(weights.bytes, pieces.values()))
        stored[name] = _Stored(rows * columns, size, f"int{bits}")
    return stored


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(name)
        return tensor


def _squares(tensor: Tensor) -> float:
    return float(tensor.square().sum())
