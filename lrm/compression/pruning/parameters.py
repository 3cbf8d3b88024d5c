"""The parameters that all pruners have: refused if they are impossible, and logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from lrm.compression.pruning import masks
from lrm.compression.pruning.masks import UNSTRUCTURED
from lrm.errors import BadInput


class Parameters(Protocol):
    """The fields that all pruners have, and their name and version."""

    name: ClassVar[str]
    version: ClassVar[int]

    @property
    def sparsity(self) -> float: ...

    @property
    def pattern(self) -> str: ...

    @property
    def protect(self) -> Sequence[str]: ...


def check(method: Parameters) -> None:
    """BadInput if no weights can be pruned so."""
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


def params(method: Parameters) -> dict[str, str | int | float]:
    """What decides the weights, as far as all pruners have it."""
    return {
        "method": method.name,
        "method_version": method.version,
        "sparsity": method.sparsity,
        "pattern": method.pattern,
        "protect": "+".join(method.protect),
    }
