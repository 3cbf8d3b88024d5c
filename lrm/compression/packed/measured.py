"""What is measured of packed checkpoints, from their own bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import ModuleReport, steps_of
from lrm.compression.packed.stored import TWIN, stored_weights
from lrm.errors import CompressionFailed
from lrm.records.model import Checkpoint

SCALED = "scaled.safetensors"


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
    stored, inside = stored_weights(folder), set(dense.linears())
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


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        tensor: Tensor = opened.get_tensor(name)
        return tensor


def _squares(tensor: Tensor) -> float:
    return float(tensor.square().sum())
