"""What earlier code stored is opened, continued and imported: a store, a study half done, a bundle.

The data lie in tests/data/before, whose README says how they were made.
"""

import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from experiments import bundle, report, score_traces, sparsity_search
from lrm.engines.transformers import engine
from tracking.store import open_store

pytestmark = pytest.mark.store

BEFORE = Path(__file__).parents[1] / "data" / "before"
ASKED = ["--model", "tiny-1m", "--benchmarks", "deduction,timeline", "--questions", "4"]
ASKED += ["--budgets", "32,64", "--method", "magnitude"]


@pytest.fixture(autouse=True)
def _same_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores are of a processor with bfloat16, and arithmetic is part of a study's identity."""
    monkeypatch.setattr(engine, "native_dtype", lambda device: torch.bfloat16)


def unpacked(name: str, root: Path) -> Path:
    with tarfile.open(BEFORE / f"{name}.tar.gz") as archive:
        archive.extractall(root, filter="data")
    for lease in (root / "mlruns" / "studies").rglob("*.lease"):
        lease.unlink()  # else the search looks for its holder for half a minute
    return root


def metrics(root: Path, study: str) -> dict[str, dict[str, float]]:
    """The last metrics of a study's levels and points, by the name of their run."""
    client = MlflowClient(open_store(None, root).uri)
    return {
        f"{run.info.run_name} {run.data.params.get('budget', '')}": dict(run.data.metrics)
        for kind in ("levels", "trials")
        for run in client.search_runs(
            [client.get_experiment_by_name(f"lrm/{kind}").experiment_id],
            f"tags.study = '{study}'",
        )
    }


def test_a_finished_study_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unpacked("finished", tmp_path)
    before = metrics(root, "finished")
    flags = [*ASKED, "--sparsity", "0,0.5", "--study", "finished"]
    assert sparsity_search.main(flags, root=root) == 0
    printed = capsys.readouterr().out
    assert printed.startswith((BEFORE / "finished.txt").read_text())
    assert "Reused: 2 of 2 levels from the study, 33 of 33 replies from the store" in printed
    assert "Decoded: 0 replies, 0 tokens." in printed
    assert len(before) == 6
    assert metrics(root, "finished") == before


def test_a_study_half_done_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unpacked("half", tmp_path)
    before = metrics(root, "half")
    flags = [*ASKED, "--sparsity", "0,0.3,0.5", "--study", "half"]
    assert sparsity_search.main(flags, root=root) == 0
    printed = capsys.readouterr().out
    assert "Reused: 1 of 3 levels from the study, 18 of" in printed
    assert "        0%  50.0% [15, 85]  100.0% [51, 100]" in printed
    after = metrics(root, "half")
    assert len(before) == 3
    assert {name: after[name] for name in before} == before
    assert len(after) == 9


def test_a_report_on_an_old_study(tmp_path: Path) -> None:
    root = unpacked("finished", tmp_path)
    page = tmp_path / "report.html"
    assert report.main(["--study", "finished", "--out", str(page)], root=root) == 0
    assert page.stat().st_size > 100_000


def test_an_import_is_known_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = unpacked("finished", tmp_path)
    shutil.copy(BEFORE / "replies.jsonl", tmp_path)
    flags = [str(tmp_path / "replies.jsonl"), "--model", "handmade", "--method", "none"]
    flags += ["--name", "imported", "--max-tokens", "32"]
    assert score_traces.main(flags, root=root) == 0
    printed = capsys.readouterr().out
    assert "Recorded before from the same files, as run" in printed
    assert "timeline  26.7 [11.5, 40.3]      27               32  84.0 [28.6, 135.0]" in printed


def test_a_bundle_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = unpacked("finished", tmp_path / "elsewhere")
    root = tmp_path / "here"
    root.mkdir()
    assert bundle.main(["import", str(BEFORE / "finished.zip")], root=root) == 0
    assert "7 runs are new." in capsys.readouterr().out
    assert metrics(root, "finished") == metrics(elsewhere, "finished")
    assert (
        report.main(["--study", "finished", "--out", str(tmp_path / "page.html")], root=root) == 0
    )
