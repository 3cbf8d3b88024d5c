"""What models are calibrated on: texts, prompts and replies, cut into rows."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.calibration_source import CalibrationSource, parse_source
from experiments.cli.method_choice import parse_method
from experiments.cli.settings import Settings
from experiments.models.resolve import Model, open_model
from experiments.search.calibrating import Calibrating
from experiments.search.job import prepare, sparsity_axis
from lrm import registry
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.errors import BadInput
from lrm.generation.calibration import (
    EMBEDDED,
    HELD_OUT,
    TEXTS,
    Size,
    of_practice,
    own_reasoning,
    plain_text,
    prompts_alone,
    size_of,
)
from lrm.generation.reply_cache import ReplyCache
from lrm.records.reply import Decoding
from tests.support.models import SMALLEST, copied
from tests.support.scripted_engine import ScriptedEngine

DECODING = Decoding(max_tokens=64, answer_tokens=8)


def lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("name", TEXTS)
def test_text_fills_rows_and_blank_lines_are_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, source = TEXTS[name]
    file = tmp_path / source.file
    file.parent.mkdir()
    sentences = ["", *(f"Ann met Bob at place {number}.\n" for number in range(200))]
    lines(file, *({"text": sentence} for sentence in sentences))
    monkeypatch.setenv("LRM_DATA", str(tmp_path))
    model, size = open_checkpoint(SMALLEST), Size(*EMBEDDED)
    made = plain_text(model, size, name)
    assert made.rows
    assert {len(row) for row in made.rows} == {size.row_tokens}
    lines(file, {"text": "too short"})
    with pytest.raises(BadInput, match="at least 512 are needed: give more, or a smaller row_"):
        plain_text(model, size, name)


def test_the_size_follows_the_model(tmp_path: Path) -> None:
    small = open_checkpoint(SMALLEST)
    assert size_of(small, embedded=True) == Size(64, 512)
    assert size_of(small, embedded=True, rows=3, row_tokens=16) == Size(3, 16)
    reads = json.loads((SMALLEST / "config.json").read_text())["max_position_embeddings"]
    widest = json.loads((SMALLEST / "config.json").read_text())["intermediate_size"]
    length = min(2048, reads)
    assert size_of(small, embedded=False) == Size(-(-18 * widest // length), length, HELD_OUT)
    wide = copied(tmp_path / "wide", intermediate_size=14336)
    real = type(small)(wide, "r")
    assert size_of(real, embedded=False).rows == min(128, -(-18 * 14336 // length))
    with pytest.raises(BadInput, match=f"row_tokens=99999 is more than the {reads} tokens"):
        size_of(small, embedded=True, row_tokens=99999)


def test_rows_behind_the_others_are_held_out() -> None:
    model = open_checkpoint(SMALLEST)
    twins = [registry.benchmark(name) for name in ("deduction", "timeline")]
    asked = of_practice(twins, DECODING)
    some = prompts_alone(model, Size(4, 32, 2), asked)
    more = prompts_alone(model, Size(6, 32), asked)
    assert (*some.rows, *some.held_out) == more.rows
    assert (len(some.rows), len(some.held_out), more.held_out) == (4, 2, ())
    assert some.digest == prompts_alone(model, Size(4, 32), asked).digest


def test_no_more_replies_are_asked_than_are_needed(tmp_path: Path) -> None:
    twins = [registry.benchmark(name) for name in ("deduction", "timeline")]
    asked = of_practice(twins, DECODING)
    model = open_checkpoint(SMALLEST)
    with ReplyCache(tmp_path, model, DECODING, "scripted") as cache:
        made = own_reasoning(
            model,
            Size(2, 32),
            asked,
            DECODING,
            cache,
            ScriptedEngine(lambda prompt: "So.</think>So."),
            lambda tokens: None,
        )
        assert cache.decoded == 32 < len(asked.prompts)
    assert len(made.rows) == 2


def calibrating(model: Model, names: Sequence[str], count: int, track: str = "paper") -> Any:
    asked = {registry.benchmark(name): registry.benchmark(name).load(count) for name in names}
    return Calibrating(model, asked, DECODING, track)  # type: ignore[arg-type]


def real(folder: Path) -> Model:
    return open_model(str(copied(folder)))


def test_a_real_model_reasons_on_questions_that_are_not_asked(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "mine.jsonl",
        *({"question": f"{i} + 1?", "answer": i + 1, "kind": "integer"} for i in range(5)),
    )
    model = real(tmp_path / "model")
    some = calibrating(model, [str(file)], 3).asked(CalibrationSource("traces"))
    texts = [prompt.text for prompt in some.prompts.values()]
    assert [text.split("?")[0] for text in texts] == ["3 + 1", "4 + 1"]
    assert some.source == "questions of mine that are not asked"
    with pytest.raises(BadInput, match=r"All questions of mine are asked.*--questions"):
        calibrating(model, [str(file)], 5).check(CalibrationSource("traces"))
    # A twin has practice questions, which no search asks.
    practised = calibrating(model, ["deduction"], 400).asked(CalibrationSource("traces"))
    assert len(practised.prompts) == 64
    calibrating(model, [str(file)], 5).check(CalibrationSource("text"))


def test_a_search_that_cannot_calibrate_says_so_at_once(tmp_path: Path) -> None:
    file = lines(tmp_path / "m.jsonl", {"question": "1?", "answer": 1, "kind": "integer"})
    flags = Settings(model=str(copied(tmp_path / "model")), benchmarks=(str(file),), budgets=(8,))
    with pytest.raises(BadInput, match="All questions of m are asked"):
        prepare(flags, sparsity_axis(flags), tmp_path)
    assert not (tmp_path / "mlruns").exists()


def test_own_texts_prompts_and_stored_replies(tmp_path: Path) -> None:
    own = calibrating(open_model("tiny-1m"), ["deduction"], 1)
    texts = lines(tmp_path / "t.jsonl", *({"text": "Tom is a cat. " * 30} for _ in range(3)))
    made = own.read(CalibrationSource(str(texts), rows=2, row_tokens=16))
    assert (made.source, len(made.rows)) == ("the texts of t.jsonl", 2)
    prompts = lines(tmp_path / "p.jsonl", {"prompt": "Why?"}, {"prompt": "How?"})
    asked = own.asked(CalibrationSource(f"traces:{prompts}"))
    assert [prompt.text for prompt in asked.prompts.values()] == ["Why?", "How?"]
    assert not any(prompt.chat for prompt in asked.prompts.values())
    with gzip.open(tmp_path / "g.jsonl.gz", "wb") as out:
        out.write(b"{}")
    with pytest.raises(BadInput, match=r"g.jsonl.gz holds no stored replies of a run"):
        own.read(CalibrationSource(str(tmp_path / "g.jsonl.gz")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sparsegpt:calibration=no.jsonl", 'there is no file no.jsonl: .* with "text" a line'),
        ("sparsegpt:calibration=traces:no.jsonl", 'there is no file .* with "prompt" a line'),
        ("sparsegpt:rows=0", "rows must be a number of 1 or more, got '0'"),
        ("sparsegpt:row_tokens=many", "row_tokens must be a number of 1 or more, got 'many'"),
        ("magnitude:rows=3", "rows"),
    ],
)
def test_bad_options_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse_method(text, [0.5])


def test_options_are_read(tmp_path: Path) -> None:
    file = lines(tmp_path / "t.jsonl", {"text": "x"})
    choice = parse_method(f"wanda:calibration={file},rows=3,row_tokens=64", [0.5])
    assert choice.calibration == CalibrationSource(str(file), 3, 64)
    assert parse_source("traces").reasons
    assert not parse_source("text").reasons
    bad = lines(tmp_path / "bad.jsonl", {"txt": "x"})
    own = calibrating(open_model("tiny-1m"), ["deduction"], 1)
    with pytest.raises(BadInput, match=r'bad.jsonl, line 1: the field "text" is missing'):
        own.read(CalibrationSource(str(bad)))
