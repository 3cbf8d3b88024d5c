"""What it saves, and costs, to hold one block of a model at a time while it is pruned, here.

A model with random weights is written to disk and pruned twice, each time in a process of its own:
with one block after the other in memory, as every pruning does it, and with the whole model in
memory. Both checkpoints have to be the same.

Example:
    python -m experiments.bench_streaming --shape 800m
"""

from __future__ import annotations

import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from experiments.command import command
from lrm.errors import CompressionFailed

Way = Literal["block by block", "whole"]
WAYS: tuple[Way, ...] = ("block by block", "whole")


@dataclass(frozen=True)
class Streaming:
    """Prunes a random model to 50% by SparseGPT, block by block and in memory."""

    shape: str = "60m"
    """A shape of experiments/random_models.py: 20m, 60m, 800m, 1.5b, llama-3.1-8b."""

    mode: Literal["dense", "sequential"] = "dense"
    """As --method sparsegpt:mode=."""

    rows: int = 8
    """Calibration rows, of random tokens."""

    row_tokens: int = 256
    """Tokens in each."""


@dataclass(frozen=True)
class Cost:
    """Seconds, those of them that the processor worked, peak memory beyond what the process began
    with, and the outcome's revision."""

    seconds: float
    worked: float
    grown: int
    revision: str


def bench(settings: Streaming) -> str:
    """Both ways, told in lines."""
    from experiments.random_models import random_model

    with tempfile.TemporaryDirectory() as folder:
        size = int(random_model(settings.shape, Path(folder, "dense")).measured["weights/bytes"])
        costs = {way: _apart(settings, way, Path(folder)) for way in WAYS}
    if len({cost.revision for cost in costs.values()}) > 1:
        raise CompressionFailed("the two ways gave different checkpoints")
    told = [f"{settings.shape}: {size / 1e6:.0f} MB on disk, {settings.mode} mode"]
    for way, cost in costs.items():
        told.append(
            f"{way}: {cost.seconds:.1f} s, {cost.worked:.1f} s of processor time, peak memory grew "
            f"by {cost.grown / 1e6:.0f} MB"
        )
    first, second = (costs[way] for way in WAYS)
    told.append(
        f"time {first.seconds / second.seconds:.2f} x, processor {first.worked / second.worked:.2f}"
        f" x, memory {first.grown / second.grown:.2f} x; the checkpoints are the same"
    )
    return "\n".join(told)


def _apart(settings: Streaming, way: Way, folder: Path) -> Cost:
    """In a new process, whose memory says nothing of what was before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_pruned, settings, way, folder).result()


def _pruned(settings: Streaming, way: Way, folder: Path) -> Cost:
    import torch

    from lrm.compression import loading, prune
    from lrm.compression.checkpoints import Weights, open_checkpoint
    from lrm.records import Calibration

    dense = open_checkpoint(folder / "dense")
    size, source = (settings.rows, settings.row_tokens), torch.Generator().manual_seed(0)
    tokens = torch.randint(1024, size, generator=source).tolist()
    calibration = Calibration("random tokens", tuple(map(tuple, tokens)))
    method = prune.SparseGPT(0.5, calibration, mode=settings.mode)
    loading.load(Weights(dense.path))  # imports the model's code, which also takes memory
    before, began, worked = memory("VmRSS"), time.perf_counter(), time.process_time()
    with patch.object(prune, "load", _whole) if way == "whole" else nullcontext():
        made = method.apply(dense, folder / way)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    return Cost(seconds, worked, memory("VmHWM") - before, made.revision)


def _whole(source: Any) -> Any:
    """The decoder with all of its weights in memory, in place of `lrm.compression.loading.load`."""
    import torch
    from transformers import AutoModelForCausalLM

    from lrm.compression.decoder import Decoder
    from lrm.compression.loading import device

    dtype = source.dtype(source.linears()[0]) if device() == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(source.folder, dtype=dtype)
    return Decoder(model.to(device()).eval())


def memory(name: str) -> int:
    """Bytes that Linux says this process has (VmRSS), or had at most (VmHWM)."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "Linux tells it"
    return int(found[1]) * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both; returns the exit status."""
    stopped = "Nothing was written that stays."
    return command(Streaming, "bench_streaming", __doc__, arguments, bench, stopped)


if __name__ == "__main__":
    sys.exit(main())
