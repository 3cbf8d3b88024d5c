"""The flags of plan and plan_gguf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.models.shapes import SHAPES
from lrm import registry
from lrm.errors import BadInput

DEEPSEEK_R1 = "deepseek-r1"
"""The shape that is planned from its published GGUF files."""

ALL = "all"
"""Stands for every recipe."""


@dataclass(frozen=True)
class PlanSettings:
    """Computes what a study of a model takes on so many GPUs."""

    shape: str = "llama-3.1-70b"
    """A dense shape (1.5b, llama-3.1-8b, llama-3.1-70b), which is pruned and run by vLLM, or
    deepseek-r1, whose GGUF files are run by llama.cpp."""

    gpus: int = 2
    """GPUs of one machine."""

    gpu_gib: float = 78.0
    """Assumed: memory of a GPU that a process can have, in GiB; a card sold as 80 GB."""

    gpu_memory: float = 0.95
    """Share of it that vLLM may use, as --engine vllm:gpu_memory=."""

    overhead_gb: float = 2.0
    """Assumed: GB of each GPU for activations, captured graphs and buffers of communication."""

    bandwidth: float = 3350.0
    """Assumed: GB/s that a GPU reads its memory at, by an H100's data sheet."""

    efficiency: float = 0.5
    """Assumed: share of that bandwidth which decoding reaches."""

    disk: float = 2.0
    """Assumed: GB/s of the disk."""

    network: float = 0.1
    """Assumed: GB/s of the download."""

    levels: int = 8
    """Sparsities that are made; the dense model is measured beside them."""

    rows: int = 128
    """Calibration rows."""

    row_tokens: int = 2048
    """Tokens in each."""

    mode: Literal["dense", "sequential"] = "dense"
    """As --method sparsegpt:mode=."""

    questions: int = 583
    """Questions of all benchmarks: 30 of AIME, 203 of FOLIO, 250 of Temporal Sequences, 100 of
    MuSiQue."""

    reply_tokens: int = 3000
    """Assumed: mean length of a reply."""

    context: int = 17_920
    """Tokens of the longest prompt and reply: 16,384 of thinking, 1,024 of answer,
    512 of prompt."""

    slots: int = 10
    """Replies that llama.cpp decodes at once, at most."""

    tokens_per_second: float = 140.0
    """Assumed for R1's 1.58-bit file on two H100: the throughput that its makers name for it
    (unsloth.ai/blog/deepseekr1-dynamic, January 2025). Larger files are scaled by their bytes."""

    def __post_init__(self) -> None:
        registry.require("shape", self.shape, (*SHAPES, DEEPSEEK_R1))
        for name, value in vars(self).items():
            if isinstance(value, int | float) and value <= 0:
                raise BadInput(
                    f"--{name.replace('_', '-')} {value} is too little: give more than 0."
                )


@dataclass(frozen=True)
class RecipePlanSettings:
    """Plans a quantization exactly, by llama.cpp's own dry run."""

    shape: str = "llama-3.1-8b"
    """A shape (20m, 1.5b, llama-3.1-8b), embedded model or folder, of which the config alone is
    read."""

    recipe: str = ALL
    """A recipe, for the table of its tensors, or all, for one line each."""

    protect: str = ""
    """Modules kept in 16 bits: final-mlp, layers.0+down_proj, random:0.02."""
