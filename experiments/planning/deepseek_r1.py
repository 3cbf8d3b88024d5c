"""The plan of DeepSeek-R1's GGUF files, run by llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Iterator

from experiments.planning.lines import GB, GIB, PlanLine, duration, gpus, section
from experiments.planning.settings import PlanSettings
from lrm.tables import Table

FILES = {
    "UD-IQ1_S": (1.58, 131e9),
    "UD-IQ1_M": (1.73, 158e9),
    "UD-IQ2_XXS": (2.22, 183e9),
    "UD-Q2_K_XL": (2.51, 212e9),
}
"""Bits in each file's name, and its bytes, as its makers publish them: unsloth/DeepSeek-R1-GGUF."""

WEIGHTS = 671e9
LAYERS, LATENT, HEADS, KEY, VALUE = 61, 512 + 64, 128, 128 + 64, 128
"""Of R1's config.json: layers, values of a token's latent with its rotary part, heads, and values
of an unfolded head's key and value."""

FOLDED = 2 * LAYERS * LATENT
UNFOLDED = 2 * LAYERS * HEADS * (KEY + VALUE)
"""Bytes of a token in the cache, in float16: one latent a layer, or each head's key and value."""

HEADER = (
    *("file", "GB", "bits", "download", "loading", "left", "latents", "unfolded"),
    *("gpu_layers", "slots", "tokens/s", "benchmarks"),
)


def plan(settings: PlanSettings) -> str:
    """The plan, as text."""
    rows = [_row(settings, name) for name in FILES]
    table = Table("The files, by the names that their makers gave them", HEADER, rows)
    return "\n\n".join(
        (
            f"DeepSeek-R1, 671B, on {gpus(settings.gpus)} by llama.cpp. Nothing of this was run; "
            "numbers are arithmetic unless they say otherwise.",
            table.text(),
            section("Its columns", list(_columns(settings))),
            "Commands\n" + "\n".join(_command(settings, name) for name in FILES),
        )
    )


def _row(settings: PlanSettings, name: str) -> tuple[str, ...]:
    bits, size = FILES[name]
    per_gpu = settings.gpu_gib * GIB - settings.overhead_gb * GB
    left = settings.gpus * per_gpu - size
    replies = []
    for token in (FOLDED, UNFOLDED):
        reply = token * settings.context
        fit = int(left / reply) if left > 0 else 0
        replies.append(f"{fit}" if fit else f"on {math.ceil((size + reply) / per_gpu)} GPUs")
    layers, slots = _fit(settings, size)
    rate = settings.tokens_per_second * FILES["UD-IQ1_S"][1] / size
    hours = duration(settings.questions * settings.reply_tokens / rate)
    return (
        name,
        f"{size / GB:.0f}",
        f"{bits} ({8 * size / WEIGHTS:.2f})",
        duration(size / settings.network / GB),
        duration(size / settings.disk / GB),
        f"{left / GB:.1f}",
        *replies,
        "all" if layers < 0 else f"{layers} of {LAYERS}",
        f"{slots}",
        *((f"{rate:.0f}", hours) if layers < 0 else ("", "")),
    )


def _columns(settings: PlanSettings) -> Iterator[PlanLine]:
    yield PlanLine(
        "GB, bits", "", "published: unsloth/DeepSeek-R1-GGUF; (bytes x 8 / 671e9 weights)"
    )
    source = (
        f"at {settings.network:g} GB/s (--network) and {settings.disk:g} GB/s (--disk), assumed"
    )
    yield PlanLine("download, loading", "", source)
    source = (
        f"GB for the cache: {settings.gpus} x ({settings.gpu_gib:g} GiB - {settings.overhead_gb:g} "
    )
    yield PlanLine("left", "", source + "GB), both assumed, the file off")
    source = (
        f"replies of {settings.context:,} tokens (--context) that fit at once: 2 bytes x {LAYERS} "
    )
    source += "layers x"
    yield PlanLine(
        "latents", f"{FOLDED:,} bytes a token", f"{source} {LATENT}; files made since April 2025"
    )
    source = (
        f"{HEADS} heads x ({KEY} + {VALUE}) in place of {LATENT}: older files, such as those of "
    )
    yield PlanLine("unfolded", f"{UNFOLDED:,} bytes", source + "January 2025 (llama.cpp PR 12801)")
    yield PlanLine(
        "gpu_layers", "", "the rest runs on the CPU, many times slower: no time is given"
    )
    yield PlanLine("slots", "", f"as latents, at most {settings.slots} (--slots)")
    source = (
        f"{settings.tokens_per_second:g} (--tokens-per-second, its makers' figure on two H100), by "
    )
    yield PlanLine(
        "tokens/s", "", source + "bytes; assumed, and of as many replies at once as they had"
    )
    source = (
        f"{settings.questions} replies x {settings.reply_tokens:,} tokens (--reply-tokens, assumed)"
    )
    yield PlanLine("benchmarks", "", source)


def _fit(settings: PlanSettings, size: float) -> tuple[int, int]:
    """How many layers go to the GPUs (-1: all), and how many replies, as latents, run at once."""
    memory = settings.gpus * (settings.gpu_gib * GIB - settings.overhead_gb * GB)
    reply = FOLDED * settings.context
    if memory >= size + reply:
        return -1, min(settings.slots, int((memory - size) / reply))
    return max(0, int(LAYERS * (memory - reply) / size)), 1


def _command(settings: PlanSettings, name: str) -> str:
    layers, slots = _fit(settings, FILES[name][1])
    engine = f"llama_cpp:gpu_layers={layers},context={settings.context},slots={slots}"
    return (
        f"  python -m experiments.sparsity_search --model unsloth/DeepSeek-R1-GGUF:{name} \\\n"
        f"      --engine {engine} --sparsity 0 \\\n"
        "      --benchmarks aime,folio,temporal,musique --questions 250 --budgets 1024,4096,16384"
    )
