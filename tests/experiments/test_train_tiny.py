"""The command that trains an embedded model: its card, and its refusals."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from experiments.models.resolve import EMBEDDED
from experiments.train_tiny import main
from lrm.tiny import card


@pytest.mark.engine
def test_a_model_is_scored_and_its_card_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the embedded model's own card, but for the scores and their date."""
    monkeypatch.setattr(card, "QUESTIONS", 2)
    shutil.copytree(EMBEDDED / "tiny-1m", tmp_path / "tiny-1m")
    written = tmp_path / "tiny-1m" / "README.md"
    written.unlink()
    assert main(["--model", "tiny-1m", "--score-only", "--out", str(tmp_path)]) == 0
    assert "its README.md says how well" in capsys.readouterr().out
    scores = re.findall(r"^\| (\w+) \| .* \| 2 \| [\d.]+% \|$", written.read_text(), re.M)
    assert scores == list(card.TASKS)
    ours, theirs = (
        re.sub(r"\), \d{4}-\d\d-\d\d:\n.*", "", path.read_text(), flags=re.S)
        for path in (written, EMBEDDED / "tiny-1m" / "README.md")
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model", "tiny-9m"], "There is no embedded model 'tiny-9m'"),
        (["--score-only"], "is not there: leave out --score-only"),
        (["--workers", "-1"], "--workers -1 is negative"),
    ],
)
def test_bad_flags_end_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    assert main([*flags, "--out", str(tmp_path)]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
