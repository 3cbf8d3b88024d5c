"""The plan of DeepSeek-R1's GGUF files, run by llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.plan_lines import GB, GIB, Line, duration, gb, section

if TYPE_CHECKING:
    from experiments.plan import Planning

NAME = "deepseek-r1"

FILES = {
    "UD-IQ1_S": (1.58, 131e9),
    "UD-IQ1_M": (1.73, 158e9),
    "UD-IQ2_XXS": (2.22, 183e9),
    "UD-Q2_K_XL": (2.51, 212e9),
}
"""Bits that its makers name each by, and bytes, as they publish them: unsloth/DeepSeek-R1-GGUF."""

WEIGHTS = 671e9
LAYERS, LATENT, HEADS, KEY, VALUE = 61, 512 + 64, 128, 128 + 64, 128
"""Of R1's config.json: a token's latent with its rotary part, and what heads of it are unfolded."""

FOLDED = 2 * LAYERS * LATENT
UNFOLDED = 2 * LAYERS * HEADS * (KEY + VALUE)
"""Bytes of a token in the cache, in float16: one latent a layer, or every head's key and value."""


def plan(settings: Planning) -> str:
    """The plan, as text."""
    return "\n\n".join(
        (
            f"DeepSeek-R1, 671B, on {settings.gpus} GPUs by llama.cpp. Nothing of this was run; "
            "numbers are arithmetic unless they say otherwise.",
            section("A token in the cache", list(_cache())),
            *(
                section(f"{name}, named {bits} bits", list(_file(settings, size)))
                for name, (bits, size) in FILES.items()
            ),
            "Commands\n" + "\n".join(_command(settings, name) for name in FILES),
        )
    )


def _cache() -> Iterator[Line]:
    source = (
        f"2 bytes x {LAYERS} layers x {LATENT}: files made since llama.cpp's PR 12801, April 2025"
    )
    yield Line("as a latent", f"{FOLDED:,} bytes", source)
    source = (
        f"2 bytes x {LAYERS} x {HEADS} heads x ({KEY} + {VALUE}): older ones, so those of January "
    )
    yield Line("unfolded", f"{UNFOLDED:,} bytes", source + "2025 under these names")


def _file(settings: Planning, size: float) -> Iterator[Line]:
    one = settings.gpu_gib * GIB - settings.overhead_gb * GB
    yield Line(
        "bytes", gb(size), f"published; {8 * size / WEIGHTS:.2f} bits over all 671e9 weights"
    )
    source = f"at {settings.network:g} GB/s (--network, assumed)"
    yield Line("download", duration(size / settings.network / GB), source)
    source = f"at {settings.disk:g} GB/s (--disk, assumed)"
    yield Line("loading", duration(size / settings.disk / GB), source)
    left = settings.gpus * one - size
    source = f"{settings.gpus} x ({settings.gpu_gib:g} GiB - {settings.overhead_gb:g} GB), file off"
    yield Line("left for the cache", gb(left), source)
    for what, token in (("latents", FOLDED), ("unfolded", UNFOLDED)):
        room = max(0, int(left / token / settings.context))
        slots = (
            f"{room:,} at once"
            if room
            else f"{math.ceil((size + token * settings.context) / one)} GPUs"
        )
        source = f"of {settings.context:,} tokens, {gb(token * settings.context)} each"
        yield Line(f"replies, {what}", slots, source if room else f"for one {source}")
    layers, _ = _fit(settings, size)
    if layers >= 0:
        source = "the rest on the CPU, many times slower"
        yield Line("on these GPUs", f"gpu_layers={layers}", source)
        return
    rate = settings.tokens_per_second * FILES["UD-IQ1_S"][1] / size
    source = f"{settings.tokens_per_second:g} (--tokens-per-second, its makers' figure) by bytes"
    yield Line("tokens a second", f"{rate:,.0f}", source)
    tokens = settings.questions * settings.reply_tokens
    source = f"{settings.questions} replies x {settings.reply_tokens:,} (--reply-tokens, assumed)"
    yield Line("all benchmarks", duration(tokens / rate), source)


def _fit(settings: Planning, size: float) -> tuple[int, int]:
    """How many layers go to the GPUs (-1: all), and how many replies, as latents, run at once."""
    room = settings.gpus * (settings.gpu_gib * GIB - settings.overhead_gb * GB)
    reply = FOLDED * settings.context
    if room >= size + reply:
        return -1, min(settings.slots, int((room - size) / reply))
    return max(0, int(LAYERS * (room - reply) / size)), 1


def _command(settings: Planning, name: str) -> str:
    layers, slots = _fit(settings, FILES[name][1])
    engine = f"llama_cpp:gpu_layers={layers},context={settings.context},slots={slots}"
    return (
        f"  python -m experiments.sparsity_search --model unsloth/DeepSeek-R1-GGUF:{name} \\\n"
        f"      --sparsity 0 --engine {engine} \\\n"
        "      --benchmarks aime,folio,temporal,musique --questions 250 --budgets 1024,4096,16384"
    )
