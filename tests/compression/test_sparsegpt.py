"""The algorithm against the paper's, written out plainly, and its promises at the edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lrm.compression.pruning.masks import Groups, lowest_in_all
from lrm.compression.pruning.sparsegpt import (
    MOST_DAMPING,
    factorise,
    power,
    prune,
    relative_error,
)
from lrm.compression.pruning.sweep_torch import thresholds
from lrm.errors import CompressionFailed

SHAPES = [(1, 130), (1, 1), (3, 5), (96, 128), (33, 200), (64, 300)]


def pruned(
    weights: list[Tensor], hessian: Tensor, levels: list[float], **options: Any
) -> list[Tensor]:
    """Each layer at the levels, from its Hessian, with damping 0.01."""
    found = prune(weights, [factorise(hessian, 0.01)], levels, **options)
    return [solution.levels for solution in found]


def problem(
    rows: int, columns: int, seed: int = 0, rank: int | None = None
) -> tuple[Tensor, Tensor]:
    """Weights and a Hessian of correlated inputs, in float64."""
    source = torch.Generator().manual_seed(seed)
    rank = rank or 2 * columns
    inputs = torch.randn(rank, columns, generator=source, dtype=torch.float64)
    inputs = inputs @ torch.randn(columns, columns, generator=source, dtype=torch.float64)
    weights = torch.randn(rows, columns, generator=source, dtype=torch.float64)
    return weights, 2 * inputs.T @ inputs / rank


def by_the_paper(
    weights: Tensor,
    hessian: Tensor,
    sparsity: float,
    damping: float = 0.01,
    block: int = 128,
    groups: int | None = None,
) -> Tensor:
    """Algorithm 1 of arXiv 2301.00774 entry by entry, with the explicit inverse.

    With `groups` columns in each, N:M: Bs is their size.
    """
    w, h = weights.clone(), hessian.clone()
    for c in range(w.shape[1]):
        if h[c, c] == 0:
            h[c, c] = 1
            w[:, c] = 0
    h += damping * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)
    u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    for i in range(0, w.shape[1], block):
        end = min(i + block, w.shape[1])
        errors = torch.zeros_like(w[:, i:end])
        scores = w[:, i:end] ** 2 / torch.diag(u)[i:end] ** 2
        ordered = sorted(scores.flatten().tolist())
        mask = scores <= ordered[int(len(ordered) * sparsity)]
        for j in range(i, end):
            if groups and j % groups == 0:
                near = slice(j - i, j - i + groups)
                scores = w[:, j : j + groups].abs() / torch.diag(u)[j : j + groups]
                mask[:, near] = False
                for row, order in enumerate(scores.argsort(1).tolist()):
                    mask[row, [j - i + at for at in order[: round(groups * sparsity)]]] = True
            errors[:, j - i] = torch.where(mask[:, j - i], w[:, j] / u[j, j], 0.0)
            for later in range(j, end):
                w[:, later] -= errors[:, j - i] * u[j, later]
            w[mask[:, j - i], j] = 0
        w[:, end:] -= errors @ u[i:end, end:]
    return w


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
def test_equals_the_paper(shape: tuple[int, int], sparsity: float) -> None:
    weights, hessian = problem(*shape)
    expected = by_the_paper(weights, hessian, sparsity)
    [exact] = pruned([weights], hessian, [sparsity])
    assert torch.equal(exact[0] == 0, expected == 0)
    torch.testing.assert_close(exact[0], expected, rtol=1e-8, atol=1e-8)

    [single] = pruned([weights.float()], hessian.float(), [sparsity])
    same = (single[0] == 0) == (expected == 0)
    assert same.float().mean() >= 0.999
    away = (single[0] - expected)[same].norm() / weights.norm()
    assert away < 1e-4


@pytest.mark.parametrize("block", [1, 7, 128, 1000])
def test_block_size_is_the_papers(block: int) -> None:
    weights, hessian = problem(16, 150)
    [found] = pruned([weights], hessian, [0.6], block=block)
    torch.testing.assert_close(found[0], by_the_paper(weights, hessian, 0.6, block=block))


def test_levels_and_layers_together_equal_each_alone() -> None:
    first, hessian = problem(40, 200)
    second = problem(7, 200, seed=1)[0]
    levels = [0.3, 0.8, 0.5]
    together = pruned([first, second], hessian, levels)
    for weights, found in zip([first, second], together, strict=True):
        assert found.shape == (3, *weights.shape)
        for level, one in zip(levels, found, strict=True):
            [alone] = pruned([weights], hessian, [level])
            assert torch.equal(one == 0, alone[0] == 0)
            torch.testing.assert_close(one, alone[0])


@pytest.mark.parametrize("sparsity", [0.001, 1 / 3, 0.7, 0.999])
def test_each_block_loses_what_the_threshold_says(sparsity: float) -> None:
    weights, hessian = problem(50, 256)
    [found] = pruned([weights], hessian, [sparsity])
    for part in found[0].split(128, dim=1):
        assert int((part == 0).sum()) == int(part.numel() * sparsity) + 1


def test_ties_at_the_threshold_go_with_it() -> None:
    scores = torch.tensor([[[3.0, 1.0]], [[2.0, 2.0]]])
    for rank, gone in ((1, [[False, True], [True, True]]), (0, [[False, True], [False, False]])):
        [[limit]] = thresholds(
            scores, torch.eye(2)[None], torch.tensor([[rank]]), torch.tensor([2])
        )
        assert (scores[:, 0] <= limit).tolist() == gone
    [found] = pruned([torch.tensor([[3.0, 2.0], [1.0, 2.0]])], torch.eye(2), [1 - 1e-16])
    assert not found.any()


def test_dead_columns_are_emptied_and_move_nothing() -> None:
    weights, hessian = problem(20, 140)
    dead = [0, 5, 139]
    hessian[dead] = 0
    hessian[:, dead] = 0
    assert factorise(hessian, 0.01).dead.nonzero().flatten().tolist() == dead
    [found] = pruned([weights], hessian, [0.5])
    assert not found[0][:, dead].any()
    torch.testing.assert_close(found[0], by_the_paper(weights, hessian, 0.5))


def test_input_that_never_came_empties_the_layer() -> None:
    weights, hessian = problem(4, 6)[0], torch.zeros(6, 6, dtype=torch.float64)
    [found] = prune([weights], [factorise(hessian, 0.01)], [0.5])
    assert not found.levels.any()
    assert found.lost.tolist() == [0]
    assert relative_error(weights, found.levels, hessian).tolist() == [0]


def test_damping_rises_when_the_input_is_rank_deficient() -> None:
    weights, hessian = problem(20, 128, rank=3)
    factor = factorise(hessian.float(), 1e-12)
    assert 1e-12 < factor.damping < MOST_DAMPING
    [found] = prune([weights.float()], [factor], [0.5])
    assert found.levels.isfinite().all()
    assert factorise(hessian.float(), 0.01).damping == 0.01


@pytest.mark.parametrize("shape", [(1, 130), (40, 200), (7, 129)], ids=str)
@pytest.mark.parametrize("groups", [None, 4], ids=["unstructured", "2:4"])
def test_float32_equals_the_paper_in_float64(shape: tuple[int, int], groups: int | None) -> None:
    """Dead columns and fewer inputs than columns included."""
    rows, columns = shape
    if groups and columns % groups:
        columns += groups - columns % groups
    weights, hessian = problem(rows, columns, rank=columns // 2)
    dead = [0, 7, columns - 1]
    hessian[dead] = hessian[:, dead] = 0
    expected = by_the_paper(weights, hessian, 0.5, groups=groups)
    of = Groups(2, groups) if groups else None
    [found] = pruned([weights.float()], hessian.float(), [0.5], groups=of)
    same = (found[0] == 0) == (expected == 0)
    assert same.float().mean() >= 0.999
    assert (found[0] - expected)[same].norm() <= 1e-4 * expected.norm()
    assert found.isfinite().all()


def test_what_no_damping_mends_fails() -> None:
    with pytest.raises(CompressionFailed, match="no Cholesky factor even with damping"):
        factorise(torch.tensor([[1.0, 10.0], [10.0, 1.0]]), 0.01)
    with pytest.raises(CompressionFailed, match="not finite"):
        factorise(torch.full((2, 2), float("nan")), 0.01)


def test_error_is_that_of_the_outputs() -> None:
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 30, generator=source, dtype=torch.float64)
    dense = torch.randn(8, 30, generator=source, dtype=torch.float64)
    levels = dense * (torch.rand(2, 8, 30, generator=source) > 0.5)
    found = relative_error(dense, levels, 2 * inputs.T @ inputs / len(inputs))
    for error, weights in zip(found, levels, strict=True):
        lost = ((dense - weights) @ inputs.T).square().sum() / (dense @ inputs.T).square().sum()
        torch.testing.assert_close(error, lost)


def test_loses_less_than_magnitude() -> None:
    weights, hessian = problem(64, 200)
    magnitude = weights.masked_fill(lowest_in_all(weights.abs(), 0.5), 0)
    [found] = pruned([weights], hessian, [0.5])
    ours, theirs = relative_error(weights, torch.stack([found[0], magnitude]), hessian)
    assert ours < 0.8 * theirs


@pytest.mark.parametrize("rank", [None, 40])
def test_what_is_lost_comes_out_of_the_sweep(rank: int | None) -> None:
    weights, hessian = problem(33, 200, rank=rank)
    hessian[[3, 150]] = hessian[:, [3, 150]] = 0
    levels = [0.2, 0.5, 0.9]
    solutions = prune([weights, 2 * weights[:5]], [factorise(hessian, 0.01)], levels)
    for dense, found in zip([weights, 2 * weights[:5]], solutions, strict=True):
        error = found.lost / power(dense.T @ dense, hessian)
        torch.testing.assert_close(error, relative_error(dense, found.levels, hessian))


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_groups_are_exact_and_as_in_the_paper(pattern: str) -> None:
    keep, of = map(int, pattern.split(":"))
    weights, hessian = problem(33, 208)
    [found] = pruned([weights], hessian, [1 - keep / of], groups=Groups(keep, of))
    kept = (found[0] != 0).unflatten(1, (-1, of)).sum(2)
    assert (kept == keep).all()
    expected = by_the_paper(weights, hessian, 1 - keep / of, groups=of)
    torch.testing.assert_close(found[0], expected)
