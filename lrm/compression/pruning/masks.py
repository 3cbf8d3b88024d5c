"""Which weights may be pruned: any ("unstructured"), or a fixed number in every group (N:M)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from lrm.errors import BadInput

UNSTRUCTURED = "unstructured"


@dataclass(frozen=True, slots=True)
class Groups:
    """N:M: of every `of` consecutive columns of a row, `keep` stay."""

    keep: int
    of: int

    @property
    def sparsity(self) -> float:
        return 1 - self.keep / self.of

    def check_columns(self, columns: int, name: str) -> None:
        """BadInput if a matrix of so many columns has no whole groups."""
        if columns % self.of:
            raise BadInput(
                f"{name} has {columns} columns, which {self.keep}:{self.of} does not divide: "
                f"protect it, or give pattern={UNSTRUCTURED}."
            )


def parse(pattern: str, sparsity: float) -> Groups | None:
    """Groups for "N:M", None for "unstructured"; BadInput if `sparsity` is not the pattern's."""
    if pattern == UNSTRUCTURED:
        return None
    numbers = re.fullmatch(r"(\d+):(\d+)", pattern)
    keep, of = map(int, numbers.groups()) if numbers else (0, 0)
    if not 0 < keep < of or of & (of - 1) or of > 16:
        raise BadInput(
            f"pattern {pattern!r} is unknown: give {UNSTRUCTURED}, or N:M with N < M and M a power "
            "of 2 up to 16, such as 2:4 or 4:8."
        )
    groups = Groups(keep, of)
    if sparsity and sparsity != groups.sparsity:
        raise BadInput(
            f"sparsity {sparsity:g} is impossible with pattern {pattern}, which keeps {keep} of "
            f"{of}: give {groups.sparsity:g} (or 0, the dense model)."
        )
    return groups


def lowest_in_groups(scores: Tensor, groups: Groups) -> Tensor:
    """Mask of what is pruned from [..., columns]: in each group the lowest scores, of equal ones
    the first."""
    parts = scores.view(*scores.shape[:-1], -1, groups.of)
    drop = parts.argsort(stable=True, dim=-1)[..., : groups.of - groups.keep]
    return torch.zeros_like(parts, dtype=torch.bool).scatter_(-1, drop, True).flatten(-2)


def lowest_in_all(scores: Tensor, sparsity: float) -> Tensor:
    """Mask of the int(numel x sparsity) + 1 lowest scores of a whole matrix, ties by position."""
    order = scores.flatten().argsort(stable=True)
    mask = torch.zeros_like(order, dtype=torch.bool)
    mask[order[: int(scores.numel() * sparsity) + 1]] = True
    return mask.view_as(scores)


def lowest_in_rows(scores: Tensor, sparsity: float) -> Tensor:
    """Mask of the lowest scores of each row of [rows, columns], ties by position.

    A row loses columns x sparsity rounded down or up, such that the rows together lose
    int(numel x sparsity) + 1.
    """
    rows = len(scores)
    total = int(scores.numel() * sparsity) + 1
    ends = torch.arange(1, rows + 1, device=scores.device) * total // rows
    counts = ends.diff(prepend=ends.new_zeros(1))
    ranks = scores.argsort(stable=True, dim=1).argsort(1)
    return ranks < counts[:, None]


def zeros(matrix: Tensor) -> float:
    """The share of a matrix's values that are zero."""
    return 1 - int(matrix.count_nonzero()) / matrix.numel()
