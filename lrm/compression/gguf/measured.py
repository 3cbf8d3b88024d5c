"""Quantized checkpoints, and what is measured of them from their own bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrm.compression.checkpoint.receipt import ModuleReport, check_files, steps_of
from lrm.compression.gguf.files import library, open_gguf, reader, tensors
from lrm.compression.gguf.plan import KEPT, RecipePlan, bits, is_matrix
from lrm.errors import CompressionFailed, DamagedModel
from lrm.records.model import Checkpoint

if TYPE_CHECKING:
    from gguf.gguf_reader import ReaderTensor

FILE = "model.gguf"
CHUNK = 1 << 24
"""Values that are compared at once."""


def open_quantized(folder: Path) -> Checkpoint:
    """A folder that the method wrote, with what was measured.

    Beside what any GGUF file says: bits per weight of parts (`lrm.compression.gguf.plan.bits`);
    `reconstruction/error`, ||W - Q||^2 / ||W||^2 over the linear layers of the blocks, W in
    float16; `fallback/tensors`, how many got a larger type than asked for; `protected/share`, the
    share of those layers' weights that stayed in float16; `tensors/TYPE`, how many are stored in a
    type; `perplexity` (see `lrm.compression.quality.perplexity`) and `perplexity/dense`, that of
    the model before, which earlier versions did not measure.
    """
    file = folder / FILE
    steps = steps_of(folder)
    if not file.is_file():
        raise DamagedModel(f"there is no file {file} any more; make the checkpoint again.")
    opened = open_gguf(file)
    check_files(folder, {FILE: opened.revision})
    stored = tensors(file)
    perplexity = steps[-1].get("perplexity")
    rows = [row for row in steps[-1]["modules"] if row["block"]]
    kept = sum(row["weights"] for row in rows if row["protected"])
    measured = {
        "reconstruction/error": sum(row["lost"] for row in rows) / sum(row["norm"] for row in rows),
        "fallback/tensors": float(sum(row["fell_back"] for row in steps[-1]["modules"])),
        "protected/share": kept / sum(row["weights"] for row in rows),
        **{f"tensors/{kind}": float(n) for kind, n in Counter(t.type for t in stored).items()},
        **(
            {"perplexity": perplexity["own"], "perplexity/dense": perplexity["dense"]}
            if perplexity
            else {}
        ),
    }
    return replace(
        opened,
        lineage=tuple(step["method"] for step in steps),
        measured={**opened.measured, **bits(stored), **measured},
    )


def reports(dense: Path, file: Path, plan: RecipePlan) -> Iterator[ModuleReport]:
    """A row for every tensor: its type and bytes as they are in the file, the type asked for, and
    the squares of what quantization lost (`lost`) and of the weights (`norm`). `block` marks the
    linear layers of the blocks."""
    fallen = {tensor.name for tensor in plan.fallen}
    before = {str(tensor.name): tensor for tensor in reader(dense).tensors}
    after = {str(tensor.name): tensor for tensor in reader(file).tensors}
    for tensor in tensors(file):
        lost, norm = _distance(before[tensor.name], after[tensor.name], tensor.row)
        if not np.isfinite(lost):
            raise CompressionFailed(f"{tensor.name} as {tensor.type} is not finite")
        yield {
            "module": tensor.name,
            "block": is_matrix(tensor) and tensor.name.startswith("blk."),
            "weights": tensor.elements,
            "bytes": tensor.bytes,
            "type": tensor.type,
            "asked": plan.asked(tensor),
            "fell_back": tensor.name in fallen,
            "protected": plan.asked(tensor) == KEPT,
            "lost": lost,
            "norm": norm,
        }


def _distance(before: ReaderTensor, after: ReaderTensor, row: int) -> tuple[float, float]:
    """Sums over all values of (w - q)^2 and of w^2, some rows at a time."""
    lost = norm = 0.0
    step = max(1, CHUNK // row)
    for start in range(0, len(before.data), step):
        w, q = (
            library()
            .dequantize(side.data[start : start + step], side.tensor_type)
            .astype(np.float64)
            for side in (before, after)
        )
        lost += float(np.square(w - q).sum())
        norm += float(np.square(w).sum())
    return lost, norm
