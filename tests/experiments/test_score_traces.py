"""Replies made elsewhere: read with care, graded, and recorded like any other run."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from experiments.score_traces import main
from tests.support import small_data
from tracking.store import open_store

pytestmark = pytest.mark.store

TEMPORAL = [
    {"dataset": "temporal_sequences", "index": 0, "output": "so\n</think>\n\nAnswer: (A)"},
    {"dataset": "temporal_sequences", "index": 1, "output": "The answer is (A)."},
]
AIME = [
    {"question_id": "2024-I-98", "text": r"so</think>\boxed{33}", "benchmark": "AIME_2024"},
    {"question_id": "2024-I-99", "text": r"so</think>\boxed{12}", "benchmark": "AIME_2024"},
]
LOOP = "I think the answer is (B). " * 60


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_data.write(tmp_path / "data")
    monkeypatch.setenv("LRM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def write(path: Path, rows: list[Mapping[str, Any]]) -> str:
    path.write_text(small_data.jsonl(rows))
    return str(path)


def runs(root: Path) -> list[Any]:
    client = MlflowClient(open_store(None, root).uri)
    experiment = client.get_experiment_by_name("lrm/levels")
    return list(client.search_runs([experiment.experiment_id]))


def artifact(root: Path, run: Any, path: str) -> bytes:
    client = MlflowClient(open_store(None, root).uri)
    return Path(client.download_artifacts(run.info.run_id, path)).read_bytes()


def test_a_run_like_any_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "project"
    files = [write(tmp_path / "t.jsonl", TEMPORAL), write(tmp_path / "a.jsonl", AIME)]
    flags = ["--model", "R1-8B", "--method", "AWQ 4-bit", "--team", "alpha"]
    flags += ["--against", "r1-distill-llama-8b/awq-4bit"]
    assert main([*files, *flags], root=root) == 0
    printed = capfd.readouterr().out
    (run,) = runs(root)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "R1-8B AWQ 4-bit"
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    assert (tags["kind"], tags["team"]) == ("import", "alpha")
    assert params["model"] == "R1-8B"
    assert params["benchmarks"] == "temporal,aime"
    assert params["truncation"] == "truncated-is-wrong"
    assert len(params["rows/aime"]) == 64
    for name in ("temporal", "aime"):
        assert metrics[f"accuracy/{name}"] == 0.5
        assert metrics[f"accuracy/{name}/low"] < 0.5 < metrics[f"accuracy/{name}/high"]
        assert metrics[f"accuracy/{name}/strict/grade-what-is-there"] == 0.5
        assert metrics[f"share/truncated/{name}"] == metrics[f"share/looping/{name}"] == 0
    assert metrics["share/unclosed/temporal"] == 0.5
    assert metrics["accuracy"] == 0.5
    assert metrics["words/mean"] > 0
    assert metrics["characters/mean"] > 0
    assert not [name for name in metrics if name.startswith("tokens/")]
    assert "Tokens are not known: words and characters" in printed
    assert "compatible" in printed
    assert run.info.run_id in printed
    rows = gzip.decompress(artifact(root, run, "generations/temporal.jsonl.gz")).splitlines()
    first = json.loads(rows[0])
    assert (first["question"], first["answer"], first["score"]) == ("0", "(A)", 1)
    assert first["text"] == TEMPORAL[0]["output"]
    page = artifact(root, run, "report.html").decode()
    for told in ("Compared with R1-Distill-Llama-8B", "R1-8B AWQ 4-bit", "words per question"):
        assert told in page
    assert artifact(root, run, "figures/published.png").startswith(b"\x89PNG")
    assert json.loads(artifact(root, run, "published.json"))[0]["verdict"] == "compatible"
    assert artifact(root, run, "samples.json")


def test_the_same_import_is_recorded_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, file = tmp_path / "project", write(tmp_path / "t.jsonl", TEMPORAL)
    assert main([file], root=root) == 0
    first = capfd.readouterr().out
    assert main([file], root=root) == 0
    again = capfd.readouterr().out
    (run,) = runs(root)
    assert f"Recorded as run {run.info.run_id}" in first
    assert f"Recorded before from the same files, as run {run.info.run_id}" in again
    assert first.split("Recorded")[0] == again.split("Recorded")[0]


def test_what_the_search_stores_can_be_graded_again(tmp_path: Path) -> None:
    """A generations artifact goes back in, forced answers left out, and gives the same scores."""
    root, file = tmp_path / "project", write(tmp_path / "t.jsonl", TEMPORAL)
    assert main([file], root=root) == 0
    (run,) = runs(root)
    stored = gzip.decompress(artifact(root, run, "generations/temporal.jsonl.gz"))
    forced = json.dumps({**json.loads(stored.splitlines()[0]), "budget": 16}).encode() + b"\n"
    (tmp_path / "again.jsonl.gz").write_bytes(gzip.compress(stored + forced))
    assert main([str(tmp_path / "again.jsonl.gz")], root=root) == 0
    other = next(one for one in runs(root) if one.info.run_id != run.info.run_id)
    assert other.data.metrics["accuracy/temporal"] == run.data.metrics["accuracy/temporal"]


def test_lengths_are_what_is_known(tmp_path: Path) -> None:
    counted = [{**row, "tokens": 10 * (i + 1)} for i, row in enumerate(TEMPORAL)]
    root = tmp_path / "project"
    file = write(tmp_path / "t.jsonl", counted)
    assert main([file, "--name", "counts"], root=root) == 0
    assert main([file, "--name", "ours", "--tokenizer", "tiny-1m"], root=root) == 0
    mine, counts = (run.data for run in runs(root))
    assert counts.metrics["tokens/mean"] == 15
    assert counts.params["tokenizer"] == "the counts in the files"
    assert "tokens/thinking" not in counts.metrics
    assert mine.params["tokenizer"] == "tiny-1m"
    assert mine.metrics["tokens/mean"] != 15
    whole = mine.metrics["tokens/thinking"] + mine.metrics["tokens/answer"]
    assert whole == pytest.approx(mine.metrics["tokens/mean"])


def test_why_a_reply_ended_is_taken_from_the_row_then_the_count_then_the_text(
    tmp_path: Path,
) -> None:
    root = tmp_path / "project"
    rows = [
        {"index": 0, "output": "</think>Answer: (A)", "finish_reason": "length"},
        {"index": 1, "output": LOOP},
        {"index": 0, "sample": 1, "output": "</think>Answer: (A)", "tokens": 7},
        {"index": 1, "sample": 1, "output": "</think>Answer: (B)", "tokens": 8},
    ]
    file = write(tmp_path / "t.jsonl", rows)
    assert main([file, "--benchmark", "temporal", "--max-tokens", "8"], root=root) == 0
    (run,) = runs(root)
    metrics = run.data.metrics
    assert metrics["share/truncated/temporal"] == 0.75
    assert metrics["share/looping/temporal"] == 0.25
    assert metrics["share/stop_guessed/temporal"] == 0.25
    assert metrics["accuracy/temporal"] == 0.25
    assert metrics["accuracy/temporal/lenient/grade-what-is-there"] == 1
    assert metrics["pass_at_2/temporal"] == 0.5


def test_thinking_that_a_server_split_off_is_put_back(tmp_path: Path) -> None:
    rows = [{"index": 0, "reasoning_content": "(B)? No.", "text": "Answer: (A)"}]
    root = tmp_path / "project"
    file = write(tmp_path / "t.jsonl", rows)
    assert main([file, "--benchmark", "temporal"], root=root) == 0
    (run,) = runs(root)
    assert run.data.metrics["share/unclosed/temporal"] == 0
    assert run.data.metrics["words/thinking"] == 2


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("field_of_text", ["content", "text", None])
@pytest.mark.parametrize("empty", [None, ""])
def test_thinking_without_a_reply_never_closed(
    tmp_path: Path, field: str, field_of_text: str | None, empty: str | None
) -> None:
    """As servers answer where the cap cuts the thinking; it is no answer, whatever it says."""
    cut = {"index": 0, field: "First (B)? No, (A)", "finish_reason": "length"}
    whole = {"index": 1, field: "It is (B).", "content": "Answer: (B)", "finish_reason": "stop"}
    rows = [cut | ({field_of_text: empty} if field_of_text else {}), whole]
    root = tmp_path / "project"
    assert main([write(tmp_path / "t.jsonl", rows), "--benchmark", "temporal"], root=root) == 0
    (run,) = runs(root)
    assert run.data.metrics["share/unclosed/temporal"] == 0.5
    assert run.data.metrics["share/truncated/temporal"] == 0.5
    assert run.data.metrics["accuracy/temporal"] == 0.5


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    file = Path(write(tmp_path / "t.jsonl", TEMPORAL))
    file.write_bytes(BOM_UTF8 + file.read_bytes())
    assert main([str(file)], root=tmp_path / "project") == 0


def test_a_list_of_stops_says_nothing_of_the_reply(tmp_path: Path) -> None:
    """Nor does the token that ended it, beside a reason that is known."""
    asked = {"stop": ["</s>", "Question:"]}
    rows = [
        {"index": 0, "output": "</think>(A)", "finish_reason": "length", "stop_reason": 7} | asked,
        {"index": 1, "output": "</think>Answer: (B).", "finish_reason": None} | asked,
    ]
    root = tmp_path / "project"
    assert main([write(tmp_path / "t.jsonl", rows), "--benchmark", "temporal"], root=root) == 0
    (run,) = runs(root)
    assert run.data.metrics["share/truncated/temporal"] == 0.5
    assert run.data.metrics["share/stop_guessed/temporal"] == 0.5


def test_every_file_keeps_its_digest(tmp_path: Path) -> None:
    """Also where they are too many for a param."""
    root = tmp_path / "project"
    rows = [{**TEMPORAL[0], "sample": number} for number in range(100)]
    files = [write(tmp_path / f"{row['sample']}.jsonl", [row]) for row in rows]
    assert main([*files, "--name", "many"], root=root) == 0
    (run,) = runs(root)
    kept = json.loads(artifact(root, run, "files.json"))["temporal"]
    assert kept == {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}
    param = run.data.params["file/temporal"]
    assert len(param) == 6000
    assert param.startswith(kept[files[0]])
    # Another last file is another import.
    write(Path(files[-1]), [{**rows[-1], "output": "</think>Answer: (C)"}])
    assert main([*files, "--name", "many"], root=root) == 0
    other = next(one for one in runs(root) if one.info.run_id != run.info.run_id)
    assert other.data.params["file/temporal"] != param


def test_a_question_is_known_by_its_prompt_too(tmp_path: Path) -> None:
    from lrm.benchmarks.temporal import Temporal

    asked = Temporal().load()
    rows = [
        {"prompt": asked[1].prompt, "output": "</think>(B)"},
        {"prompt": f"<user>{asked[0].message}", "output": "</think>(B)"},
    ]
    root = tmp_path / "project"
    file = write(tmp_path / "t.jsonl", [rows[0]])
    assert main([file, "--benchmark", "temporal"], root=root) == 0
    (run,) = runs(root)
    assert run.data.metrics["accuracy/temporal"] == 1
    assert run.data.params["track"] == "paper"
    assert main([write(tmp_path / "u.jsonl", rows), "--benchmark", "temporal"], root=root) == 2


ROW = {"dataset": "temporal_sequences", "index": 1, "output": "Answer: (B)"}
BAD_SECOND_ROWS = {
    '{"dataset": "temporal_sequences", "index": 1, "out': "line 2 is not JSON",
    "[1, 2]": "line 2 is not a JSON object",
    json.dumps({"index": 1}): "the field with the reply's text is missing; name it one of text,",
    json.dumps({**ROW, "output": 7}): "the reply's text must be a string, got int",
    json.dumps({"output": "x"}): "names no question; give its id as question_id",
    json.dumps({**ROW, "index": 2}): "temporal has rows 0 to 1, not 2",
    json.dumps({**ROW, "index": "two"}): "\"index\" must be a whole number of 0 or more, got 'two'",
    json.dumps(
        {**ROW, "question_id": "0"}
    ): "row 1 of temporal is 1, not 0; correct one of the two",
    json.dumps({"question_id": "x7", "output": "x"}): "'x7' is no question of temporal",
    json.dumps({**ROW, "index": 0}): "question 0 is there already, in ",
    json.dumps({**ROW, "dataset": "AIME_2024"}): "belongs to aime, not to temporal: give each",
    json.dumps({**ROW, "gold": "(A)"}): "the gold answer of 1 is '(B)', not '(A)'",
    json.dumps(
        {**ROW, "tokens": 5, "thinking_tokens": 90}
    ): "90 tokens of thinking are more than the 5 of the whole reply; give the sum",
    json.dumps({**ROW, "tokens": -1}): '"tokens" must be a whole number of 0 or more, got -1',
    json.dumps({**ROW, "stop": "tired"}): "ended by 'tired', which is unknown; write stop or",
    "caf\udce9": "line 2 is not UTF-8",
    json.dumps({**ROW, "output": "\ud800"}): "line 2 is not UTF-8",
}


@pytest.mark.parametrize("line", BAD_SECOND_ROWS, ids=range(len(BAD_SECOND_ROWS)))
def test_a_bad_row_ends_in_one_sentence_and_nothing_is_logged(
    tmp_path: Path, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.jsonl"
    first = json.dumps(TEMPORAL[0])
    file.write_bytes(f"{first}\n{line}\n".encode(errors="surrogateescape"))
    refused(main([str(file)], root=tmp_path / "project"), capfd, BAD_SECOND_ROWS[line])
    assert not (tmp_path / "project").exists()


def refused(status: int, capfd: pytest.CaptureFixture[str], says: str) -> None:
    out, err = capfd.readouterr()
    assert (status, out) == (2, ""), err
    assert err.count("\n") == 1, err
    assert says in err


@pytest.mark.parametrize(
    ("content", "flags", "says"),
    [
        (b"", [], "holds no rows: give a JSONL file with a reply a line"),
        (b"\n \n", [], "holds no rows"),
        (b'{"index": 0, "output": "x"}\n', [], "does not say which benchmark it answers: give"),
        (b'{"dataset": "GSM8K", "index": 0, "output": "x"}\n', [], "There is no benchmark 'gsm8k'"),
        (b'{"budget": 16, "benchmark": "aime"}\n', [], "holds no replies"),
        (gzip.compress(b"{}\n")[:12], [], "give a whole JSONL file"),
        (b"{}\n", ["--benchmark", "amie"], "There is no benchmark 'amie': did you mean 'aime'?"),
        (b"{}\n", ["--max-tokens", "0"], "--max-tokens 0 is too few"),
        (b"{}\n", ["--against", "r1"], "There is no published result 'r1'"),
        (b"{}\n", ["--benchmark", "aime", "--tokenizer", "/no"], "file or folder '/no'"),
    ],
    ids=range(10),
)
def test_bad_files_and_flags_end_in_one_sentence(
    tmp_path: Path, content: bytes, flags: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.jsonl"
    file.write_bytes(content)
    refused(main([str(file), *flags], root=tmp_path / "project"), capfd, says)
    assert not (tmp_path / "project").exists()


def test_a_missing_file_a_folder_and_no_file_end_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    refused(main([str(tmp_path / "no.jsonl")], root=root), capfd, "No such file")
    refused(main([str(tmp_path)], root=root), capfd, "Is a directory")
    refused(main([], root=root), capfd, "No file is given: name one JSONL file or more")


def test_two_files_of_one_benchmark_count_together_but_never_a_row_twice(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    one, other = (write(tmp_path / f"{i}.jsonl", [row]) for i, row in enumerate(TEMPORAL))
    assert main([one, other], root=root) == 0
    assert "2 of 2" in capfd.readouterr().out
    refused(main([one, one], root=root), capfd, "question 0 is there already, in ")
    assert len(runs(root)) == 1


def test_a_store_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "t.jsonl", TEMPORAL)
    (tmp_path / "mlruns").write_text("a file where a folder must be")
    refused(main([file], root=tmp_path), capfd, "make it writable, or give another database")
    flags = ["--tracking-uri", "ftp://x", "--name", "n"]
    refused(main([file, *flags], root=tmp_path / "p"), capfd, "is no store MLflow can write to")
    refused(main([file, "--name", "a'b"], root=tmp_path / "p"), capfd, "cannot name an import")


GRADE = """
import resource, sys, tempfile
from pathlib import Path
from experiments.external.grading import grade
from experiments.score_traces import ScoreSettings
from lrm.report.reading import read
import scipy.stats, transformers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory() as scratch:
    traces = grade(ScoreSettings((Path(sys.argv[1]),)), Path(scratch))["temporal"]
    read(traces.stored(), "words")
