"""What models are calibrated on: plain text cut into rows."""

import json
from pathlib import Path

import pytest

from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.errors import BadInput
from lrm.generation.calibration import ROW_TOKENS, TEXTS, plain_text
from tests.support.models import SMALLEST


@pytest.mark.parametrize("name", TEXTS)
def test_text_fills_rows_and_blank_lines_are_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, source = TEXTS[name]
    file = tmp_path / source.file
    file.parent.mkdir()
    lines = ["", *(f"Ann met Bob at place {number}.\n" for number in range(200))]
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    monkeypatch.setenv("LRM_DATA", str(tmp_path))
    model = open_checkpoint(SMALLEST)
    found = plain_text(model, name)
    assert found.rows
    assert {len(row) for row in found.rows} == {ROW_TOKENS}
    file.write_text(json.dumps({"text": "too short"}))
    with pytest.raises(BadInput, match="at least 512 are needed"):
        plain_text(model, name)
