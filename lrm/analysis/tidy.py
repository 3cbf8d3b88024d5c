"""Settings and replies as tidy tables, for people who draw their own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from lrm.analysis.lengths import endings
from lrm.analysis.variant import Variant
from lrm.records.point import Interval
from lrm.scoring.grid import Grid
from lrm.scoring.scores import accuracy, tokens

Cell = str | float | None
Column = NDArray[np.generic]


def settings(variants: Sequence[Variant]) -> list[dict[str, Cell]]:
    """One flat record for each variant, benchmark and budget (null: no budget set)."""
    return [
        _named(variant, benchmark, budget) | _numbers(grid)
        for variant in variants
        for benchmark, grids in variant.grids.items()
        for budget, grid in grids.items()
    ]


def replies(variants: Sequence[Variant]) -> dict[str, Column]:
    """Columns of equal length, one row for each question, sample, variant and budget.

    `pandas.DataFrame(replies(...))` is the table. `budget` is NaN where none was set.
    """
    parts: dict[str, list[Column]] = {}
    for variant in variants:
        for benchmark, grids in variant.grids.items():
            for budget, grid in grids.items():
                for name, column in _columns(variant, benchmark, budget, grid).items():
                    parts.setdefault(name, []).append(column)
    return {name: np.concatenate(columns) for name, columns in parts.items()}


def _named(variant: Variant, benchmark: str, budget: int | None) -> dict[str, Cell]:
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


def _numbers(grid: Grid) -> dict[str, Cell]:
    correct, length, shares = accuracy(grid), tokens(grid), endings(grid)
    numbers: dict[str, Cell] = {
        "questions": len(grid.questions),
        "replies": grid.replies,
        "accuracy": correct.value,
        "accuracy_low": correct.shown[0],
        "accuracy_high": correct.shown[1],
        "tokens": length.value,
        "tokens_low": length.shown[0],
        "tokens_high": length.shown[1],
        "thinking": float(grid.per_question(grid.thinking).mean()),
    }
    for item in fields(shares):
        share: Interval = getattr(shares, item.name)
        numbers |= {
            item.name: share.value,
            f"{item.name}_low": share.shown[0],
            f"{item.name}_high": share.shown[1],
        }
    return numbers


def _columns(variant: Variant, benchmark: str, budget: int | None, grid: Grid) -> dict[str, Column]:
    question, sample = np.nonzero(grid.present)
    facts = {
        "variant": variant.name,
        "run_id": variant.run_id,
        "benchmark": benchmark,
        "budget": np.nan if budget is None else float(budget),
    }
    columns: dict[str, Column] = {
        name: np.full(len(question), value) for name, value in facts.items()
    }
    columns["question"] = np.array(grid.questions)[question]
    columns["group"] = np.array(grid.groups)[question]
    columns["sample"] = sample
    for item in fields(grid)[2:]:
        columns[item.name] = getattr(grid, item.name)[question, sample]
    columns["score"] = columns["score"].astype(np.float32)  # as these tables always had it
    return columns
