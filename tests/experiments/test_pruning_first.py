"""Prune, then search: what --first makes, names and refuses."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from experiments import quantization_search
from experiments.search.pruning_first import parse_first
from experiments.sparsity_search import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.checkpoint.receipt import steps_of
from lrm.compression.gguf.convert import write_f16
from lrm.errors import BadInput
from tests.support.models import SMALLEST
from tracking.store import open_store

LLAMA_CPP = pytest.mark.skipif(
    not (find_spec("llama_cpp") and find_spec("gguf")),
    reason="to quantize: pip install -e '.[gguf]'",
)
ASKED = ["--model", "tiny-1m", "--benchmarks", "arithmetic", "--budgets", "24,96"]
FLAGS = [*ASKED, "--questions", "2", "--first", "magnitude@0.5"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder in which one chain has run."""
    folder = tmp_path_factory.mktemp("project")
    assert main([*FLAGS, "--method", "magnitude", "--sparsity", "0,0.7"], folder) == 0
    return folder


def checkpoints(root: Path) -> dict[tuple[str, ...], Path]:
    """By what was done to them."""
    folders = [path for path in root.glob("mlruns/checkpoints/*") if path.is_dir()]
    return {tuple(map(told, steps_of(one))): one for one in folders}


def told(step: dict[str, Any]) -> str:
    return f"{step['method']} {step['params'].get('sparsity', '')}".strip()


@pytest.mark.engine
def test_the_search_works_on_the_pruned_model(root: Path) -> None:
    made = checkpoints(root)
    assert set(made) == {("magnitude 0.5",), ("magnitude 0.5", "magnitude 0.7")}
    pruned = open_checkpoint(made["magnitude 0.5",])
    again = open_checkpoint(made["magnitude 0.5", "magnitude 0.7"])
    assert again.lineage == ("magnitude", "magnitude")
    assert pruned.measured["sparsity/achieved"] == pytest.approx(0.5, abs=1e-3)
    steps = steps_of(again.path)
    assert [step["parent"] for step in steps] == [
        open_checkpoint(SMALLEST).revision, pruned.revision
    ]  # fmt: skip
    store = open_store(None, root)
    (study,) = store._backend.runs("study")
    assert study.name.startswith("tiny-1m-magnitude-0.5-magnitude-")
    levels = {one.params["sparsity"]: one for one in store._backend.runs("level")}
    assert {one.params["first"] for one in levels.values()} == {"magnitude@0.5"}
    assert levels["0.0"].params["method"] == "magnitude@0.5"
    assert levels["0.7"].params["method"] == "magnitude"
    assert levels["0.0"].metrics["sparsity/achieved"] == pytest.approx(0.5, abs=1e-3)
    assert levels["0.7"].params["first_revision"] == pruned.revision
    page = Path(study.location("report.html")).read_text()
    assert "magnitude@0.5, then magnitude 70%" in page
    assert "this needs one dense model among the runs" in page


@pytest.mark.engine
def test_what_comes_first_counts_as_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = [*FLAGS, "--questions", "1", "--method", "magnitude"]
    assert main([*flags, "--sparsity", "0"], tmp_path) == 0
    assert "pruned 1 checkpoint." in capfd.readouterr().out
    assert main([*flags, "--sparsity", "0,0.7"], tmp_path) == 0
    assert "pruned 1 checkpoint." in capfd.readouterr().out


@pytest.mark.engine
def test_the_pruned_model_is_made_once(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.glob("mlruns/checkpoints/*/*")}
    assert main([*FLAGS, "--method", "magnitude", "--sparsity", "0,0.7"], root) == 0
    assert "Reused: 2 of 2 levels from the study" in capfd.readouterr().out
    assert main([*FLAGS, "--method", "magnitude", "--sparsity", "0"], root) == 0
    assert "pruned 0 checkpoints" in capfd.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in root.glob("mlruns/checkpoints/*/*")}
    assert after == before


@pytest.mark.engine
def test_a_study_is_not_continued_without_it(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = open_store(None, root)._backend.runs("study")
    (name,) = [one.name for one in found if "0.7" in (one.artifact("config.json") or b"").decode()]
    without = [*ASKED, "--questions", "2", "--method", "magnitude", "--sparsity", "0,0.7"]
    assert main([*without, "--study", name], root) == 2
    assert "was started with first = magnitude@0.5, not None" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sparsegtp@0.5", "There is no method 'sparsegtp'"),
        ("sparsegpt", "has no level: write METHOD@LEVEL"),
        ("sparsegpt@", "has no level"),
        ("sparsegpt@half", "has no level"),
        ("sparsegpt@0", "must lie between 0 and 1"),
        ("sparsegpt@1", "must lie between 0 and 1"),
        ("sparsegpt@nan", "must lie between 0 and 1"),
        ("wanda:pattern=2:4@0.7", "2:4"),
        ("sparsegpt:calibration=nothing@0.5", "calibration source 'nothing'"),
    ],
)
def test_what_cannot_come_first_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    assert main([*ASKED, "--first", text], tmp_path) == 2
    err = capfd.readouterr().err
    assert says in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "mlruns").exists()


def test_options_may_hold_an_at_sign() -> None:
    first = parse_first("wanda:protect=layers.0.mlp@0.3@0.5")
    assert (first.sparsity, first.label) == (0.5, "wanda-0.5")
    assert first.method.options == {"protect": ("layers.0.mlp@0.3",)}


def test_only_dense_models_are_pruned_first(tmp_path: Path) -> None:
    packed = type("Packed", (), {"name": "other", "format": "awq"})
    with pytest.raises(BadInput, match=r"other has not \(awq\): give a dense model"):
        parse_first("magnitude@0.5").check(packed)  # type: ignore[arg-type]


@pytest.mark.engine
@LLAMA_CPP
def test_pruned_then_quantized(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = [*FLAGS, "--method", "gguf:calibration=none", "--recipes", "f16,Q8_0"]
    assert quantization_search.main(flags, tmp_path) == 0
    assert "quantized 1 checkpoint." in capfd.readouterr().out
    made = checkpoints(tmp_path)
    assert set(made) == {("magnitude 0.5",), ("magnitude 0.5", "gguf:Q8_0")}
    levels: dict[str, Any] = {
        one.params["recipe"]: one for one in open_store(None, tmp_path)._backend.runs("level")
    }
    assert levels["f16"].params["method"] == "magnitude@0.5"
    assert levels["f16"].metrics["weights/packed_bytes"] < levels["f16"].metrics["weights/bytes"]
    front = json.loads(next(tmp_path.glob("mlruns/**/front.json")).read_text())
    assert {point["recipe"] for point in front} <= {"f16", "Q8_0"}


@LLAMA_CPP
def test_a_gguf_file_cannot_be_pruned_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.gguf"
    write_f16(open_checkpoint(SMALLEST), file)
    flags = ["--model", str(file), "--recipes", "f16", "--first", "magnitude@0.5"]
    assert quantization_search.main(flags, tmp_path / "project") == 2
    assert "prunes dense weights" in capfd.readouterr().err
    assert not (tmp_path / "project" / "mlruns").exists()
