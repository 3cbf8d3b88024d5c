"""What the pruners that measure a model on a calibration share: their parameters, and the way from
a checkpoint to pruned matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.module_filter import ceilings
from lrm.compression.pruning import parameters
from lrm.compression.pruning.blockwise import (
    MODES,
    Mode,
    Pruned,
    PruningPlan,
    Saved,
    Solve,
    in_dense_mode,
    in_sequential_mode,
)
from lrm.compression.pruning.masks import UNSTRUCTURED
from lrm.compression.pruning.owl import owl
from lrm.compression.pruning.parameters import Parameters
from lrm.compression.streaming.decoder import Decoder
from lrm.compression.streaming.load import load
from lrm.errors import BadInput
from lrm.records.model import Calibration

ALLOCATIONS = ("uniform", "owl")

MOST_IN_DENSE_MODE = 0.5
"""Above this sparsity dense mode is cautioned: on Qwen2.5-Coder-0.5B-Instruct, perplexity was 92
against 80 of sequential mode at 60%, and 458 against 282 at 70% (dense 23)."""


class Calibrated(Parameters, Protocol):
    """The fields of such a pruner, and how it prunes layers.

    `mode` says what a block is measured on: "dense" on what the dense model's blocks before it
    give, "sequential", the paper's, on what the pruned ones give. With `allocation` "owl" blocks
    differ in sparsity (see `lrm.compression.pruning.owl`).
    """

    @property
    def calibration(self) -> Calibration: ...

    @property
    def mode(self) -> Mode: ...

    @property
    def allocation(self) -> str: ...

    def solve(self) -> Solve: ...


def check(method: Calibrated) -> None:
    """BadInput if no model can be pruned so."""
    parameters.check(method)
    if method.mode not in MODES:
        raise BadInput(f"mode {method.mode!r} is unknown: give {' or '.join(MODES)}.")
    if method.allocation not in ALLOCATIONS:
        raise BadInput(
            f"allocation {method.allocation!r} is unknown: give {' or '.join(ALLOCATIONS)}."
        )
    if method.allocation != "uniform" and method.pattern != UNSTRUCTURED:
        raise BadInput(
            f"allocation {method.allocation} gives each block a sparsity of its own, which "
            f"pattern {method.pattern} cannot: leave one of them out."
        )
    if not method.calibration.rows or not all(method.calibration.rows):
        raise BadInput(f"the calibration has no rows or an empty one; give {method.name} tokens.")


def params(method: Calibrated) -> dict[str, str | int | float]:
    """What decides the weights, as far as all calibrated pruners have it."""
    return parameters.params(method) | {
        "mode": method.mode,
        "allocation": method.allocation,
        "calibration": method.calibration.source,
        "calibration_tokens": method.calibration.tokens,
        "calibration_digest": method.calibration.digest,
    }


def caution(method: Calibrated) -> str | None:
    """What one should know before one trusts the outcome, if anything."""
    if method.mode == "dense" and method.sparsity > MOST_IN_DENSE_MODE:
        return (
            f"sparsity {method.sparsity:g} in dense mode: every block is measured on the dense "
            "model's activations, which a model this sparse no longer has; leave mode out "
            "(sequential, the paper's way) unless you want many levels fast."
        )
    return None


def prune(
    method: Calibrated,
    source: Weights,
    modules: Sequence[str],
    levels: Sequence[float],
    skip: int,
    saved: Saved,
) -> Iterator[Pruned]:
    """Prunes the model in the method's mode; the other arguments are those of
    `lrm.compression.pruning.save.Prune`."""
    decoder, rows = load(source), method.calibration.rows
    plan = _plan(method, decoder, levels, source, modules)
    if method.mode == "sequential":
        return in_sequential_mode(decoder, rows, method.solve(), plan, skip, saved)
    return in_dense_mode(decoder, rows, method.solve(), plan, skip)


def _plan(
    method: Calibrated,
    decoder: Decoder,
    levels: Sequence[float],
    source: Weights,
    modules: Sequence[str],
) -> PruningPlan:
    """The sparsity of every block at each level, by the method's allocation."""
    dtypes = {name: source.dtype(f"{name}.weight") for name in modules}
    limits = ceilings(source.sizes(), method.protect)
    if method.allocation == "owl":
        return PruningPlan(owl(decoder, method.calibration.rows, levels), dtypes, limits)
    return PruningPlan([tuple(levels)] * len(decoder.blocks), dtypes, limits)
