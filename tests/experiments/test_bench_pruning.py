"""The benchmark of pruning: what it measures against is right, and it runs to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments import bench_pruning
from experiments.benchmarking import column_loop
from experiments.benchmarking.kernel_checks import problem
from lrm.compression.pruning import sparsegpt


def test_the_column_loop_is_sparsegpt() -> None:
    [layer, _], hessian = problem(40, 300)
    dense = torch.nn.Parameter(layer.clone())
    upper = column_loop.factor(dense, hessian.clone())
    usual = column_loop.prune(dense.data.clone(), upper, 0.6)
    [ours] = sparsegpt.prune([layer], [sparsegpt.factorise(hessian, column_loop.DAMPING)], [0.6])
    assert ((usual == 0) == (ours.levels[0] == 0)).float().mean() >= 0.999
    torch.testing.assert_close(usual, ours.levels[0], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_runs_and_prints_ratios(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = "--rows 2 --row-tokens 64 --levels 0.3,0.6 --blocks 1"
    monkeypatch.setattr(sys, "argv", ["bench_pruning", *flags.split()])
    bench_pruning.main()
    told = capsys.readouterr().out
    assert "torch " in told
    for mode in ("dense", "sequential"):
        assert f"ours, {mode} mode, 2 levels of 42 matrices" in told
        assert f"(scaled from 1 of 6 blocks), against ours in {mode} mode" in told
    assert "each further level costs" in told


def test_kernels_agree_with_the_cpu_path() -> None:
    """Their logic, by Triton's interpreter, where Triton is installed."""
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "experiments.bench_pruning", "--check"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "70 x 128, 4:8: masks equal on" in done.stdout


def test_a_check_that_cannot_run_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("the kernels run here")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert bench_pruning.main(["--check"]) == 2
    assert "--check runs" in capsys.readouterr().err
