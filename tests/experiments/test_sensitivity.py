"""Sensitivity by part: which parts there are, what each costs, and how it is told."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.outcomes.sensitivity import SensitivityFindings, table
from experiments.outcomes.sensitivity_figure import DATA, Harm, figure
from experiments.search.level import Level
from experiments.search.sensitivity_axis import parts
from experiments.sensitivity import main
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.generation.evaluate import Evaluation, ReplyKey
from lrm.records.model import Checkpoint
from lrm.records.point import Interval
from lrm.records.reply import Completion, Decoding
from lrm.report.reading import read
from lrm.scoring.grading import graded_replies
from lrm.stats import paired
from lrm.stats.paired import Difference
from lrm.tables import signed
from tests.support.models import SMALLEST

INSTALL = "to test sensitivity: pip install -e '.[gguf]'"
LAYERS = [
    f"model.layers.{block}.{name}"
    for block in (0, 1, 10, 11, 2)
    for name in ("self_attn.q_proj", "mlp.up_proj")
]
QUESTIONS = tuple(ARITHMETIC.load(12))


def test_parts_are_named_as_protection_names_them() -> None:
    assert parts(LAYERS, "block") == [f"layers.{block}" for block in (0, 1, 2, 10, 11)]
    assert parts(LAYERS, "kind") == ["q_proj", "up_proj"]
    single = parts(LAYERS, "module")
    assert len(single) == len(LAYERS)
    assert single[:2] == ["layers.0.mlp.up_proj", "layers.0.self_attn.q_proj"]
    assert {f"model.{name}" for name in single} == set(LAYERS)


def level(key: str, right: set[int], samples: int = 1, **measured: float) -> Level:
    """A level that answers the questions of these numbers rightly, in every sample."""

    def reply(text: str) -> Completion:
        return Completion((1,), f"</think>\\boxed{{{text}}}", (), 1, 1, True, "stop", False)

    replies = {
        ReplyKey("arithmetic", question.id, sample): reply(
            question.gold[0] if number in right else "nothing"
        )
        for number, question in enumerate(QUESTIONS)
        for sample in range(samples)
    }
    decoding = Decoding(samples=samples)
    told = Evaluation(ARITHMETIC, QUESTIONS, decoding, (8,), replies)
    readings = {"arithmetic": read(graded_replies(told), "tokens")}
    return Level(key, Checkpoint(Path("x"), "x", measured=measured), readings, (8,))


def found(samples: int = 1) -> SensitivityFindings:
    everything, all_but_one = set(range(12)), set(range(11))
    told = {"perplexity/dense": 1.5, "reconstruction/error": 0.1}
    return SensitivityFindings(
        [
            level("f16", everything, samples),
            level("Q", set(), samples, **told, perplexity=9.0, **{"protected/share": 0.0}),
            level("Q/except:a", all_but_one, samples, **told, perplexity=1.6),
            level("Q/except:b", everything, samples, **told, perplexity=1.6),
            level("Q/except:c", all_but_one, samples, **told, perplexity=1.7),
        ],
        [],
        (8,),
    )


def test_the_most_harmful_come_first() -> None:
    harms = found().harms
    assert [one.part for one in harms] == ["all of it", "c", "a", "b"]
    assert [one.part for one in found().alone] == ["c", "a", "b"]
    assert [one.apart.value for one in harms] == pytest.approx([-1, -1 / 12, -1 / 12, 0])
    assert [one.apart.significant for one in harms] == [True, False, False, False]
    expected = paired.paired_difference([[1.0]] * 11 + [[0.0]], [[1.0]] * 12)
    assert harms[1].apart == expected
    assert harms[0].share == 1
    assert harms[1].share is None


def test_samples_are_not_taken_for_questions() -> None:
    one, several = found(1).harms[1].apart, found(4).harms[1].apart
    assert several.questions == 12
    assert several.high - several.low == pytest.approx(one.high - one.low, rel=0.05)


def test_the_table_says_it() -> None:
    told = table(found())
    assert [row[0] for row in told.rows] == ["f16", "all of it", "c", "a", "b"]
    assert told.rows[0][3] == "1.5000"
    assert told.rows[2][1:4] == ("", "0.1000", "1.7000")
    assert [row[4][-1] for row in told.rows] == [" ", "*", " ", " ", " "]
    worst = paired.paired_difference([[0.0]] * 12, [[1.0]] * 12)
    assert told.rows[1][-2:] == (signed(worst.interval), "yes")
    assert {row[-1] for row in told.rows[2:]} == {"no"}


def test_the_files_hold_the_same() -> None:
    rows = list(csv.DictReader(found().parts().decode().splitlines()))
    assert [row["part"] for row in rows] == ["all of it", "c", "a", "b"]
    assert float(rows[1]["difference"]) == pytest.approx(-1 / 12)
    assert [row["significant"] for row in rows] == ["True", "False", "False", "False"]


def harm(part: str, value: float, perplexity: float | None = 1.2) -> Harm:
    whole = Interval(0.9, 0.8, 1.0)
    apart = Difference(value, value - 0.05, value + 0.05, 50)
    return Harm(part, 0.1, 0.2, perplexity, {"arithmetic": whole}, whole, {"arithmetic": apart})


def test_single_layers_are_drawn_as_a_map() -> None:
    single = [
        harm(f"layers.{block}.{name}", -0.1 * block)
        for block in range(3)
        for name in ("mlp.up_proj", "self_attn.q_proj")
    ]
    drawn = figure(single, 1.1)
    assert [panel.title.partition(",")[0] for panel in drawn.panels] == [
        "Perplexity",
        "Accuracy lost (*: significant)",
    ]
    cells = {(c["block"], c["kind"]): c["told"] for c in drawn.panels[1].chart["data"]["values"]}
    assert cells[2, "q_proj"] == "20.0%*"
    assert cells[0, "up_proj"] == "0.0%"
    assert len(cells) == 6
    assert DATA not in str(drawn.panels)  # it would be drawn empty
    assert drawn.png().startswith(b"\x89PNG")


def test_what_was_not_measured_is_not_drawn() -> None:
    rows = [harm("layers.0", -0.1), harm("layers.1", 0.0)]
    assert len(figure(rows, 1.1).panels) == 2
    assert len(figure(rows, None).panels) == 1
    assert len(figure([*rows, harm("layers.2", 0.0, None)], 1.1).panels) == 1


# The command


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--recipe", "Q9"], "there is no recipe 'Q9'"),
        (["--recipe", "Q8_0/final-mlp"], "must be a plain recipe"),
        (["--recipe", "f16"], "there is no recipe 'f16'"),
        (["--engine", "transformers"], "--engine llama_cpp"),
        (["--method", "gguf:calibration=none"], "needs a calibration"),
        (["--model", "no/such"], "no/such"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: str
) -> None:
    pytest.importorskip("gguf", reason=INSTALL)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(flags, root=tmp_path) == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "mlruns").exists()


def test_a_gguf_file_cannot_be_quantized(tmp_path: Path, capfd: Any) -> None:
    pytest.importorskip("gguf", reason=INSTALL)
    from lrm.compression.checkpoint.opening import open_checkpoint
    from lrm.compression.gguf.convert import write_f16

    file = write_f16(open_checkpoint(SMALLEST), tmp_path / "model.gguf").path
    assert main(["--model", str(file)], root=tmp_path) == 2
    assert "only dense ones are quantized" in capfd.readouterr().err


@pytest.mark.engine
def test_a_study_by_block(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason=INSTALL)
    pytest.importorskip("llama_cpp", reason=INSTALL)
    done = study(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quantized 5 checkpoints" in done.stdout
    for block in range(4):
        assert re.search(rf"layers\.{block} +25\.0% +0\.\d{{4}} +1\.0\d\d\d +", done.stdout)
    assert re.search(r"all of it +100\.0% ", done.stdout)
    (place,) = tmp_path.glob("mlruns/**/sensitivity/figure.png")
    assert place.read_bytes().startswith(b"\x89PNG")
    assert str(place) in done.stdout


def study(root: Path) -> subprocess.CompletedProcess[str]:
    """Of the smallest model, whose rows only the mildest type divides."""
    code = (
        "import sys; from pathlib import Path; from experiments.sensitivity import main; "
        "sys.exit(main(sys.argv[2:], root=Path(sys.argv[1])))"
    )
    asked = ["--recipe", "Q8_0", "--model", "tiny-1m", "--method", "gguf:calibration=none"]
    asked += ["--benchmarks", "arithmetic", "--budgets", "16", "--questions", "2"]
    words = [sys.executable, "-c", code, str(root), *asked]
    return subprocess.run(words, capture_output=True, text=True)
