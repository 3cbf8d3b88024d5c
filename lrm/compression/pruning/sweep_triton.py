"""One block of columns of SparseGPT as Triton kernels, for GPUs: see
`lrm.compression.pruning.sweep_torch`.

A program holds some problems of a block in its registers while it goes through all columns, so
the block is read and written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from lrm.compression.pruning.masks import Groups

PROBLEMS = 32
"""Problems that a program sweeps: 128 x 32 weights."""

WARPS = 2
"""Warps that hold them. On an H100 one spills registers and takes three times as long."""

STEP = 8
"""Columns that a program looks at together where no groups are given."""

ROWS = 32
"""Rows of a layer that a program counts the scores of."""

DIGIT = 8
"""Bits of a score that one pass of the selection settles: 4 passes settle a float32."""


def segments(sizes: Sequence[int], device: torch.device) -> Tensor:
    """First row, end and layer [3, programs] of what each program counts the scores of."""
    rows = []
    for layer, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True)):
        rows += [(first, end, layer) for first in range(end - size, end, ROWS)]
    return torch.tensor(rows, dtype=torch.int32, device=device).T.contiguous()


def thresholds(part: Tensor, upper: Tensor, ranks: Tensor, segments: Tensor) -> Tensor:
    """As `lrm.compression.pruning.sweep_torch.thresholds`, for all layers and levels at once, by
    radix selection.

    Scores are not negative, so that as float32 they sort like the integers of the same bits.
    """
    columns, levels, _ = part.shape
    left = ranks.clone()
    settled = torch.zeros_like(left)
    width = triton.next_power_of_2(columns)
    passes = left.new_zeros(32 // DIGIT, *left.shape, 2**DIGIT)
    for shift, counts in zip(range(32 - DIGIT, -1, -DIGIT), passes, strict=True):
        _count[segments.shape[1], levels](
            part, part.stride(0), part.stride(1), upper, _level_stride(upper), settled, counts,
            columns, levels, segments, segments.stride(0), shift,
            WIDTH=width, ROWS=ROWS, DIGIT=DIGIT,
        )  # fmt: skip
        _settle[(left.numel(),)](counts, left, settled, shift, BINS=2**DIGIT)
    return settled.view(torch.float32)


def sweep(part: Tensor, upper: Tensor, limits: Tensor | None, groups: Groups | None) -> Tensor:
    """As `lrm.compression.pruning.sweep_torch.sweep`, in float32."""
    errors = torch.empty_like(part)
    columns, levels, rows = part.shape
    step = STEP if groups is None else groups.of
    # Sparsities that share U are one of many rows.
    problems = levels * rows if len(upper) == 1 else rows
    _sweep[triton.cdiv(problems, PROBLEMS), levels * rows // problems](
        part, part.stride(0), upper, part if limits is None else limits, errors,
        columns, problems, STEPS=max(triton.next_power_of_2(columns) // step, 1), STEP=step,
        DROP=0 if groups is None else groups.of - groups.keep, PROBLEMS=PROBLEMS, num_warps=WARPS,
    )  # fmt: skip
    return errors


def _level_stride(upper: Tensor) -> int:
    """How far in memory the U of one level is from the next level's."""
    return upper.stride(0) if len(upper) > 1 else 0


@triton.jit
def _count(
    part: tl.tensor,
    column_stride: tl.tensor,
    level_stride: tl.tensor,
    upper: tl.tensor,
    upper_level_stride: tl.tensor,
    settled: tl.tensor,
    counts: tl.tensor,
    columns: tl.tensor,
    levels: tl.tensor,
    segments: tl.tensor,
    segments_stride: tl.tensor,
    shift: tl.tensor,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    DIGIT: tl.constexpr,
) -> None:
    """Counts the next digits of the scores that begin with the bits settled so far."""
    segment = segments + tl.program_id(0)
    level = tl.program_id(1)
    problem = tl.load(segment + 2 * segments_stride) * levels + level
    column = tl.arange(0, WIDTH)[:, None]
    row = tl.load(segment) + tl.arange(0, ROWS)[None, :]
    inside = (column < columns) & (row < tl.load(segment + segments_stride))
    offset = column * column_stride + level * level_stride + row
    weights = tl.load(part + offset, inside, 0.0)
    factor = upper + level * upper_level_stride
    diagonal = tl.load(factor + column * (columns + 1), column < columns, 1.0)
    bits = tl.abs(weights / diagonal).to(tl.int32, bitcast=True)
    # In two shifts: one by all 32 bits is undefined.
    same = ((bits ^ tl.load(settled + problem)) >> shift) >> DIGIT == 0
    # What does not count goes into a second set of bins, which is dropped.
    digits = tl.where(inside & same, (bits >> shift) & (2**DIGIT - 1), 2**DIGIT)
    histogram = tl.histogram(tl.ravel(digits), 2 * 2**DIGIT)
    bins = tl.arange(0, 2 * 2**DIGIT)
    tl.atomic_add(counts + problem * 2**DIGIT + bins, histogram, bins < 2**DIGIT)


