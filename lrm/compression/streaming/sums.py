"""What is summed over the inputs of a layer: X^T X, or its diagonal alone."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

CHUNK_TOKENS = 4096
"""Tokens summed in one product: longer sums lose precision on tensor cores."""

PANEL = 2048
"""Columns of X^T X that one product gives. X^T X is symmetric, so that a panel begins at the
diagonal. (Products of 2,048 columns fill a GPU; narrower ones spare more and take longer.)"""


class Sum(Protocol):
    """A sum over inputs of so many columns, on one device."""

    def __init__(self, columns: int, device: torch.device) -> None: ...

    def add(self, x: Tensor) -> None:
        """Adds inputs [tokens, columns]."""
        ...

    def total(self) -> Tensor:
        """The sum in float32, which takes no inputs from here on."""
        ...


class Gram(Sum):
    """X^T X, [columns, columns]; half-precision inputs on a GPU are not widened."""

    def __init__(self, columns: int, device: torch.device) -> None:
        self._sum = torch.zeros(columns, columns, device=device)

    def add(self, x: Tensor) -> None:
        for chunk in torch.split(x, CHUNK_TOKENS):
            part = chunk if _on_tensor_cores(chunk) else chunk.float()
            for start in range(0, len(self._sum), PANEL):
                # What is left of the panel lies above the diagonal, too.
                panel = self._sum[start : start + PANEL, start:]
                _add_product(panel, part[:, start : start + PANEL].T, part[:, start:])

    def total(self) -> Tensor:
        for start in range(PANEL, len(self._sum), PANEL):
            end = start + PANEL
            self._sum[start:end, :start] = self._sum[:start, start:end].T
        return self._sum


class Squares(Sum):
    """The diagonal of X^T X alone, [columns]."""

    def __init__(self, columns: int, device: torch.device) -> None:
        self._sum = torch.zeros(columns, device=device)

    def add(self, x: Tensor) -> None:
        for chunk in torch.split(x, CHUNK_TOKENS):
            self._sum += chunk.float().square().sum(0)

    def total(self) -> Tensor:
        return self._sum


def gram(x: Tensor) -> Tensor:
    """X^T X of one X."""
    total = Gram(x.shape[1], x.device)
    total.add(x)
    return total.total()


def _on_tensor_cores(x: Tensor) -> bool:
    return x.is_cuda and x.dtype in (torch.bfloat16, torch.float16)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if _on_tensor_cores(left):
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(left, right)
