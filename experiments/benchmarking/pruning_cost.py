"""Pruning, timed: all sparsities at once against one alone, and against the usual way."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

import torch

from experiments.benchmarking import column_loop, llm_compressor
from experiments.benchmarking.kernel_checks import check, require_kernels
from experiments.benchmarking.random_models import in_memory
from experiments.benchmarking.settings import PruningBench
from experiments.benchmarking.stopwatch import Stopwatch
from experiments.models.shapes import SHAPES
from lrm.compression.pruning import blockwise, sparsegpt
from lrm.compression.pruning.sparsegpt_method import solver
from lrm.compression.streaming.activations import ActivationStream
from lrm.compression.streaming.decoder import Decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Rows = Sequence[Sequence[int]]

PACKAGES = ("torch", "triton", "transformers", "llmcompressor")


def run(settings: PruningBench) -> str:
    """Prints each cost as soon as it is measured; returns the last lines."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if settings.check:
        require_kernels(device)
    print(_circumstances(device), flush=True)
    if settings.check:
        return check(device)

    # A random model, and random rows to calibrate it on.
    levels, size = settings.levels, (settings.rows, settings.row_tokens)
    shape = SHAPES[settings.shape]
    total = settings.model_blocks or shape["num_hidden_layers"]
    print(
        f"{settings.shape}, {total} blocks: {size[0]} x {size[1]} tokens, {len(levels)} levels",
        flush=True,
    )
    blocks = min(settings.blocks, total)
    source = torch.Generator().manual_seed(0)
    rows = torch.randint(shape["vocab_size"], size, generator=source).tolist()
    model = in_memory(settings.shape, device, total)

    # Our pruning: by phase on a few blocks, then as a whole.
    phases(model, rows, levels, 1)  # compiles what is compiled
    by_phase = phases(model, rows, levels, blocks)
    middle = levels[len(levels) // 2]
    seconds = {
        (mode, len(asked)): ours(model, rows, asked, mode)
        for mode in settings.modes
        for asked in ([middle], levels)
    }

    # What others do.
    if settings.column_loop:
        usual = column_loop.phases(model, rows, middle, blocks)
        compare(seconds, by_phase, usual, total, blocks)
    other = llm_compressor.seconds(model, rows, middle)
    if other is None:
        return "llm-compressor is not installed: pip install '.[compress]'"
    return "\n".join(
        f"llm-compressor, {count} times {other:.2f} s, against {mode}: {count * other / own:.1f} x"
        for (mode, count), own in seconds.items()
    )


def ours(model: PreTrainedModel, rows: Rows, levels: Sequence[float], mode: str) -> float:
    """Seconds for all blocks at all levels; prints them, and the GPU memory at the peak."""
    prune = blockwise.in_dense_mode if mode == "dense" else blockwise.in_sequential_mode
    decoder = Decoder(model)
    dtypes = {name: layer.weight.dtype for name, layer in decoder.linears.items()}
    plan = blockwise.PruningPlan([tuple(levels)] * len(decoder.blocks), dtypes)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if gpu else 0
    watch = Stopwatch()
    with watch(mode):
        count = sum(1 for _ in prune(decoder, rows, solver(0.01, 128, None), plan))
    peak = ""
    if gpu:
        most = torch.cuda.max_memory_allocated()
        peak = f"; peak {most / 1e9:.1f} GB, {(most - held) / 1e9:.1f} GB of it beside the weights"
    print(
        f"ours, {mode} mode, {len(levels)} levels of {count} matrices: "
        f"{watch.seconds[mode]:.2f} s{peak}",
        flush=True,
    )
    return watch.seconds[mode]


def phases(
    model: PreTrainedModel, rows: Rows, levels: Sequence[float], blocks: int
) -> dict[str, float]:
    """Seconds of the first blocks by phase, in dense mode; columns for one level and for all."""
    watch, flow = Stopwatch(), ActivationStream(Decoder(model), rows)
    with torch.no_grad():
        for index in range(blocks):
            ahead = flow.fork()
            with watch("forward"):
                ahead.advance(index)
            del ahead
            with watch("forward and Hessians"):
                measured = flow.measure(index)
            for shared in measured:
                with watch("factors"):
                    factor = sparsegpt.factorise(shared.hessian, 0.01)
                weights = [layer.weight.to(factor.upper.dtype) for layer in shared.layers.values()]
                for name, asked in (("columns, 1", levels[:1]), ("columns, all", levels)):
                    with watch(name):
                        sparsegpt.prune(weights, [factor], asked)
    return watch.seconds


def compare(
    seconds: Mapping[tuple[str, int], float],
    by_phase: Mapping[str, float],
    usual: Mapping[str, float],
    total: int,
    blocks: int,
) -> None:
    """Prints the ratios. The column loop's total is scaled from its blocks to all of them."""
    once = sum(usual.values()) * total / blocks
    for name, phased in (("ours", by_phase), ("column loop, 1 level", usual)):
        each = ", ".join(f"{phase} {value:.3f} s" for phase, value in phased.items())
        print(f"{name}, {blocks} of {total} blocks: {each}")
    ours, theirs = (
        phased["forward and Hessians"] - phased["forward"] for phased in (by_phase, usual)
    )
    print(
        f"Hessians {theirs:.3f} s against {ours:.3f} s: "
        f"{theirs / ours:.1f} x; columns of one level: "
        f"{usual['columns'] / by_phase['columns, 1']:.1f} x"
    )
    for (mode, count), own in seconds.items():
        print(
            f"column loop, {count} times {once:.2f} s (scaled from {blocks} of {total} blocks), "
            f"against ours in {mode} mode: {count * once / own:.1f} x"
        )
        if count > 1:
            extra = (own - seconds[mode, 1]) / (count - 1) / seconds[mode, 1]
            print(f"each further level costs {extra:.1%} of the first in {mode} mode")


def _circumstances(device: str) -> str:
    """The hardware and the versions."""
    hardware = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if device == "cuda":
        hardware = torch.cuda.get_device_name()
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{platform.machine()}, {hardware}; {', '.join(versions)}"
