"""Perplexity on running text: as transformers itself has it, and as the literature cuts it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from experiments.search.text_quality import TextQualityMeter
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.pruning.magnitude import Magnitude
from lrm.compression.quality.windows import (
    divergence,
    logits_of,
    perplexity_of_rows,
    windows,
)
from lrm.errors import CompressionFailed
from lrm.generation.running_text import C4, WIKITEXT, WIKITEXT_VALID, running_texts
from lrm.records.model import Calibration
from tests.support.models import SMALLEST

ROWS = [[(7 * i + j) % 500 for i in range(64)] for j in range(3)]


def test_windows_do_not_overlap_and_are_full() -> None:
    assert windows(range(10), 4) == [range(4), range(4, 8)]
    assert windows(range(10), 4, most=1) == [range(4)]
    assert windows(range(3), 4) == []


def test_it_is_what_transformers_has() -> None:
    model = AutoModelForCausalLM.from_pretrained(SMALLEST, dtype=torch.float32)
    with torch.no_grad():
        losses = [
            float(model(torch.tensor([row]), labels=torch.tensor([row])).loss) for row in ROWS
        ]
    expected = math.exp(sum(losses) / len(losses))
    assert perplexity_of_rows(logits_of(SMALLEST), ROWS) == pytest.approx(expected, rel=1e-4)


def test_a_model_is_as_near_to_itself_as_can_be(tmp_path: Path) -> None:
    dense = logits_of(SMALLEST)
    same = divergence(dense, dense, ROWS)
    assert (same.kl, same.agreement) == (pytest.approx(0, abs=1e-6), 1)
    pruned = Magnitude(0.7).apply(open_checkpoint(SMALLEST), tmp_path / "out")
    apart = divergence(dense, logits_of(pruned.path), ROWS)
    assert apart.kl > 0.01
    assert apart.agreement < 1
    before, after = (
        torch.log_softmax(next(iter(read(ROWS[:1]))), -1)
        for read in (dense, logits_of(pruned.path))
    )
    by_hand = float((before.exp() * (before - after)).sum(-1).mean())
    assert divergence(dense, logits_of(pruned.path), ROWS[:1]).kl == pytest.approx(
        by_hand, rel=1e-3
    )


def test_what_is_not_finite_is_a_sentence() -> None:
    def broken(rows: object) -> list[torch.Tensor]:
        return [torch.full((64, 500), math.nan) for _ in ROWS]

    with pytest.raises(CompressionFailed, match="not finite"):
        perplexity_of_rows(broken, ROWS)
    with pytest.raises(CompressionFailed, match="not finite"):
        divergence(broken, broken, ROWS)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    for text, line in ((WIKITEXT, "Ann met Bob. "), (C4, "All cats purr. ")):
        file = folder / text.source.file
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = ["", *(line * 20 for _ in range(200))]
        file.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    monkeypatch.setenv("LRM_DATA", str(folder))
    return folder


def test_the_texts_are_joined_as_the_literature_does(texts: Path) -> None:
    assert running_texts() == [WIKITEXT, C4]
    assert WIKITEXT.read().startswith("\n\nAnn met Bob. ")
    assert C4.read().count("\n") == 0
    (texts / WIKITEXT.source.file).unlink()
    assert running_texts() == [WIKITEXT, C4]
    (texts / WIKITEXT_VALID.source.file).write_text('{"text": "An other text ."}\n')
    assert running_texts() == [WIKITEXT_VALID, C4]


def test_a_level_is_measured_once(texts: Path, tmp_path: Path) -> None:
    dense = open_checkpoint(SMALLEST)
    pruned = Magnitude(0.5).apply(dense, tmp_path / "out")
    loaded: list[int] = []
    meter = TextQualityMeter(tmp_path / "kept", dense, lambda: loaded.append(1), most=2)
    held_out = Calibration("rows", (), tuple(map(tuple, ROWS)))
    quality = meter.measured(pruned, held_out)
    assert set(quality.metrics) == {
        "perplexity/wikitext2", "perplexity/c4", "held_out/kl", "held_out/agreement",
    }  # fmt: skip
    window = quality.params["perplexity_window"]
    assert quality.params["perplexity_tokens/wikitext2"] == 2 * int(str(window))
    assert meter.measured(pruned, held_out) == quality
    assert len(loaded) == 1
    assert meter.measured(dense, None).metrics.keys() == {"perplexity/wikitext2", "perplexity/c4"}


def test_a_text_that_is_not_there_is_one_sentence(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (texts / C4.source.file).unlink()
    dense = open_checkpoint(SMALLEST)
    meter = TextQualityMeter(tmp_path / "kept", dense, lambda: None, most=1)
    assert set(meter.measured(dense, None).metrics) == {"perplexity/wikitext2"}
    meter.measured(dense, None)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("Perplexity on c4 is not measured: cannot read ")
    assert "LRM_DATA" in line
