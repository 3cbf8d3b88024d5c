"""The pruning methods: from a checkpoint to sparser ones, all sparsities from one pass.

Zeros are stored like any other weight: unstructured sparsity makes these checkpoints neither
smaller nor faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from lrm.compression.checkpoint.folder import Weights
from lrm.compression.checkpoint.module_filter import ceilings
from lrm.compression.pruning import masks, solvers
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
from lrm.compression.pruning.save import OnModule, write
from lrm.compression.streaming.decoder import Decoder
from lrm.compression.streaming.load import load
from lrm.errors import BadInput
from lrm.records import Calibration, Checkpoint

ALLOCATIONS = ("uniform", "owl")

MOST_IN_DENSE_MODE = 0.6
"""Above this sparsity, what blocks read is so unlike the dense model's activations that the outcome
of dense mode wants to be compared with sequential mode's."""


@dataclass(frozen=True)
class SparseGPT:
    """SparseGPT (arXiv 2301.00774) in the linear layers of the blocks.

    `damping` is relative to the mean of a Hessian's diagonal, `block` counts columns: masks are
    chosen, and weights made up for, block by block. `mode` says what a block is measured on: what
    the "dense" model's blocks before it give, or in "sequential" mode, the paper's, the pruned
    ones'. `pattern` is "unstructured" or N:M. Modules named by `protect` stay dense, or denser than
    the rest (see `lrm.compression.checkpoint.module_filter.ceilings`). With `allocation` "owl"
    blocks differ in sparsity (see `lrm.compression.pruning.owl`).
    """

    name: ClassVar[str] = "sparsegpt"
    version: ClassVar[int] = 3  # rises when the same parameters give other weights

    sparsity: float
    calibration: Calibration
    damping: float = 0.01
    block: int = 128
    mode: Mode = "dense"
    pattern: str = UNSTRUCTURED
    protect: tuple[str, ...] = ()
    allocation: str = "uniform"

    def __post_init__(self) -> None:
        _check(self)
        if not 0 < self.damping < math.inf:
            raise BadInput(f"damping must be more than 0, got {self.damping}; 0.01 is usual.")
        groups = masks.parse(self.pattern, self.sparsity)
        if self.block < 1 or (groups and self.block % groups.of):
            whole = f" and a multiple of {groups.of}" if groups else ""
            raise BadInput(
                f"block must be 1 column or more{whole}, got {self.block}; 128 is usual."
            )

    def params(self) -> Mapping[str, str | int | float]:
        """What decides the weights."""
        return _params(self) | {"damping": self.damping, "block": self.block}

    @property
    def caution(self) -> str | None:
        """What one should know before one trusts the outcome, if anything."""
        return _caution(self)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        """See `lrm.contracts.Method`."""
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        """One checkpoint per sparsity, each as `apply` would make it, from one calibration.

        `on_module(done, total)` is called after each matrix.
        """
        methods = {sparsity: replace(self, sparsity=sparsity) for sparsity in outs}
        return write(checkpoint, methods, outs, partial(_calibrated, self), on_module)

    def solve(self) -> Solve:
        """How layers with one input are pruned."""
        groups = masks.parse(self.pattern, self.sparsity)
        return solvers.sparsegpt_solver(self.damping, self.block, groups)


@dataclass(frozen=True)
class Wanda:
    """Wanda (Sun et al., arXiv 2306.11695), the baseline that measures inputs but mends nothing.

    A weight scores |W_ij| ||X_j||; each row loses its lowest. The other fields as in `SparseGPT`.
    """

    name: ClassVar[str] = "wanda"
    version: ClassVar[int] = 1

    sparsity: float
    calibration: Calibration
    mode: Mode = "dense"
    pattern: str = UNSTRUCTURED
    protect: tuple[str, ...] = ()
    allocation: str = "uniform"

    def __post_init__(self) -> None:
        _check(self)

    def params(self) -> Mapping[str, str | int | float]:
        """What decides the weights."""
        return _params(self)

    @property
    def caution(self) -> str | None:
        """As in `SparseGPT`."""
        return _caution(self)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        """See `lrm.contracts.Method`."""
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        """As in `SparseGPT`."""
        methods = {sparsity: replace(self, sparsity=sparsity) for sparsity in outs}
        return write(checkpoint, methods, outs, partial(_calibrated, self), on_module)

    def solve(self) -> Solve:
        """How layers with one input are pruned."""
        return solvers.wanda_solver(masks.parse(self.pattern, self.sparsity))