print(traces.replies, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    """48 MB of replies add little to the memory in use: they are not held."""
    file, reply = tmp_path / "t.jsonl", "word " * 1200 + "</think>Answer: (A)"
    with file.open("w") as out:
        for sample in range(4000):
            for index in (0, 1):
                row = {"dataset": "temporal", "index": index, "sample": sample, "output": reply}
                out.write(json.dumps(row) + "\n")
    assert file.stat().st_size > 48e6
    done = subprocess.run(
        [sys.executable, "-c", GRADE, str(file)], capture_output=True, text=True, check=True
    )
    graded, kilobytes = map(int, done.stdout.split())
    assert graded == 8000
    assert kilobytes < 24_000


def test_killed_in_the_middle_nothing_counts_as_finished(tmp_path: Path) -> None:
    root, file = tmp_path / "project", write(tmp_path / "t.jsonl", TEMPORAL)
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from tracking.runs import LevelRun
        LevelRun.log_samples = lambda self, rows: (print("now", flush=True), time.sleep(60))
        from experiments.score_traces import main
        sys.exit(main([sys.argv[2]], root=Path(sys.argv[1])))
        """
    )
    command = [sys.executable, "-c", program, str(root), file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "now\n"
        os.kill(process.pid, signal.SIGKILL)
    assert main([file], root=root) == 0
    assert sorted(run.info.status for run in runs(root)) == ["FAILED", "FINISHED"]
