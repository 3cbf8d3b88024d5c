"""What a recipe of quantization makes of a model's shape, without its weights.

Example:
    python -m experiments.plan_gguf --shape llama-3.1-8b --recipe dynamic-1.58
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.cli.command import command
from lrm.errors import BadInput
from lrm.tables import Table

ALL = "all"


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


def plan(settings: RecipePlanSettings) -> str:
    """The table, as text."""
    from lrm.compression.gguf.plan import bits, plan_config
    from lrm.compression.gguf.recipes import RECIPES, recipe

    config = _config(settings.shape)
    protect = settings.protect.split("+") if settings.protect else []
    if settings.recipe != ALL:
        made = plan_config(config, recipe(settings.recipe), protect)
        found = bits(made.tensors)
        return Table(
            f"{settings.recipe} on {settings.shape}: {made.bytes:,} bytes",
            ("tensors", "number", "type", "weights", "bytes", "bits"),
            list(_grouped(made.tensors)),
            "Bits per weight: "
            + ", ".join(f"{name.partition('/')[2] or 'all'} {v:.3f}" for name, v in found.items())
            + f" (low: gate and up projections behind the first blocks). {len(made.fallen)} fall "
            "back to a larger type.",
        ).text()
    rows = []
    for name, one in RECIPES.items():
        made = plan_config(config, one, protect)
        found = bits(made.tensors)
        parts = (found[f"bits_per_weight{part}"] for part in ("", "/blocks", "/low"))
        says = f"{one.says:.2f}" if one.says else ""
        columns = (*(f"{part:.3f}" for part in parts), says, f"{made.bytes:,}")
        rows.append((name, *columns, str(len(made.fallen))))
    return Table(
        f"Recipes on {settings.shape}",
        ("recipe", "bits", "in blocks", "low-bit part", "says", "bytes", "fall back"),
        rows,
        "The low-bit part are gate and up projections behind the first blocks.",
    ).text()


def _grouped(tensors: Sequence[Any]) -> Iterator[tuple[str, ...]]:
    """Tensors of the same name but for the block, and of the same type, in one line."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for tensor in tensors:
        name = re.sub(r"^blk\.\d+\.", "blk.*.", tensor.name)
        groups.setdefault((name, tensor.type), []).append(tensor)
    for (name, kind), group in groups.items():
        weights, size = sum(t.elements for t in group), sum(t.bytes for t in group)
        bits = f"{8 * size / weights:.3f}"
        yield name, str(len(group)), kind, f"{weights:,}", f"{size:,}", bits


def _config(shape: str) -> Any:
    from transformers import AutoConfig

    from experiments.benchmarking.random_models import SHAPES
    from experiments.models.resolve import find_model
    from lrm.compression.gguf.config import check_config

    if shape in SHAPES:
        return AutoConfig.for_model(**SHAPES[shape])
    found = find_model(shape)
    if found.format != "dense":
        raise BadInput(f"{shape} is stored as {found.format}: give a dense model, or a shape.")
    return check_config(found.fetch())


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit status."""
    return command(
        RecipePlanSettings, "plan_gguf", __doc__, arguments, plan, "Nothing was written."
    )


if __name__ == "__main__":
    sys.exit(main())
