"""The pruning methods: from a checkpoint to sparser ones, all sparsities from one pass.

Zeros are stored like any other weight: unstructured sparsity makes these checkpoints neither
smaller nor faster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from lrm.compression import hessians, sparsegpt
from lrm.compression.checkpoints import Draft, Weights, architecture, draft
from lrm.errors import BadInput, CompressionFailed
from lrm.records import Calibration, Checkpoint

TOLERANCE = 1e-3
"""How far the sparsity of a saved matrix may lie above the one asked for; never below."""

OnModule = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """One matrix at K sparsities: [K, rows, columns] in the dtype it is stored in.

    `facts` are the K rows of its report. `excess` is the share of zeros that it may have beyond
    what was asked, where sizes or the input leave no choice.
    """

    name: str
    levels: Tensor
    facts: Sequence[dict[str, Any]]
    excess: float


@dataclass(frozen=True)
class SparseGPT:
    """SparseGPT (arXiv 2301.00774): unstructured sparsity in every linear layer of the blocks.

    All Hessians come from the dense model's activations. `damping` is relative to the mean of a
    Hessian's diagonal, `block` counts columns: masks are chosen, and weights made up for, block
    by block.
    """

    name: ClassVar[str] = "sparsegpt"
    version: ClassVar[int] = 2  # rises when the same parameters give other weights

    sparsity: float
    calibration: Calibration
    damping: float = 0.01
    block: int = 128

    def __post_init__(self) -> None:
        _check_sparsity(self.sparsity)
        if not 0 < self.damping < math.inf:
            raise BadInput(f"damping must be more than 0, got {self.damping}; 0.01 is usual.")
        if self.block < 1:
            raise BadInput(f"block must be 1 column or more, got {self.block}; 128 is usual.")
        if not self.calibration.rows or not all(self.calibration.rows):
            raise BadInput("the calibration has no rows or an empty one; give SparseGPT tokens.")

    def params(self) -> Mapping[str, str | int | float]:
        """What decides the weights."""
        return {
            "method": self.name,
            "method_version": self.version,
            "sparsity": self.sparsity,
            "pattern": "unstructured",
            "damping": self.damping,
            "block": self.block,
            "calibration": self.calibration.source,
            "calibration_tokens": self.calibration.tokens,
            "calibration_digest": self.calibration.digest,
        }

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
        return _write(checkpoint, methods, outs, self._pruned, on_module)

    def _pruned(self, source: Weights, sparsities: Sequence[float]) -> Iterator[Pruned]:
        model = _load(source)
        for block in hessians.stream(model, self.calibration.rows):
            for shared in block:
                yield from self._together(shared, source, sparsities)

    def _together(
        self, shared: hessians.Shared, source: Weights, sparsities: Sequence[float]
    ) -> Iterator[Pruned]:
        """Layers that read the same input, as one tall problem."""
        began = time.perf_counter()
        weights = [layer.weight.detach() for layer in shared.layers.values()]
        try:
            factor = sparsegpt.factorise(shared.hessian, self.damping)
        except CompressionFailed as error:
            raise CompressionFailed(f"{', '.join(shared.layers)}: {error}") from error
        tall = sparsegpt.prune(weights, factor, sparsities, self.block)
        stored = [
            levels.to(source.dtype(f"{name}.weight"), memory_format=torch.contiguous_format)
            for name, levels in zip(shared.layers, tall, strict=True)
        ]
        errors = [
            sparsegpt.relative_error(dense, levels.float(), shared.hessian).tolist()
            for dense, levels in zip(weights, stored, strict=True)
        ]
        seconds = (time.perf_counter() - began) / sum(map(len, weights))
        for name, dense, levels, lost in zip(shared.layers, weights, stored, errors, strict=True):
            common = {
                "damping": factor.damping,
                "damping_raised": factor.damping > self.damping,
                "seconds_all_levels": seconds * len(dense),
            }
            given = factor.dead.expand_as(dense) | (dense == 0)
            blocks = math.ceil(dense.shape[1] / self.block)
            yield Pruned(
                f"{name}.weight",
                levels,
                [{"error": error, **common} for error in lost],
                excess=float(given.float().mean()) + blocks / dense.numel(),
            )


@dataclass(frozen=True)
class Magnitude:
    """The baseline: each matrix of the blocks loses its smallest weights, the rest stay."""

    name: ClassVar[str] = "magnitude"
    version: ClassVar[int] = 2  # rises when the same parameters give other weights

    sparsity: float

    def __post_init__(self) -> None:
        _check_sparsity(self.sparsity)

    def params(self) -> Mapping[str, str | int | float]:
        """What decides the weights."""
        return {
            "method": self.name,
            "method_version": self.version,
            "sparsity": self.sparsity,
            "pattern": "unstructured",
        }

    def apply(self, checkpoint: Checkpoint, out: Path) -> Checkpoint:
        """See `lrm.contracts.Method`."""
        return self.apply_levels(checkpoint, {self.sparsity: out})[self.sparsity]

    def apply_levels(
        self, checkpoint: Checkpoint, outs: Mapping[float, Path], on_module: OnModule | None = None
    ) -> dict[float, Checkpoint]:
        """One checkpoint per sparsity; `on_module(done, total)` is called after each matrix."""
        methods = {sparsity: replace(self, sparsity=sparsity) for sparsity in outs}
        return _write(checkpoint, methods, outs, self._pruned, on_module)

    @staticmethod
    def _pruned(source: Weights, sparsities: Sequence[float]) -> Iterator[Pruned]:
        for name in source.linears():
            dense = source.read(name).to(source.dtype(name))
            order = dense.float().abs().flatten().argsort(stable=True)
            levels = dense.flatten().repeat(len(sparsities), 1)
            for level, sparsity in zip(levels, sparsities, strict=True):
                level[order[: int(dense.numel() * sparsity) + 1]] = 0
            zeros = 1 - int(dense.count_nonzero()) / dense.numel()
            yield Pruned(
                name,
                levels.view(-1, *dense.shape),
                [{}] * len(sparsities),
                excess=zeros + 1 / dense.numel(),
            )


def _write(
    checkpoint: Checkpoint,
    methods: Mapping[float, SparseGPT | Magnitude],
    outs: Mapping[float, Path],
    make: Callable[[Weights, Sequence[float]], Iterator[Pruned]],
    on_module: OnModule | None,
) -> dict[float, Checkpoint]:
    """Writes each level as its matrices come; a level of 0 stays a copy, bit for bit."""
    if checkpoint.format != "dense":
        raise BadInput(
            f"{checkpoint.path} is stored as {checkpoint.format}; only dense weights are pruned."
        )
    source = Weights(checkpoint.path)
    total = len(source.linears())
    if not total:
        kind = architecture(checkpoint.path)
        raise BadInput(f"{kind} cannot be pruned: it has no linear layers in blocks named layers.")
    asked = [sparsity for sparsity in outs if sparsity > 0]
    with ExitStack() as stack:
        drafts = {level: stack.enter_context(draft(checkpoint, outs[level])) for level in outs}
        reports: dict[float, list[Mapping[str, Any]]] = {level: [] for level in outs}
        for done, matrix in enumerate(make(source, asked) if asked else (), 1):
            for level, weight, facts in zip(asked, matrix.levels, matrix.facts, strict=True):
                achieved = _saved(drafts[level], matrix, weight, level)
                row = {"module": matrix.name, "sparsity": level, "sparsity_achieved": achieved}
                reports[level].append(row | facts)
            if on_module:
                on_module(done, total)
        return {
            level: drafts[level].publish(
                {
                    "method": methods[level].name,
                    "params": dict(methods[level].params()),
                    "modules": reports[level],
                }
            )
            for level in outs
        }


def _saved(target: Draft, matrix: Pruned, weight: Tensor, asked: float) -> float:
    """Writes a matrix, reads it back, and returns its sparsity if it is the one asked for."""
    if not weight.isfinite().all():
        raise CompressionFailed(f"{matrix.name} at sparsity {asked:g} is not finite.")
    target.weights.overwrite(matrix.name, weight)
    saved = target.weights.read(matrix.name)
    achieved = 1 - int(saved.count_nonzero()) / saved.numel()
    if not asked - 1e-9 <= achieved <= asked + matrix.excess + TOLERANCE:
        raise CompressionFailed(
            f"{matrix.name} was to have sparsity {asked:g} and has {achieved:.4f}."
        )
    return achieved


def _load(source: Weights) -> nn.Module:
    """The model in float32, on a GPU if there is one.

    BadInput if it cannot be loaded, or if what would be pruned is not what is stored.
    """
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(f"{source.folder} cannot be loaded, save it again: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    loaded = {f"{name}.weight" for name in hessians.linears_of(model)}
    strange = sorted(loaded.symmetric_difference(source.linears()) | set(info["missing_keys"]))
    if strange:
        raise BadInput(
            f"{type(model).__name__} in {source.folder} cannot be pruned: {strange[0]} is not both "
            "in the files and a linear layer of the model."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded_model: nn.Module = model.to(device).eval()
    return loaded_model


def _check_sparsity(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise BadInput(f"sparsity must lie in [0, 1), got {sparsity}; 0 is dense, 0.5 is half.")
