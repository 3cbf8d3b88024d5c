"""The plan of a dense model that is pruned block by block and run by vLLM."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.benchmarking.reply_lengths import SPREAD
from experiments.models.shapes import SHAPES
from experiments.planning.lines import GB, GIB, PlanLine, duration, gb, gpus, section
from experiments.planning.settings import PlanSettings
from lrm.compression.streaming.offload import ON_DEVICE

BYTES = 2
"""Bytes of a value in bfloat16."""

REFERENCE = "llama-3.1-8b"
MEASURED_TOKENS = 128 * 2048
MEASURED = {"dense": (27.2, 42.6), "sequential": (34.0, 306.8)}
"""Seconds of 1 and of 8 levels of the reference, one H100, so many tokens (MEASUREMENTS.md)."""

MEASURED_OVER_FORMULA = 1.25
"""Measured memory over what `memory` computes, rounded up: 6.4 and 9.2 GB beside the weights of the
reference (MEASUREMENTS.md), against 5.6 and 7.5."""

PASSES = 3
PASSES_PER_LEVEL = 6
"""How often the bytes of a model are read from or written to the disk: once each to be digested,
measured and pruned; and for each level copied (read and written), overwritten, read back, digested
and measured."""

BUDGETS_COST = 1.13
"""Tokens of a generation with its forced answers over those without them, measured at a median of
2,000 tokens of thinking (MEASUREMENTS.md)."""

PACKED = 4.13
"""Bits per weight in the blocks by GPTQ, 4 bits in groups of 128 (measured, MEASUREMENTS.md)."""

CARDS = {"1.5b": "DeepSeek-R1-Distill-Qwen-1.5B", "llama-3.1-8b": "DeepSeek-R1-Distill-Llama-8B"}
CARDS["llama-3.1-70b"] = "DeepSeek-R1-Distill-Llama-70B"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a shape's config says, and what follows from it. Counts are of values, not of bytes."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool
    biased: bool

    @classmethod
    def of(cls, shape: str) -> Sizes:
        config = SHAPES[shape]
        return cls(
            config["hidden_size"],
            config["intermediate_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["num_key_value_heads"],
            config["vocab_size"],
            config.get("tie_word_embeddings", False),
            config["model_type"] == "qwen2",
        )

    @property
    def kv(self) -> int:
        """Size of a layer's keys for one token; its values have the same."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def linears(self) -> int:
        """Weights in the linear layers of a block."""
        return 2 * self.hidden * (self.hidden + self.kv) + 3 * self.hidden * self.inner

    @property
    def block(self) -> int:
        return self.linears + 2 * self.hidden + (self.hidden + 2 * self.kv) * self.biased

    @property
    def outside(self) -> int:
        """Embedding, head and last norm."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def all(self) -> int:
        return self.layers * self.block + self.outside

    @property
    def hessians(self) -> int:
        """Values of a block's four Hessians, of the inputs of q, k and v; o; gate and up; down."""
        return 3 * self.hidden**2 + self.inner**2

    def forward(self, tokens: int) -> float:
        """Operations of the matrix products in all blocks."""
        return 2.0 * self.layers * self.linears * tokens

    def grams(self, tokens: int) -> float:
        """Operations of summing all Hessians."""
        return 2.0 * self.layers * self.hessians * tokens

    def factors(self) -> float:
        """Operations of factorising all Hessians."""
        return float(self.layers * (3 * self.hidden**3 + self.inner**3))

    def columns(self) -> float:
        """Operations of one level's sweep over the columns: rows x columns^2 of every layer."""
        narrow = (2 * self.hidden + 2 * self.kv + 2 * self.inner) * self.hidden**2
        return float(self.layers * (narrow + self.hidden * self.inner**2))


def hidden_states(sizes: Sizes, tokens: int, levels: int, mode: str) -> int:
    """Bytes of the hidden states between two blocks."""
    return BYTES * sizes.hidden * tokens * (levels if mode == "sequential" else 1)


def memory(sizes: Sizes, levels: int) -> int:
    """Bytes beside weights and hidden states while the largest matrix, down, is pruned.

    These are the Hessians, and then whichever takes more: three times the largest of them, while it
    is factorised; or its factor, and the matrix 3 + K times in float32 and K times as it is stored,
    for K levels.
    """
    largest, matrix = 4 * sizes.inner**2, sizes.hidden * sizes.inner
    sweep = 4 * (3 + levels) * matrix + BYTES * levels * matrix
    return 4 * sizes.hessians + max(3 * largest, largest + sweep)


