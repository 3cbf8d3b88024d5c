"""The plan of a quantization by llama.cpp's own dry run: exact, and without weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.models.resolve import embedded_names, find_model
from experiments.models.shapes import SHAPES
from experiments.planning.settings import ALL, RecipePlanSettings
from lrm.compression.gguf.config import check_config
from lrm.compression.gguf.plan import bits, plan_config
from lrm.compression.gguf.recipes import RECIPES, recipe
from lrm.errors import BadInput
from lrm.tables import Table

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from lrm.compression.gguf.files import Tensor


def plan(settings: RecipePlanSettings) -> str:
    """The table, as text. Raises BadInput for a recipe, shape or module that there is none of."""
    config = _config(settings.shape)
    protect = settings.protect.split("+") if settings.protect else []
    if settings.recipe == ALL:
        return _of_all(settings.shape, config, protect)
    planned = plan_config(config, recipe(settings.recipe), protect)
    per_weight = bits(planned.tensors)
    return Table(
        f"{settings.recipe} on {settings.shape}: {planned.bytes:,} bytes",
        ("tensors", "number", "type", "weights", "bytes", "bits"),
        list(_grouped(planned.tensors)),
        "Bits per weight: "
        + ", ".join(f"{name.partition('/')[2] or 'all'} {v:.3f}" for name, v in per_weight.items())
        + f" (low: gate and up projections behind the first blocks). {len(planned.fallen)} fall "
        "back to a larger type.",
    ).text()


def _of_all(shape: str, config: PretrainedConfig, protect: Sequence[str]) -> str:
    """A line for each recipe."""
    rows = []
    for name, each in RECIPES.items():
        planned = plan_config(config, each, protect)
        per_weight = bits(planned.tensors)
        measures = (per_weight[f"bits_per_weight{part}"] for part in ("", "/blocks", "/low"))
        says = f"{each.says:.2f}" if each.says else ""
        columns = (*(f"{measure:.3f}" for measure in measures), says, f"{planned.bytes:,}")
        rows.append((name, *columns, str(len(planned.fallen))))
    return Table(
        f"Recipes on {shape}",
        ("recipe", "bits", "in blocks", "low-bit part", "says", "bytes", "fall back"),
        rows,
        "The low-bit part are gate and up projections behind the first blocks.",
    ).text()


def _grouped(tensors: Sequence[Tensor]) -> Iterator[tuple[str, ...]]:
    """One line for the tensors of all blocks that share a name and a type."""
    groups: dict[tuple[str, str], list[Tensor]] = {}
    for tensor in tensors:
        name = re.sub(r"^blk\.\d+\.", "blk.*.", tensor.name)
        groups.setdefault((name, tensor.type), []).append(tensor)
    for (name, kind), group in groups.items():
        weights, size = sum(t.elements for t in group), sum(t.bytes for t in group)
        per_weight = f"{8 * size / weights:.3f}"
        yield name, str(len(group)), kind, f"{weights:,}", f"{size:,}", per_weight


def _config(shape: str) -> PretrainedConfig:
    from transformers import AutoConfig

    # An embedded model's own config goes before the shape of the same name.
    if shape in SHAPES and shape not in embedded_names():
        config: PretrainedConfig = AutoConfig.for_model(**SHAPES[shape])
        return config
    model = find_model(shape)
    if model.format != "dense":
        raise BadInput(f"{shape} is stored as {model.format}: give a dense model, or a shape.")
    config = check_config(model.fetch())
    return config
