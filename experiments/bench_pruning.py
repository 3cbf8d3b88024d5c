"""What pruning costs, here: python -m experiments.bench_pruning.

A randomly initialised model in memory, the same random tokens for all, nothing written. All
sparsities at once in dense mode, all in sequential mode, one alone in each; then the usual way, a
column loop for each sparsity (experiments/benchmarking/column_loop.py), on a few blocks and scaled
to all of them; then llm-compressor where it is installed. Timings are of one process on a machine
that may be shared: take their ratios.

    --check compares the GPU's kernels with the CPU path instead and measures nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from experiments.benchmarking.stopwatch import Stopwatch
from experiments.cli.command import calm
from experiments.models.resolve import EMBEDDED

Rows = Sequence[Sequence[int]]

SHAPES: dict[str, dict[str, int]] = {
    "tiny-5m": {
        "vocab_size": 1024,
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "100m": {
        "vocab_size": 16384,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
    },
    "llama-3.1-8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
PACKAGES = ("torch", "triton", "transformers", "llmcompressor")


def main() -> None:
    given = _arguments()
    calm()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(_circumstances(device), flush=True)
    if given.check:
        from experiments.benchmarking.kernel_checks import check

        print(check(device))
        return
    shape = SHAPES[given.shape]
    levels = [float(level) for level in given.levels.split(",")]
    blocks = min(given.blocks, shape["num_hidden_layers"])
    source = torch.Generator().manual_seed(0)
    size = (given.rows, given.row_tokens)
    rows = torch.randint(shape["vocab_size"], size, generator=source).tolist()
    print(f"{given.shape}: {size[0]} x {size[1]} tokens, {len(levels)} levels", flush=True)
    model = random_model(shape, device)
    phases(model, rows, levels, 1)  # compiles what is compiled
    parts = phases(model, rows, levels, blocks)
    one = levels[len(levels) // 2]
    seconds = {
        (mode, len(asked)): ours(model, rows, asked, mode)
        for mode in given.modes.split(",")
        for asked in ([one], levels)
    }
    if not given.no_column_loop:
        compare(seconds, parts, loop(model, rows, one, blocks), shape["num_hidden_layers"], blocks)
    other = llm_compressor(model, rows, one)
    if other is not None:
        for (mode, count), own in seconds.items():
            ratio = count * other / own
            print(f"llm-compressor, {count} times {other:.2f} s, against {mode}: {ratio:.1f} x")


def random_model(shape: Mapping[str, int], device: str) -> Any:
    """A model with random weights, made where it is used; in bfloat16 on a GPU."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(**shape, max_position_embeddings=8192)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def ours(model: Any, rows: Rows, levels: Sequence[float], mode: str) -> float:
    """Seconds for all blocks at all levels; prints them, and the GPU memory at the peak."""
    import torch

    from lrm.compression.pruning import blockwise
    from lrm.compression.pruning.sparsegpt_method import solver
    from lrm.compression.streaming.decoder import Decoder

    run = blockwise.in_dense_mode if mode == "dense" else blockwise.in_sequential_mode
    decoder = Decoder(model)
    dtypes = {name: layer.weight.dtype for name, layer in decoder.linears.items()}
    plan = blockwise.PruningPlan([tuple(levels)] * len(decoder.blocks), dtypes)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    watch = Stopwatch()
    with watch(mode):
        count = sum(1 for _ in run(decoder, rows, solver(0.01, 128, None), plan))
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


def phases(model: Any, rows: Rows, levels: Sequence[float], blocks: int) -> dict[str, float]:
    """Seconds of the first blocks by phase, in dense mode; columns for one level and for all."""
    import torch

    from lrm.compression.pruning import sparsegpt
    from lrm.compression.streaming.activations import ActivationStream
    from lrm.compression.streaming.decoder import Decoder

    watch, flow = Stopwatch(), ActivationStream(Decoder(model), rows)
    with torch.no_grad():
        for index in range(blocks):
            ahead = flow.fork()
            with watch("forward"):
                ahead.advance(index)
            del ahead
            with watch("forward and Hessians"):
                found = flow.measure(index)
            for shared in found:
                with watch("factors"):
                    factor = sparsegpt.factorise(shared.hessian, 0.01)
                weights = [layer.weight.to(factor.upper.dtype) for layer in shared.layers.values()]
                for name, asked in (("columns, 1", levels[:1]), ("columns, all", levels)):
                    with watch(name):
                        sparsegpt.prune(weights, factor, asked)
    return watch.seconds