@triton.jit
def _settle(
    counts: tl.tensor, left: tl.tensor, settled: tl.tensor, shift: tl.tensor, BINS: tl.constexpr
) -> None:
    """Finds the digit in which the wanted rank lies, and what is left of the rank inside it."""
    problem = tl.program_id(0)
    upto = tl.cumsum(tl.load(counts + problem * BINS + tl.arange(0, BINS)), 0)
    rank = tl.load(left + problem)
    below = upto <= rank
    digit = tl.sum(below.to(tl.int32), 0)
    tl.store(left + problem, rank - tl.max(tl.where(below, upto, 0), 0))
    tl.store(settled + problem, tl.load(settled + problem) | (digit << shift))


@triton.jit
def _sweep(
    part: tl.tensor,
    stride: tl.tensor,
    upper: tl.tensor,
    limits: tl.tensor,
    errors: tl.tensor,
    columns: tl.tensor,
    problems: tl.tensor,
    STEPS: tl.constexpr,
    STEP: tl.constexpr,
    DROP: tl.constexpr,
    PROBLEMS: tl.constexpr,
) -> None:
    """Sweeps [STEPS, STEP, PROBLEMS] weights, STEP columns after STEP columns.

    The second axis of programs goes over those that have a U of their own, `problems` each.
    """
    place = tl.program_id(0) * PROBLEMS + tl.arange(0, PROBLEMS)
    wanted = place < problems
    problem = tl.program_id(1) * problems + place
    every = tl.num_programs(1) * problems
    factor = upper + tl.program_id(1) * columns * columns
    steps = tl.arange(0, STEPS)[:, None, None]
    near = tl.arange(0, STEP)[:, None]
    column = steps * STEP + tl.arange(0, STEP)[None, :, None]
    inside = (column < columns) & wanted[None, None, :]
    weights = tl.load(part + column * stride + problem[None, None, :], inside, 0.0)
    if DROP == 0:
        limit = tl.load(limits + problem, wanted, 0.0)[None, :]
    for step in range(STEPS):
        at = step * STEP + near
        inside_step = (at < columns) & wanted[None, :]
        address = part + at * stride + problem[None, :]
        diagonal = tl.load(factor + at * (columns + 1), at < columns, 1.0)
        now = tl.sum(tl.where(steps == step, weights, 0.0), 0)
        if DROP == 0:
            pruned = tl.abs(tl.load(address, inside_step, 0.0) / diagonal) <= limit
        else:
            score = tl.abs(now / diagonal)
            first = tl.arange(0, STEP)[None, :, None] < tl.arange(0, STEP)[:, None, None]
            other, own = score[None, :, :], score[:, None, :]
            rank = tl.sum(((other < own) | ((other == own) & first)).to(tl.int32), 1)
            pruned = rank < DROP
        shares = tl.zeros([STEP, PROBLEMS], tl.float32)
        for i in tl.static_range(STEP):
            row = factor + (step * STEP + i) * columns
            valid = step * STEP + i < columns
            share = tl.sum(tl.where((near == i) & pruned, now / diagonal, 0.0), 0)
            now -= tl.load(row + at, (at < columns) & (near > i) & valid, 0.0) * share[None, :]
            beyond = tl.load(row + column, (column < columns) & valid, 0.0)
            weights -= beyond * share[None, None, :]
            shares = tl.where(near == i, share[None, :], shares)
        tl.store(errors + at * every + problem[None, :], shares, inside_step)
        tl.store(address, tl.where(pruned, 0.0, now), inside_step)