def seconds(sizes: Sizes, tokens: int, levels: int, mode: str) -> tuple[float, float]:
    """The least and the most seconds, scaled from the measured reference.

    The cost of one level without its columns is scaled by the smallest, or by the largest, ratio of
    operations among its parts. The columns are scaled by their own ratio.
    """
    one_level, eight_levels = MEASURED[mode]
    further, like = (eight_levels - one_level) / 7, Sizes.of(REFERENCE)
    ratios = [
        sizes.forward(tokens) / like.forward(MEASURED_TOKENS),
        sizes.grams(tokens) / like.grams(MEASURED_TOKENS),
        sizes.factors() / like.factors(),
    ]
    swept = sizes.columns() / like.columns()
    if mode == "sequential":  # every level has its own passes, Hessians and factors
        ratios.append(swept)
        total = one_level + further * (levels - 1)
        return total * min(ratios), total * max(ratios)
    columns = further * levels * swept
    shared = one_level - further
    return shared * min(ratios) + columns, shared * max(ratios) + columns


def plan(settings: PlanSettings) -> str:
    """The plan, as text, section by section."""
    sizes = Sizes.of(settings.shape)
    return "\n\n".join(
        (
            f"{CARDS.get(settings.shape, settings.shape)} on {gpus(settings.gpus)}. Nothing of "
            "this was run; numbers are arithmetic unless they say otherwise.",
            section("The model", list(_model(sizes, settings))),
            section("Pruning, on one GPU", list(_pruning(sizes, settings))),
            *(
                section(
                    f"Generation, {name}, for each level", list(_generation(sizes, settings, size))
                )
                for name, size in _stored(sizes)
            ),
            "Commands\n" + _commands(settings),
        )
    )


def _stored(sizes: Sizes) -> Iterator[tuple[str, float]]:
    yield "16 bits (dense or pruned)", float(BYTES * sizes.all)
    blocks = sizes.layers * sizes.linears
    packed = blocks * PACKED / 8 + BYTES * (sizes.all - blocks)
    yield f"GPTQ 4-g128 ({PACKED} bits in the blocks, measured)", packed


def _model(sizes: Sizes, settings: PlanSettings) -> Iterator[PlanLine]:
    size = BYTES * sizes.all
    yield PlanLine(
        "weights", f"{sizes.all:,}", f"{sizes.layers} blocks of {sizes.block:,}, and the rest"
    )
    yield PlanLine("on disk", gb(size), "2 bytes each")
    source = f"download at {settings.network:g} GB/s (--network, assumed)"
    yield PlanLine("download", duration(size / settings.network / GB), source)
    with_levels = size * (1 + settings.levels)
    yield PlanLine(
        "with all levels", gb(with_levels), f"x (1 + {settings.levels}); zeros are stored"
    )


def _pruning(sizes: Sizes, settings: PlanSettings) -> Iterator[PlanLine]:
    tokens, levels, mode = settings.rows * settings.row_tokens, settings.levels, settings.mode
    block, hidden = BYTES * sizes.block, hidden_states(sizes, tokens, levels, mode)
    beside, gpu = memory(sizes, levels), settings.gpu_gib * GIB
    on_gpu = hidden * ON_DEVICE <= gpu
    peak = block + (beside + hidden * on_gpu) * MEASURED_OVER_FORMULA
    yield PlanLine("a block", gb(block), "the weights that are on the GPU at a time")
    states = f"{tokens:,} tokens x {sizes.hidden:,} x 2 bytes"
    if mode == "sequential":
        states += f" x {levels} levels"
    where = "on the GPU" if on_gpu else "in the host's memory or on disk"
    yield PlanLine("hidden states", gb(hidden), f"{states}; {where}")
    parts = (
        f"Hessians 4 x (3 x {sizes.hidden:,}^2 + {sizes.inner:,}^2), and factor or {levels} levels"
    )
    yield PlanLine("beside them", gb(beside), f"{parts} of down_proj")
    fits = "fits" if peak <= gpu else "does not fit: ask for fewer levels at a time"
    source = (
        f"of {gb(gpu)}: {fits}; x {MEASURED_OVER_FORMULA} beside the weights, as measured at 8B"
    )
    yield PlanLine("peak of the GPU", gb(peak), source)
    least, most = seconds(sizes, tokens, levels, mode)
    source = f"{mode} mode, {levels} levels: 8B's measured seconds (MEASUREMENTS.md) by operations"
    yield PlanLine("computing", f"{duration(least)} to {duration(most)}", source)
    passes = PASSES + PASSES_PER_LEVEL * levels
    source = (
        f"{passes} passes of {gb(BYTES * sizes.all)} at {settings.disk:g} GB/s (--disk, assumed)"
    )
    yield PlanLine("disk", duration(passes * BYTES * sizes.all / settings.disk / GB), source)


