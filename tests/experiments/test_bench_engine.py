"""The benchmark of engines runs to its end, on a model and on a shape, and refuses bad flags."""

from __future__ import annotations

import pytest

from experiments.bench_engine import main


@pytest.mark.engine
@pytest.mark.parametrize(
    ("flags", "budgets"),
    [
        (["--model", "tiny-1m"], "16,32,48,64,96,128,192,384"),
        (["--shape", "tiny-5m", "--thinking", "20", "--answer", "4"], "2,5,10,15,20,30,40,54"),
    ],
)
def test_prints_each_cost(
    capsys: pytest.CaptureFixture[str], flags: list[str], budgets: str
) -> None:
    assert main([*flags, "--each", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(flags[1])
    assert lines[1].startswith(f"budget {budgets.rpartition(',')[2]}: ")
    assert lines[2].startswith(f"budgets {budgets}: ")
    assert "times faster" in lines[3]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--shape", "9b"], "There is no shape '9b'"),
        (["--each", "0"], "--each 0 is too few"),
        (["--engine", "transformer"], "did you mean 'transformers'"),
        (["--model", "./x"], "There is no embedded model, file or folder './x'"),
    ],
)
def test_bad_flags_end_in_a_sentence(
    capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    assert main(flags) == 2
    assert sentence in capsys.readouterr().err
