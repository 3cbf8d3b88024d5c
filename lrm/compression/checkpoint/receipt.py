"""The receipt of a compressed checkpoint: what was done to it, step by step, and matrix by matrix.

It is the file `lineage.json`, written last, so that a folder that has it is whole. It holds
timings, so it is no part of the checkpoint's revision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, Required, TypedDict

from lrm.errors import BadInput

RECEIPT = "lineage.json"
KEYS = ("method", "parent", "params", "modules")


class ModuleReport(TypedDict, total=False):
    """What became of one matrix. Pruners and quantizers report other things; `module` and `weights`
    (their number) are always there.

    Of pruners: `sparsity` asked for and `sparsity_achieved`; `ceiling`, the highest that the module
    may have; `error` of its outputs, as a share; `damping` and whether that had to be raised;
    `seconds_all_levels`. Of quantizers: `block`, whether it is a linear layer of the blocks;
    `bytes`; `type` it is stored in and `asked` for, and whether it `fell_back` to another; the
    squares of what quantization `lost`, and of the weights (`norm`). Of both: `protected`.
    """

    module: Required[str]
    weights: Required[int]
    protected: bool
    sparsity: float
    sparsity_achieved: float
    ceiling: float
    error: float
    damping: float
    damping_raised: bool
    seconds_all_levels: float
    block: bool
    bytes: int
    type: str
    asked: str
    fell_back: bool
    lost: float
    norm: float


class PerplexityReport(TypedDict):
    """The perplexity of the checkpoint and of the `dense` model before, and the `text`'s digest."""

    own: float
    dense: float
    text: str


class LineageStep(TypedDict):
    """One method applied to the checkpoint of revision `parent`."""

    method: str
    parent: str
    params: dict[str, str | int | float]
    modules: list[ModuleReport]
    perplexity: NotRequired[PerplexityReport]


def is_complete(path: Path) -> bool:
    """Whether a folder holds a compressed checkpoint that was written to its end."""
    return (path / RECEIPT).is_file()


def steps_of(folder: Path) -> list[LineageStep]:
    """What was done to a checkpoint, oldest first; empty without a receipt.

    Raises BadInput if the receipt cannot be read.
    """
    path = folder / RECEIPT
    if not path.is_file():
        return []
    try:
        steps: list[LineageStep] = json.loads(path.read_text())["steps"]
        missing = [key for step in steps for key in KEYS if key not in step]
        if missing:
            raise KeyError(missing[0])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} cannot be read ({error}); fetch or make it again.") from error
    return steps


def measured(modules: Sequence[ModuleReport]) -> dict[str, float]:
    """What the reports of a step's matrices add up to.

    `damping/max`: the largest damping that one needed; `damping/raised`: how many needed more than
    was asked; `protected/share`: the share of weights that were left dense by name, and
    `limited/share` of those that were to be denser than the rest.
    """
    sums = {}
    damped = [module for module in modules if "damping" in module]
    if damped:
        sums["damping/max"] = max(module["damping"] for module in damped)
        sums["damping/raised"] = float(sum(module["damping_raised"] for module in damped))
    total = sum(module["weights"] for module in modules)
    protected = sum(module["weights"] for module in modules if module.get("protected"))
    limited = sum(module["weights"] for module in modules if module.get("ceiling"))
    if protected:
        sums["protected/share"] = protected / total
    if limited:
        sums["limited/share"] = limited / total
    return sums
