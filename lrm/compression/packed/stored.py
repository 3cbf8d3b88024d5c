"""Packed checkpoints as they are stored, and the same weights unpacked beside them.

Layout (github.com/vllm-project/compressed-tensors, "pack-quantized"): a matrix is stored as
`weight_packed`, its integers side by side in 32-bit words; `weight_scale` and, where values are
not symmetric, `weight_zero_point`, one for each group of a row; `weight_shape`; and `weight_g_idx`
where groups are not of weights that lie side by side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.records.model import Checkpoint

TWIN = "unpacked"
SERVED = (4, 8)
"""Bits that engines have kernels for."""

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that engines run as one matrix, so that all of them are packed or none."""

PART = re.compile(r"(?P<module>.+)\.weight_(packed|scale|zero_point|shape|g_idx)")


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A weight as the files have it: how many values, in how many bytes (scales and the like
    counted in), and in which type, "int4" where it is packed."""

    values: int
    bytes: int
    type: str

    @property
    def packed(self) -> bool:
        return self.type.startswith("int")


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
    stored = stored_weights(folder)
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


def stored_weights(folder: Path) -> dict[str, StoredWeight]:
    """Every weight by the name that it has, or would have unpacked; from the files' headers."""
    weights = Weights(folder)
    parts: dict[str, dict[str, str]] = {}
    stored = {}
    for name in weights:
        if part := PART.fullmatch(name):
            parts.setdefault(f"{part['module']}.weight", {})[part[2]] = name
        else:
            kind = str(weights.dtype(name)).removeprefix("torch.")
            stored[name] = StoredWeight(prod(weights.shape(name)), weights.bytes(name), kind)
    for name, pieces in parts.items():
        rows, columns = weights.read(pieces["shape"]).tolist()
        bits = 32 * weights.shape(pieces["packed"])[1] // columns
        size = sum(map(weights.bytes, pieces.values()))
        stored[name] = StoredWeight(rows * columns, size, f"int{bits}")
    return stored