@dataclass(frozen=True)
class Magnitude:
    """The baseline: each matrix of the blocks loses its smallest weights, the rest stay.

    `pattern` and `protect` as in `SparseGPT`.
    """

    name: ClassVar[str] = "magnitude"
    version: ClassVar[int] = 2

    sparsity: float
    pattern: str = UNSTRUCTURED
    protect: tuple[str, ...] = ()

    caution: ClassVar[None] = None

    def __post_init__(self) -> None:
        _check_sparsity(self)

    def params(self) -> Mapping[str, str | int | float]:
        """What decides the weights."""
        return _common_params(self)

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        """See `lrm.contracts.Method`."""
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        """One checkpoint per sparsity; `on_module(done, total)` is called after each matrix."""
        methods = {sparsity: replace(self, sparsity=sparsity) for sparsity in outs}
        return write(checkpoint, methods, outs, partial(_by_magnitude, self), on_module)


def _plan(
    method: SparseGPT | Wanda,
    decoder: Decoder,
    levels: Sequence[float],
    source: Weights,
    modules: Sequence[str],
) -> PruningPlan:
    """The sparsity of every block at each level, as the method allots it."""
    dtypes = {name: source.dtype(f"{name}.weight") for name in modules}
    limits = ceilings(source.sizes(), method.protect)
    if method.allocation == "owl":
        return PruningPlan(owl(decoder, method.calibration.rows, levels), dtypes, limits)
    return PruningPlan([tuple(levels)] * len(decoder.blocks), dtypes, limits)


def _calibrated(
    method: SparseGPT | Wanda,
    source: Weights,
    modules: Sequence[str],
    levels: Sequence[float],
    skip: int,
    saved: Saved,
) -> Iterator[Pruned]:
    """Prunes the model in the method's mode."""
    decoder, rows = load(source), method.calibration.rows
    plan = _plan(method, decoder, levels, source, modules)
    if method.mode == "sequential":
        return in_sequential_mode(decoder, rows, method.solve(), plan, skip, saved)
    return in_dense_mode(decoder, rows, method.solve(), plan, skip)


def _by_magnitude(
    method: Magnitude,
    source: Weights,
    modules: Sequence[str],
    levels: Sequence[float],
    skip: int,
    saved: Saved,
) -> Iterator[Pruned]:
    """Prunes one matrix after the other, each a block of its own."""
    groups = masks.parse(method.pattern, method.sparsity)
    limits = ceilings(source.sizes(), method.protect)
    for index, name in enumerate(modules[skip:], skip):
        stored = source.read(f"{name}.weight")
        asked = tuple(min(level, limits.get(name, 1)) for level in levels)
        facts = [{"ceiling": limits[name]} if name in limits else {}] * len(levels)
        one = solvers.by_magnitude(name, stored, asked, groups)
        dtype = source.dtype(f"{name}.weight")
        yield Pruned(index, name, asked, one.levels.to(dtype), facts, one.excess)


def _check(method: SparseGPT | Wanda) -> None:
    _check_sparsity(method)
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


def _check_sparsity(method: SparseGPT | Wanda | Magnitude) -> None:
    if not 0 <= method.sparsity < 1:
        raise BadInput(
            f"sparsity must lie in [0, 1), got {method.sparsity}; 0 is dense, 0.5 is half."
        )
    if method.pattern != UNSTRUCTURED and any("@" in name for name in method.protect):
        raise BadInput(
            f"protect with @ gives modules a sparsity of their own, which pattern {method.pattern} "
            "cannot: leave the @ out, and they stay dense."
        )
    masks.parse(method.pattern, method.sparsity)


def _common_params(method: SparseGPT | Wanda | Magnitude) -> dict[str, str | int | float]:
    return {
        "method": method.name,
        "method_version": method.version,
        "sparsity": method.sparsity,
        "pattern": method.pattern,
        "protect": "+".join(method.protect),
    }


def _params(method: SparseGPT | Wanda) -> dict[str, str | int | float]:
    return _common_params(method) | {
        "mode": method.mode,
        "allocation": method.allocation,
        "calibration": method.calibration.source,
        "calibration_tokens": method.calibration.tokens,
        "calibration_digest": method.calibration.digest,
    }


def _caution(method: SparseGPT | Wanda) -> str | None:
    if method.mode == "dense" and method.sparsity > MOST_IN_DENSE_MODE:
        return (
            f"sparsity {method.sparsity:g} in dense mode: every block is measured on the dense "
            "model's activations, which a model this sparse no longer has; compare with "
            "mode=sequential, the paper's way."
        )
    return None
