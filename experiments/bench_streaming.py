"""What it saves, and costs, to hold one block of a model at a time while it is pruned, here.

A model with random weights is written to disk and pruned twice, each time in a process of its own:
with one block after the other in memory, as every pruning does it, and with the whole model in
memory. Both checkpoints have to be the same. Files lie in the temporary folder (TMPDIR).

Example:
    python -m experiments.bench_streaming --shape 800m
    python -m experiments.bench_streaming --shape llama-3.1-70b --blocks 24 --no-whole
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

from experiments.cli.command import command
from lrm.errors import CompressionFailed

Way = Literal["block by block", "whole"]
WAYS: tuple[Way, ...] = ("block by block", "whole")


@dataclass(frozen=True)
class Streaming:
    """Prunes a random model to 50% by SparseGPT, block by block and in memory."""

    shape: str = "60m"
    """A shape of experiments/benchmarking/random_models.py: 20m, 60m, 800m, 1.5b, llama-3.1-8b,
    llama-3.1-70b."""

    blocks: int | None = None
    """Only so many of the shape's blocks."""

    whole: bool = True
    """Prune it as a whole, too, which takes the memory."""

    mode: Literal["dense", "sequential"] = "dense"
    """As --method sparsegpt:mode=."""

    rows: int = 8
    """Calibration rows, of random tokens."""

    row_tokens: int = 256
    """Tokens in each."""


@dataclass(frozen=True)
class StreamingCost:
    """Seconds, those of them that the processor worked, peak memory beyond what the process began
    with, the peak of the GPU's (0 without one), and the outcome's revision."""

    seconds: float
    worked: float
    grown: int
    on_gpu: int
    revision: str

    @property
    def text(self) -> str:
        told = f"; {self.on_gpu / 1e6:,.0f} MB of the GPU's at most" if self.on_gpu else ""
        return (
            f"{self.seconds:,.1f} s, {self.worked:,.1f} s of processor time, peak memory grew by "
            f"{self.grown / 1e6:,.0f} MB{told}"
        )


def bench(settings: Streaming) -> str:
    """Both ways, told in lines."""
    from experiments.benchmarking.random_models import random_model

    with tempfile.TemporaryDirectory() as folder:
        made = random_model(settings.shape, Path(folder, "dense"), settings.blocks)
        size = int(made.measured["weights/bytes"])
        print(f"{settings.shape}: {size / 1e6:,.0f} MB on disk, {settings.mode} mode", flush=True)
        ways = WAYS if settings.whole else WAYS[:1]
        costs = {way: _apart(settings, way, Path(folder)) for way in ways}
    told = [f"{way}: {cost.text}" for way, cost in costs.items()]
    if settings.whole:
        if len({cost.revision for cost in costs.values()}) > 1:
            raise CompressionFailed("the two ways gave different checkpoints")
        first, second = costs.values()
        told.append(
            f"time {first.seconds / second.seconds:.2f} x, processor "
            f"{first.worked / second.worked:.2f} x, memory {first.grown / second.grown:.2f} x; the "
            "checkpoints are the same"
        )
    return "\n".join(told)


def _apart(settings: Streaming, way: Way, folder: Path) -> StreamingCost:
    """In a new process, whose memory says nothing of what was before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_pruned, settings, way, folder).result()


def _pruned(settings: Streaming, way: Way, folder: Path) -> StreamingCost:
    import torch

    from lrm.compression.checkpoint.folder import Weights, open_checkpoint
    from lrm.compression.pruning import calibrated
    from lrm.compression.pruning.sparsegpt_method import SparseGPT
    from lrm.compression.streaming import load as loading
    from lrm.records import Calibration

    dense = open_checkpoint(folder / "dense")
    size, source = (settings.rows, settings.row_tokens), torch.Generator().manual_seed(0)
    tokens = torch.randint(1024, size, generator=source).tolist()
    calibration = Calibration("random tokens", tuple(map(tuple, tokens)))
    method = SparseGPT(0.5, calibration, mode=settings.mode)
    loading.load(Weights(dense.path))  # imports the model's code, which also takes memory
    before, began, worked = memory("VmRSS"), time.perf_counter(), time.process_time()
    with patch.object(calibrated, "load", whole) if way == "whole" else nullcontext():
        made = method.apply(dense, folder / way)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    on_gpu = torch.cuda.max_memory_allocated() if loading.device() == "cuda" else 0
    return StreamingCost(seconds, worked, memory("VmHWM") - before, on_gpu, made.revision)


def whole(source: Any) -> Any:
    """The decoder with all of its weights in memory, in place of
    `lrm.compression.streaming.load.load`."""
    import torch
    from transformers import AutoModelForCausalLM

    from lrm.compression.streaming.decoder import Decoder
    from lrm.compression.streaming.load import device

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
