"""Pruning block by block against pruning with the whole model in memory: seconds and memory."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unittest.mock import patch

from experiments.benchmarking.settings import StreamingBench
from lrm.errors import CompressionFailed

if TYPE_CHECKING:
    from lrm.compression.checkpoint.folder import Weights
    from lrm.compression.streaming.decoder import Decoder

Way = Literal["block by block", "whole"]
WAYS: tuple[Way, ...] = ("block by block", "whole")


@dataclass(frozen=True)
class StreamingCost:
    """What one way of pruning takes.

    `seconds` of the clock and `worked` of the processor; `grown` is peak memory beyond what the
    process began with, `on_gpu` the peak of the GPU's memory (0 without one), both in bytes;
    `revision` is that of the pruned checkpoint.
    """

    seconds: float
    worked: float
    grown: int
    on_gpu: int
    revision: str

    @property
    def text(self) -> str:
        on_gpu = f"; {self.on_gpu / 1e6:,.0f} MB of the GPU's at most" if self.on_gpu else ""
        return (
            f"{self.seconds:,.1f} s, {self.worked:,.1f} s of processor time, peak memory grew by "
            f"{self.grown / 1e6:,.0f} MB{on_gpu}"
        )


def run(settings: StreamingBench) -> str:
    """Prunes both ways; returns a line for each, and one that compares them."""
    from experiments.benchmarking.random_models import random_model

    with tempfile.TemporaryDirectory() as folder:
        dense = random_model(settings.shape, Path(folder, "dense"), settings.blocks)
        size = int(dense.measured["weights/bytes"])
        print(f"{settings.shape}: {size / 1e6:,.0f} MB on disk, {settings.mode} mode", flush=True)
        ways = WAYS if settings.whole else WAYS[:1]
        costs = {way: _in_new_process(settings, way, Path(folder)) for way in ways}
    lines = [f"{way}: {cost.text}" for way, cost in costs.items()]
    if settings.whole:
        if len({cost.revision for cost in costs.values()}) > 1:
            raise CompressionFailed("the two ways gave different checkpoints")
        streamed, whole = costs.values()
        lines.append(
            f"time {streamed.seconds / whole.seconds:.2f} x, processor "
            f"{streamed.worked / whole.worked:.2f} x, memory {streamed.grown / whole.grown:.2f} x; "
            "the checkpoints are the same"
        )
    return "\n".join(lines)


def _in_new_process(settings: StreamingBench, way: Way, folder: Path) -> StreamingCost:
    """A new process, so that its memory holds nothing of what ran before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_pruned, settings, way, folder).result()


def _pruned(settings: StreamingBench, way: Way, folder: Path) -> StreamingCost:
    import torch

    from lrm.compression.checkpoint.folder import Weights
    from lrm.compression.checkpoint.opening import open_checkpoint
    from lrm.compression.pruning import calibrated
    from lrm.compression.pruning.sparsegpt_method import SparseGPT
    from lrm.compression.streaming import load as loading
    from lrm.records.model import Calibration

    dense = open_checkpoint(folder / "dense")
    size, source = (settings.rows, settings.row_tokens), torch.Generator().manual_seed(0)
    tokens = torch.randint(1024, size, generator=source).tolist()
    calibration = Calibration("random tokens", tuple(map(tuple, tokens)))
    method = SparseGPT(0.5, calibration, mode=settings.mode)
    loading.load(Weights(dense.path))  # imports the model's code, which also takes memory
    before, began, worked = memory("VmRSS"), time.perf_counter(), time.process_time()
    with patch.object(calibrated, "load", load_whole) if way == "whole" else nullcontext():
        pruned = method.apply(dense, folder / way)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    on_gpu = torch.cuda.max_memory_allocated() if loading.device() == "cuda" else 0
    return StreamingCost(seconds, worked, memory("VmHWM") - before, on_gpu, pruned.revision)


def load_whole(source: Weights) -> Decoder:
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
    """Bytes that Linux reports for this process: now (VmRSS), or at most so far (VmHWM)."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert match, f"Linux reports {name}"
    return int(match[1]) * 1024
