"""The levels of a sensitivity study: a recipe on the whole model, and on each part alone."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.cli.quantizer_choice import parse_quantizer
from experiments.cli.sensitivity_settings import Part, SensitivitySettings
from experiments.models.resolve import find_model
from experiments.search.axis import SearchAxis
from experiments.search.findings import Findings
from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.module_filter import BLOCK, EXCEPT
from lrm.errors import BadInput


def sensitivity_axis(settings: SensitivitySettings, findings: type[Findings]) -> SearchAxis:
    """The model itself, the recipe on all of it, and the recipe on every part while the rest keeps
    16 bits. Raises BadInput for an unknown recipe, and for a model that is already packed."""
    parse_quantizer(settings.method, [settings.recipe])  # refused before a model is looked for
    model = find_model(settings.model)
    if model.format != "dense":
        raise BadInput(
            f"{model.name} has {model.format} weights, and only dense ones are quantized: give "
            "the folder or hub id of the model that it was made from."
        )
    names = parts(Weights(model.fetch()).sizes(), settings.by)
    levels = [settings.recipe, *(f"{settings.recipe}/{EXCEPT}{name}" for name in names)]
    method = parse_quantizer(settings.method, levels)
    return SearchAxis(
        method=method,
        text=settings.method,
        keys=(str(method.untouched), *levels),
        objectives=3,
        findings=findings,
    )


def parts(layers: Iterable[str], by: Part) -> list[str]:
    """The parts that the linear layers of a model's blocks form, in the order of the blocks."""
    names = set()
    for layer in layers:
        inner = layer[BLOCK.search(layer).start() :]  # type: ignore[union-attr]
        block, kind = ".".join(inner.split(".")[:2]), inner.rpartition(".")[2]
        names.add({"block": block, "kind": kind, "module": inner}[by])
    return sorted(names, key=_by_number)


def _by_number(name: str) -> list[tuple[bool, str]]:
    """Sorts layers.2 before layers.10."""
    return [(word.isdigit(), word.zfill(6)) for word in name.split(".")]