def _generation(sizes: Sizes, settings: PlanSettings, size: float) -> Iterator[PlanLine]:
    token = 2 * BYTES * sizes.layers * sizes.kv
    usable = settings.gpus * settings.gpu_gib * GIB * settings.gpu_memory
    left = usable - size - settings.gpus * settings.overhead_gb * GB
    yield PlanLine(
        "weights", gb(size), f"loaded in {duration(size / settings.disk / GB)} from the disk"
    )
    source = f"{settings.gpus} x {settings.gpu_gib:g} GiB x {settings.gpu_memory:g}, weights and "
    source += f"{settings.gpus} x {settings.overhead_gb:g} GB (--overhead-gb, assumed) off"
    yield PlanLine("left for the cache", gb(left), source)
    source = f"2 x {sizes.layers} layers x {sizes.kv:,} x 2 bytes"
    yield PlanLine("a token's keys and values", f"{token:,} bytes", source)
    longest = settings.context * token
    if left < longest:
        source = (
            f"a reply of {settings.context:,} tokens takes {gb(longest)}: more GPUs or fewer bits"
        )
        yield PlanLine("does not fit", gb(longest - left), source)
        return
    live = settings.reply_tokens * math.exp(SPREAD**2) / 2
    source = f"E[L^2] / 2 E[L] at a mean of {settings.reply_tokens:,} (--reply-tokens, assumed), "
    yield PlanLine("live tokens of a reply", f"{live:,.0f}", source + f"log-normal, sigma {SPREAD}")
    at_once = min(256, int(left / token / live))
    yield PlanLine(
        "replies at once", f"{at_once:,}", "cache / live tokens; at most 256, assumed of vLLM"
    )
    step = (size + at_once * live * token) / settings.gpus
    step /= settings.bandwidth * GB * settings.efficiency
    source = (
        f"(weights + live cache) / GPUs / ({settings.bandwidth:,g} GB/s x {settings.efficiency:g})"
    )
    yield PlanLine("a step", f"{step * 1000:.1f} ms", source + " (both assumed)")
    yield PlanLine("tokens a second", f"{at_once / step:,.0f}", "replies at once / step")
    tokens = settings.questions * settings.reply_tokens * BUDGETS_COST
    source = (
        f"{settings.questions:,} replies x {settings.reply_tokens:,} x {BUDGETS_COST} for forced "
    )
    yield PlanLine(
        "tokens of a level", f"{tokens:,.0f}", source + "answers (measured, MEASUREMENTS.md)"
    )
    each = tokens * step / at_once
    yield PlanLine("a level", duration(each))


def _commands(settings: PlanSettings) -> str:
    name = f"deepseek-ai/{CARDS.get(settings.shape, settings.shape)}"
    mode = ":mode=dense" if settings.mode == "dense" else ""
    engine = f"vllm:tensor_parallel_size={settings.gpus},gpu_memory={settings.gpu_memory:g},"
    engine += f"context={settings.context}"
    common = f"--engine {engine} \\\n      --benchmarks aime,folio,temporal,musique --questions 250"
    common += " --budgets 1024,4096,16384"
    return "\n".join(
        (
            f"  python -m experiments.sparsity_search --model {name} \\",
            f"      --method sparsegpt{mode} --sparsity 0:0.8:0.1 --checkpoints /BIG/DISK \\",
            f"      {common}",
            f"  python -m experiments.quantization_search --model {name} \\",
            f"      --method gptq --recipes f16,4-g128 {common}",
        )
    )