def loop(model: Any, rows: Rows, level: float, blocks: int) -> dict[str, float]:
    """Seconds of the first blocks by phase, the usual way, at one level; puts the weights back."""

    from experiments.benchmarking.column_loop import prune_block
    from lrm.compression.streaming.activations import ActivationStream
    from lrm.compression.streaming.decoder import Decoder

    watch, decoder = Stopwatch(), Decoder(model)
    flow = ActivationStream(decoder, [rows[0]])
    arguments = flow.arguments(0)
    hidden = [state for row in rows for state in ActivationStream(decoder, [row]).hidden]
    for block in list(decoder.blocks)[:blocks]:
        before = {name: value.clone() for name, value in block.state_dict().items()}
        hidden = prune_block(block, hidden, arguments, level, watch)
        block.load_state_dict(before)
    return watch.seconds


def compare(
    seconds: Mapping[tuple[str, int], float],
    parts: Mapping[str, float],
    usual: Mapping[str, float],
    total: int,
    blocks: int,
) -> None:
    """Prints the ratios; the usual way's total is scaled from its blocks to all of them."""
    once = sum(usual.values()) * total / blocks
    for name, found in (("ours", parts), ("column loop, 1 level", usual)):
        each = ", ".join(f"{phase} {value:.3f} s" for phase, value in found.items())
        print(f"{name}, {blocks} of {total} blocks: {each}")
    hessians = [found["forward and Hessians"] - found["forward"] for found in (parts, usual)]
    print(
        f"Hessians {hessians[1]:.3f} s against {hessians[0]:.3f} s: "
        f"{hessians[1] / hessians[0]:.1f} x; columns of one level: "
        f"{usual['columns'] / parts['columns, 1']:.1f} x"
    )
    for (mode, count), own in seconds.items():
        print(
            f"column loop, {count} times {once:.2f} s (scaled from {blocks} of {total} blocks), "
            f"against ours in {mode} mode: {count * once / own:.1f} x"
        )
        if count > 1:
            extra = (own - seconds[mode, 1]) / (count - 1) / seconds[mode, 1]
            print(f"each further level costs {extra:.1%} of the first in {mode} mode")


def llm_compressor(model: Any, rows: Rows, level: float) -> float | None:
    """Seconds of one run of llm-compressor's SparseGPT at one level, if it is installed."""
    try:
        from llmcompressor import oneshot
        from llmcompressor.modifiers.pruning import SparseGPTModifier
    except ImportError:
        print("llm-compressor is not installed: pip install '.[compress]'")
        return None
    from datasets import Dataset
    from transformers import AutoTokenizer

    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(r) for r in rows]})
    recipe = SparseGPTModifier(sparsity=level, targets=["Linear"], ignore=["re:.*lm_head"])
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)  # it reads the config of a model again
        model.config.name_or_path = folder
        with watch("all"):
            oneshot(
                model=model,
                processor=AutoTokenizer.from_pretrained(EMBEDDED / "tiny-5m"),  # wanted, not used
                dataset=data,
                recipe=recipe,
                max_seq_length=len(rows[0]),
                num_calibration_samples=len(rows),
            )
    return watch.seconds["all"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="tiny-5m")
    parser.add_argument("--rows", type=int, default=32, help="calibration rows")
    parser.add_argument("--row-tokens", type=int, default=512)
    parser.add_argument("--levels", default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of the column loop")
    parser.add_argument("--modes", default="dense,sequential")
    parser.add_argument("--no-column-loop", action="store_true")
    parser.add_argument("--check", action="store_true", help="compare GPU and CPU path, then end")
    return parser.parse_args()


def _circumstances(device: str) -> str:
    """The hardware and the versions."""
    import torch

    place = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if device == "cuda":
        place = torch.cuda.get_device_name()
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{platform.machine()}, {place}; {', '.join(versions)}"


if __name__ == "__main__":
    main()
