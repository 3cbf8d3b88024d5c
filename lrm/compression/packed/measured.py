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
from typing import Any

from safetensors import safe_open
from torch import Tensor

from lrm.compression.checkpoint.folder import Weights, open_checkpoint, steps_of
from lrm.errors import CompressionFailed
from lrm.records import Checkpoint

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
    found, step = open_checkpoint(folder), steps_of(folder)[-1]
    rows = [row for row in step["modules"] if row["block"]]
    values, fixed = sum(row["weights"] for row in rows), step["perplexity"]
    kinds = Counter(row["type"] for row in step["modules"])
    told = {
        "bits_per_weight": _bits(step["modules"]),
        "bits_per_weight/blocks": _bits(rows),
        "reconstruction/error": sum(row["lost"] for row in rows) / sum(row["norm"] for row in rows),
        "protected/share": sum(row["weights"] for row in rows if row["protected"]) / values,
        **{f"tensors/{kind}": float(count) for kind, count in kinds.items()},
        "perplexity": fixed["own"],
        "perplexity/dense": fixed["dense"],
    }
    return replace(found, measured={**found.measured, **told})


def _bits(rows: list[dict[str, Any]]) -> float:
    size, values = (sum(row[key] for row in rows) for key in ("bytes", "weights"))
    return float(8 * size / values)


def reports(
    source: Path, folder: Path, kept: Collection[str], bits: int, scaled: Path
) -> Iterator[dict[str, Any]]:
    """A row for every tensor of `source`: its type and bytes as they are in the packed `folder`,
    and for the linear layers of the blocks the squares of what quantization lost (`lost`) and of
    the weights (`norm`), which are those of the file `scaled`, if it is there.

    CompressionFailed if a layer that is not `kept` was not packed in so many bits, or one that is,
    was, or if the unpacked twin does not hold what the source does.
    """
    dense, twin = Weights(source), Weights(folder / TWIN)
    stored, inside = _stored(folder), set(dense.linears())
    for name in dense:
        found, kind = stored.get(name), f"int{bits}"
        protected = name.removesuffix(".weight") in kept
        if found is None or found.values != prod(dense.shape(name)):
            raise CompressionFailed(f"{name} is not what it was in {folder}")
        if found.type != kind and name in inside and not protected:
            raise CompressionFailed(f"{name} was to be {kind} and is {found.type}")
        if found.packed and (protected or name not in inside):
            raise CompressionFailed(f"{name} was to stay as it was and is {found.type}")
        row: dict[str, Any] = {
            "module": name,
            "block": name in inside,
            "weights": found.values,
            "bytes": found.bytes,
            "type": found.type,
            "protected": protected,
        }
        if name in inside:
            w, q = _read(scaled, name) if scaled.exists() else dense.read(name), twin.read(name)
            row |= {"lost": _squares(w.double() - q.double()), "norm": _squares(w.double())}
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
    if any(one.type not in {f"int{bits}" for bits in SERVED} for one in _packed(stored).values()):
        return False
    for name in stored:
        for group in FUSED:
            parent, _, part = name.removesuffix(".weight").rpartition(".")
            if part == group[0]:
                together = {stored[f"{parent}.{other}.weight"].packed for other in group}
                if len(together) > 1:
                    return False
    return True


def _packed(stored: dict[str, _Stored]) -> dict[str, _Stored]:
    return {name: one for name, one in stored.items() if one.packed}


def _stored(folder: Path) -> dict[str, _Stored]:
    """Every weight by the name that it has, or would have unpacked; from the files' headers."""
    weights = Weights(folder)
    parts: dict[str, dict[str, str]] = {}
    found = {}
    for name in weights:
        if part := PART.fullmatch(name):
            parts.setdefault(f"{part['module']}.weight", {})[part[2]] = name
        else:
            kind = str(weights.dtype(name)).removeprefix("torch.")
            found[name] = _Stored(prod(weights.shape(name)), weights.bytes(name), kind)
    for name, those in parts.items():
        rows, columns = weights.read(those["shape"]).tolist()
        bits = 32 * weights.shape(those["packed"])[1] // columns
        size = sum(map(weights.bytes, those.values()))
        found[name] = _Stored(rows * columns, size, f"int{bits}")
    return found


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(name)
        return tensor


def _squares(tensor: Tensor) -> float:
    return float(tensor.square().sum())
