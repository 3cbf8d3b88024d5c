"""Methods side by side: one table, and nothing done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.compare_methods import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.pruning.magnitude import Magnitude
from lrm.compression.quality.fidelity import fidelity
from tests.support.models import SMALLEST


@pytest.mark.engine
def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--model tiny-1m --sparsity 0,0.5 --budget 8 --questions 1 --benchmarks timeline"
    methods = ["--methods", "magnitude", "magnitude:pattern=2:4"]
    assert main([*flags.split(), *methods], root=tmp_path) == 0
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines() if "magnitude" in line]
    assert [row[:2] for row in rows] == [
        [level, method] for level in ("0%", "50%") for method in ("magnitude", methods[2])
    ]
    assert rows[0][2:] == rows[1][2:]
    assert float(rows[2][2]) > float(rows[0][2])
    made = sorted((tmp_path / "mlruns" / "checkpoints").iterdir())
    before = [path.stat().st_mtime_ns for path in made]
    assert main([*flags.split(), *methods], root=tmp_path) == 0
    assert capsys.readouterr().out == told
    assert [path.stat().st_mtime_ns for path in made] == before


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--methods", "sparsegpt:pattern=2:4", "--sparsity", "0.6"]
    assert main(arguments, root=tmp_path) == 2
    assert "give 0.5" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_dense_model_is_faithful_to_itself(tmp_path: Path) -> None:
    dense = open_checkpoint(SMALLEST)
    replies = [("What follows?", [5, 6, 7, 8]), ("And then?", [9, 10])]
    same = fidelity(dense, dense, replies)
    assert same.output_error == 0
    assert len(same.losses) == 2
    sparse = fidelity(dense, Magnitude(0.6).apply(dense, tmp_path / "out"), replies)
    assert 0 < sparse.output_error < 2
    assert sparse.losses != same.losses
