"""The flags of the bench_ commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from experiments.cli.settings import listed
from experiments.models.shapes import SHAPES
from lrm import registry
from lrm.errors import BadInput

Mode = Literal["dense", "sequential"]


def parse_levels(text: str) -> tuple[float, ...]:
    """Sparsities, comma-separated, in their order: "0.3,0.6"."""
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"--levels {text or 'with nothing'} is no list: write 0.3,0.6.") from error
    for level in levels:
        if not 0 <= level < 1:
            raise BadInput(f"--levels {level:g} is outside [0, 1): 0 is dense, 0.5 is half.")
    return levels


def parse_modes(text: str) -> tuple[str, ...]:
    """Modes of pruning, comma-separated."""
    modes = tuple(text.split(","))
    for mode in modes:
        registry.require("mode", mode, get_args(Mode))
    return modes


def _require_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise BadInput(f"--{flag} {value} is too few: give 1 or more.")


@dataclass(frozen=True)
class EngineBench:
    """Which engine is measured, on which model, and how long its replies are."""

    model: str = "tiny-5m"
    """Embedded model (tiny-1m, tiny-5m), local folder, GGUF file, or hub id."""

    shape: str | None = None
    """A random model of this shape instead: tiny-5m, 20m, 60m, 100m, 800m, 1.5b, llama-3.1-8b,
    llama-3.1-70b."""

    thinking: int = 6000
    """Median thinking of the random model, in tokens."""

    engine: str = "transformers"
    """What runs the model, with options if any: transformers:slots=32."""

    each: int = 50
    """Questions of each benchmark."""

    answer: int = 32
    """Cap on an answer, in tokens."""

    repeats: int = 1
    """How often everything is measured."""

    def __post_init__(self) -> None:
        if self.shape is not None:
            registry.require("shape", self.shape, SHAPES)
        _require_positive(self, "thinking", "each", "answer", "repeats")


@dataclass(frozen=True)
class PruningBench:
    """What is pruned, to which sparsities, and what it is compared with."""

    shape: str = "tiny-5m"
    """Shape of the random model: tiny-5m, 20m, 60m, 100m, 800m, 1.5b, llama-3.1-8b,
    llama-3.1-70b."""

    rows: int = 32
    """Calibration rows, of random tokens."""

    row_tokens: int = 512
    """Tokens in each."""

    levels: Annotated[tuple[float, ...], listed(parse_levels, "LEVEL,...")] = (
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
    )
    """Sparsities, in [0, 1)."""

    model_blocks: int | None = None
    """Only so many of the shape's blocks."""

    blocks: int = 4
    """Blocks that the column loop prunes."""

    modes: Annotated[tuple[str, ...], listed(parse_modes, "MODE,...")] = ("sequential", "dense")
    """As --method sparsegpt:mode=, one or both."""

    column_loop: bool = True
    """Compare with the column loop, too, which takes the longest."""

    check: bool = False
    """Only compare the GPU's kernels with the CPU path."""

    def __post_init__(self) -> None:
        registry.require("shape", self.shape, SHAPES)
        _require_positive(self, "model_blocks", "rows", "row_tokens", "blocks")


@dataclass(frozen=True)
class StreamingBench:
    """Prunes a random model to 50% by SparseGPT, block by block and in memory."""

    shape: str = "60m"
    """Shape of the random model: tiny-5m, 20m, 60m, 100m, 800m, 1.5b, llama-3.1-8b,
    llama-3.1-70b."""

    blocks: int | None = None
    """Only so many of the shape's blocks."""

    whole: bool = True
    """Prune it as a whole, too, which takes the memory."""

    mode: Mode = "sequential"
    """As --method sparsegpt:mode=."""

    rows: int = 8
    """Calibration rows, of random tokens."""

    row_tokens: int = 256
    """Tokens in each."""

    def __post_init__(self) -> None:
        registry.require("shape", self.shape, SHAPES)
        _require_positive(self, "blocks", "rows", "row_tokens")


@dataclass(frozen=True)
class AnalysisBench:
    """The size of the simulated study."""

    questions: int = 10_000
    """Questions of one benchmark."""

    samples: int = 16
    """Samples of each question."""

    levels: int = 9
    """Sparsities, from 0% in steps of 10%."""

    seed: int = 0
    """Seed of the simulation."""

    def __post_init__(self) -> None:
        if min(self.questions, self.samples) < 2 or not 1 <= self.levels <= 10:
            raise BadInput("Give 2 questions and samples or more, and 1 to 10 levels.")
        if self.seed < 0:
            raise BadInput(f"--seed {self.seed} is negative: give 0 or more.")
