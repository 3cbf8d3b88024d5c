"""The same data as tidy tables, for people who draw their own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrm.analysis.compare import accuracy, tokens
from lrm.analysis.lengths import endings
from lrm.analysis.variant import Variant
from lrm.scoring.grid import Grid


def settings(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """One flat record for each variant, benchmark and budget (null: no budget set)."""
    return [
        _named(variant, benchmark, budget) | _numbers(grid)
        for variant in variants
        for benchmark, grids in variant.grids.items()
        for budget, grid in grids.items()
    ]


def replies(variants: Sequence[Variant]) -> dict[str, NDArray[Any]]:
    """Columns of equal length, one row for each question, sample, variant and budget.

    `pandas.DataFrame(replies(...))` is the table. `budget` is NaN where none was set.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    for variant in variants:
        for benchmark, grids in variant.grids.items():
            for budget, grid in grids.items():
                for name, column in _columns(variant, benchmark, budget, grid).items():
                    parts.setdefault(name, []).append(column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def _named(variant: Variant, benchmark: str, budget: int | None) -> dict[str, Any]:
    return {
        "variant": variant.name,
        "run_id": variant.run_id,
        "model": variant.model,
        "method": variant.method,
        "sparsity": variant.sparsity,
        "bits": variant.bits,
        "bytes": variant.bytes,
        "packed_bytes": variant.packed_bytes,
        "unit": variant.unit,
        "benchmark": benchmark,
        "budget": budget,
    }


def _numbers(grid: Grid) -> dict[str, Any]:
    right, length, shares = accuracy(grid), tokens(grid), endings(grid)
    numbers: dict[str, Any] = {
        "questions": len(grid.questions),
        "replies": grid.replies,
        "accuracy": right.value,
        "accuracy_low": right.low,
        "accuracy_high": right.high,
        "tokens": length.value,
        "tokens_low": length.low,
        "tokens_high": length.high,
        "thinking": float(grid.per_question(grid.thinking).mean()),
    }
    for each in fields(shares):
        found = getattr(shares, each.name)
        numbers |= {
            each.name: found.value,
            f"{each.name}_low": found.low,
            f"{each.name}_high": found.high,
        }
    return numbers


def _columns(
    variant: Variant, benchmark: str, budget: int | None, grid: Grid
) -> dict[str, NDArray[Any]]:
    question, sample = np.nonzero(grid.present)
    told = {
        "variant": variant.name,
        "run_id": variant.run_id,
        "benchmark": benchmark,
        "budget": np.nan if budget is None else float(budget),
    }
    columns: dict[str, NDArray[Any]] = {
        name: np.full(len(question), value) for name, value in told.items()
    }
    columns["question"] = np.array(grid.questions)[question]
    columns["group"] = np.array(grid.groups)[question]
    columns["sample"] = sample
    for each in fields(grid)[2:]:
        columns[each.name] = getattr(grid, each.name)[question, sample]
    return columns
