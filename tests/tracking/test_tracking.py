"""The record: what a run promises, where it lives, and what happens when things go wrong."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from lrm.errors import BadInput
from tests.support.stored_runs import write_generations
from tests.support.stores import python
from tracking.notes import escape
from tracking.provenance import code, provenance, redact, redact_command
from tracking.runs import LevelRun, StudyRun
from tracking.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
PARAMS = {"model": "tiny-5m", "seed": 0}

# MLflow's own use of an SQLAlchemy feature, once, when its store is first opened.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@dataclass(frozen=True)
class Fresh:
    """A store that two processes opened at once when it was not there, and what they said."""

    folder: Path
    outputs: list[str]
    statuses: list[int]


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Making a store takes seconds, so it is made once and copied."""
    folder = tmp_path_factory.mktemp("fresh")
    both = [python("open_store()", f"sqlite:///{folder}/mlflow.db") for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    return Fresh(folder, outputs, [process.returncode for process in both])


@pytest.fixture
def root(fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder whose default store is fresh."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_CONTEXT", "LRM_TEAM"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(fresh.folder, tmp_path / "mlruns")
    (tmp_path / "mlflow.db").symlink_to("mlruns/mlflow.db")
    return tmp_path


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(root=root)


@pytest.fixture
def study(store: Store) -> Iterator[StudyRun]:
    with store.study("demo", PARAMS, {"note": "x"}, {"budgets": [16, 32]}) as run:
        yield run


def _read(store: Store, run_id: str) -> Run:
    return MlflowClient(store.uri).get_run(run_id)


def _write_level(study: StudyRun, identity: str = "level-1") -> str:
    with study.level(identity, "sparsity 0.50", {"sparsity": 0.5}, {"colour": "red"}) as level:
        _fill(level)
    return level.id


def _fill(level: LevelRun) -> None:
    write_generations(level, "hops", [{"id": "q1", "text": "naïve\n"}, {"id": "q2", "text": ""}])
    level.log_curve({"accuracy/hops": {16: 0.25, 32: 0.75}})
    level.log_metrics({"sparsity/achieved": 0.5})


def _write_trial(study: StudyRun, identity: str = "trial-1") -> str:
    return study.trial(
        identity,
        "0.50 at 32",
        {"sparsity": 0.5, "budget": 32},
        {"accuracy": 0.75, "tokens/mean": 40.0},
        number=7,
        level_run_id="f00",
    )


@pytest.mark.store
class TestRuns:
    def test_what_is_no_finite_number_is_named_and_not_stored(self, store: Store) -> None:
        """MLflow would store 1.8e308 for infinity, and 0 for what is no number."""
        with store.study("demo", PARAMS, {}, {}) as study:
            study.log_metrics({"a": inf, "b": -inf, "c": nan, "right": 1.0})
            run = _read(store, study.id)
            assert run.data.metrics == {"right": 1.0}
            assert run.data.tags["not_finite"] == "a, b, c"

    def test_study_carries_what_it_was_given(self, store: Store) -> None:
        with store.study("demo", PARAMS, {"note": "x"}, {"budgets": [16]}) as study:
            assert _read(store, study.id).info.status == "RUNNING"
            study.log_metrics({"hypervolume": 0.5}, step=3)
            study.log_curve({"pareto/accuracy": {0: 0.2, 1: 0.9}})
            study.artifact("frontier/front.json", b"[1]")
            study.artifact("frontier/front.json", b"[2]")
        run = _read(store, study.id)
        assert run.info.status == "FINISHED"
        assert run.data.params == {"model": "tiny-5m", "seed": "0"}
        tags = run.data.tags
        assert (tags["kind"], tags["study"], tags["note"]) == ("study", "demo", "x")
        assert (tags["pid"], tags["host"]) == (str(os.getpid()), socket.gethostname())
        assert {"version.mlflow", "python", "cpu", "command", "git.commit"} <= set(tags)
        client = MlflowClient(store.uri)
        (value,) = client.get_metric_history(study.id, "hypervolume")
        assert (value.step, value.value) == (3, 0.5)
        curve = client.get_metric_history(study.id, "pareto/accuracy")
        assert {point.step: point.value for point in curve} == {0: 0.2, 1: 0.9}
        front = client.download_artifacts(study.id, "frontier/front.json")
        assert Path(front).read_bytes() == b"[2]"
        config = client.download_artifacts(study.id, "config.json")
        assert json.loads(Path(config).read_text()) == {"budgets": [16]}

    def test_level_carries_generations_and_curves(self, store: Store, study: StudyRun) -> None:
        run = _read(store, _write_level(study))
        assert run.info.status == "FINISHED"
        assert run.data.params == {"sparsity": "0.5"}
        tags = run.data.tags
        assert (tags["kind"], tags["study"], tags["colour"]) == ("level", "demo", "red")
        assert (tags["parent_run_id"], tags["identity"]) == (study.id, "level-1")
        client = MlflowClient(store.uri)
        curve = client.get_metric_history(run.info.run_id, "accuracy/hops")
        assert {point.step: point.value for point in curve} == {16: 0.25, 32: 0.75}
        path = client.download_artifacts(run.info.run_id, "generations/hops.jsonl.gz")
        lines = gzip.decompress(Path(path).read_bytes()).decode().splitlines()
        rows = [json.loads(line) for line in lines]
        assert rows == [{"id": "q1", "text": "naïve\n"}, {"id": "q2", "text": ""}]

    def test_samples_are_a_table_with_what_is_read_first_in_front(
        self, store: Store, study: StudyRun
    ) -> None:
        rows = [{"id": number, "score": 0.5, "text": "x" * 9000} for number in (2, 1)]
        with study.level("level-1", "level", {}) as level:
            level.log_samples(rows)
            write_generations(level, "hops", rows)
            level.log_metrics({"accuracy": 0.3})
        path = MlflowClient(store.uri).download_artifacts(level.id, "samples.json")
        table = json.loads(Path(path).read_text())
        assert table["columns"] == ["score", "text", "id"]
        assert [row[2] for row in table["data"]] == [2, 1]
        assert "[... 1000 characters ...]" in table["data"][0][1]

    def test_trial_is_complete_flat_and_linked(self, store: Store, study: StudyRun) -> None:
        run = _read(store, _write_trial(study))
        assert run.info.status == "FINISHED"
        assert run.data.params == {"sparsity": "0.5", "budget": "32"}
        assert run.data.metrics == {"accuracy": 0.75, "tokens/mean": 40.0}
        tags = run.data.tags
        assert (tags["kind"], tags["study"], tags["parent_run_id"]) == ("trial", "demo", study.id)
        assert (tags["level_run_id"], tags["optuna.trial_number"]) == ("f00", "7")
        assert "mlflow.parentRunId" not in tags

    def test_each_kind_has_its_experiment(self, store: Store, study: StudyRun) -> None:
        client = MlflowClient(store.uri)
        ids = {"studies": study.id, "levels": _write_level(study), "trials": _write_trial(study)}
        for name, run_id in ids.items():
            run = client.get_run(run_id)
            assert client.get_experiment(run.info.experiment_id).name == f"lrm/{name}"
            artifacts = (store.root / "mlruns" / "artifacts" / name).as_uri()
            assert run.info.artifact_uri.startswith(artifacts)
        assert client.search_runs(["0"]) == []

    def test_more_than_one_batch_is_split(self, store: Store, study: StudyRun) -> None:
        params = {f"p{number}": number for number in range(150)}
        metrics = {f"m{number}": float(number) for number in range(1_500)}
        run_id = study.trial("big", "big", params, metrics, number=0, level_run_id="")
        run = _read(store, run_id)
        assert run.data.metrics == metrics
        assert run.data.params == {name: str(value) for name, value in params.items()}

    def test_team_comes_from_the_run_context(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"team": "alpha"}')
        store = open_store(root=root)
        with store.study("demo", {}, {}, {}) as study:
            trial = _write_trial(study)
        assert _read(store, study.id).data.tags["team"] == "alpha"
        assert _read(store, trial).data.tags["team"] == "alpha"

    def test_a_team_that_is_named_counts_before_the_environment(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"team": "alpha", "purpose": "x"}')
        monkeypatch.setenv("LRM_TEAM", "beta")
        for team, expected in ((None, "beta"), ("gamma", "gamma")):
            store = open_store(root=root, team=team)
            with store.study(expected, {}, {}, {}) as study:
                pass
            tags = _read(store, study.id).data.tags
            assert (tags["team"], tags["purpose"]) == (expected, "x")

    @pytest.mark.parametrize("context", ["team=alpha", "[]"])
    def test_broken_run_context_is_refused(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, context: str
    ) -> None:
        monkeypatch.setenv("MLFLOW_RUN_CONTEXT", context)
        with pytest.raises(BadInput, match="MLFLOW_RUN_CONTEXT"):
            open_store(root=root)


@pytest.mark.store
class TestEndings:
    def _end(self, store: Store, error: BaseException) -> tuple[Run, Run]:
        with (
            pytest.raises(type(error)),
            store.study("demo", {}, {}, {}) as study,
            study.level("level-1", "level", {}) as level,
        ):
            raise error
        return _read(store, study.id), _read(store, level.id)

    def test_an_error_fails_the_run_with_its_reason(self, store: Store) -> None:
        error = RuntimeError("no answer from http://me:hunter2@host")
        for run in self._end(store, error):
            assert run.info.status == "FAILED"
            assert run.data.tags["reason"] == "RuntimeError: no answer from http://***@host"

    def test_an_interrupt_kills_the_run(self, store: Store) -> None:
        for run in self._end(store, KeyboardInterrupt()):
            assert run.info.status == "KILLED"
            assert run.data.tags["reason"].startswith("KeyboardInterrupt")

    def test_sigterm_kills_the_run_and_the_handler_goes_away(self, store: Store) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as left, store.study("demo", {}, {}, {}) as study:
            os.kill(os.getpid(), signal.SIGTERM)
        assert left.value.code == 128 + signal.SIGTERM
        assert _read(store, study.id).info.status == "KILLED"
        assert signal.getsignal(signal.SIGTERM) == before

    def test_a_level_without_generations_does_not_finish(
        self, store: Store, study: StudyRun
    ) -> None:
        with (
            pytest.raises(RuntimeError, match="generations"),
            study.level("level-1", "level", {}) as level,
        ):
            level.log_metrics({"accuracy": 1.0})
        run = _read(store, level.id)
        assert (run.info.status, run.data.metrics) == ("FAILED", {})

    def test_what_a_killed_process_left_open_is_failed(self, store: Store) -> None:
        script = """
            import os, signal
            with open_store().study("killed", {}, {}, {}) as study:
                with study.level("level-1", "level", {}) as level:
                    print(study.id, level.id, flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
        """
        process = python(script, store.uri)
        ids = process.communicate()[0].split()
        assert process.returncode == -signal.SIGKILL
        assert len(ids) == 2
        assert {_read(store, run_id).info.status for run_id in ids} == {"RUNNING"}
        with store.study("alive", {}, {}, {}) as alive:
            open_store(store.uri)
            assert _read(store, alive.id).info.status == "RUNNING"
        for run_id in ids:
            run = _read(store, run_id)
            assert run.info.status == "FAILED"
            assert run.data.tags["pid"] in run.data.tags["reason"]

    def test_a_pid_used_again_is_not_the_writer(self, store: Store) -> None:
        with store.study("demo", {}, {}, {}) as study, study.level("1", "level", {}) as level:
            MlflowClient(store.uri).set_tag(level.id, "process_start", "1")
            open_store(store.uri)
            assert _read(store, level.id).info.status == "FAILED"
            _fill(level)


@pytest.mark.store
class TestResume:
    def test_the_same_study_goes_on_in_its_run(self, store: Store) -> None:
        with pytest.raises(KeyboardInterrupt), store.study("demo", PARAMS, {}, {}) as first:
            raise KeyboardInterrupt
        with store.study("demo", PARAMS, {"note": "again"}, {}) as second:
            run = _read(store, second.id)
            assert (second.id, run.info.status) == (first.id, "RUNNING")
            assert "reason" not in run.data.tags
        run = _read(store, first.id)
        assert (run.info.status, run.data.tags["note"]) == ("FINISHED", "again")

    def test_a_note_stays_until_another_is_given(self, store: Store) -> None:
        for given, shown in (("why?", "why?"), (None, "why?"), ("so.", "so."), (None, "so.")):
            tags = {"note": given} if given else {}
            with store.study("demo", PARAMS, tags, {}) as study:
                pass
            tags = _read(store, study.id).data.tags
            assert tags["note"] == shown
            assert tags["mlflow.note.content"].startswith(f"{escape(shown)}\n\n[Report]")

    def test_other_params_are_refused_and_nothing_changes(self, store: Store) -> None:
        with store.study("demo", PARAMS, {}, {}) as first:
            pass
        with (
            pytest.raises(BadInput, match="seed = 0, not 1"),
            store.study("demo", {**PARAMS, "seed": 1}, {}, {}),
        ):
            pass
        assert _read(store, first.id).info.status == "FINISHED"

    def test_a_finished_identity_is_found_and_not_written_again(self, store: Store) -> None:
        with store.study("demo", {}, {}, {}) as study:
            level, trial = _write_level(study), _write_trial(study)
        with store.study("demo", {}, {}, {}) as study:
            assert study.find("level", "level-1") == level
            assert study.find("trial", "trial-1") == _write_trial(study) == trial
            assert study.find("trial", "level-1") is None
            with pytest.raises(ValueError, match=level):
                _write_level(study)
        with store.study("other", {}, {}, {}) as study:
            assert study.find("level", "level-1") is None

    def test_a_failed_identity_is_written_again(self, store: Store, study: StudyRun) -> None:
        with pytest.raises(OSError, match="full"), study.level("level-1", "level", {}) as failed:
            raise OSError("disk full")
        assert study.find("level", "level-1") is None
        assert _write_level(study) != failed.id

    @pytest.mark.parametrize("name", ["", "it's", "-x", "a\nb"])
    def test_a_name_that_cannot_be_searched_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(BadInput, match="study"), store.study(name, {}, {}, {}):
            pass


@pytest.mark.store
class TestWorkers:
    """Several processes at work on one study's run."""

    @staticmethod
    @contextmanager
    def _worker(store: Store, study: str = "demo") -> Iterator[subprocess.Popen[str]]:
        """Another process that has the study open until it reads a line, and fails at "fail"."""
        script = f"""
            with open_store().study("{study}", {{}}, {{}}, {{}}):
                print(flush=True)
                if input() == "fail":
                    raise SystemExit("told to")
        """
        with python(script, store.uri) as other:
            assert other.stdout
            assert other.stdout.readline() == "\n"
            yield other

    @staticmethod
    def _marks(store: Store, run_id: str) -> set[str]:
        return {tag for tag in _read(store, run_id).data.tags if tag.startswith("worker/")}

    @staticmethod
    def _left(store: Store, before: Callable[[StudyRun], object]) -> str:
        """The run's id after this process was on it too, and was interrupted."""
        with pytest.raises(KeyboardInterrupt), store.study("demo", {}, {}, {}) as study:
            raise KeyboardInterrupt(before(study))
        return study.id

    def test_two_share_the_run_and_the_last_one_to_leave_closes_it(self, store: Store) -> None:
        seen: list[set[str]] = []
        with self._worker(store) as other:
            run_id = self._left(store, lambda study: seen.append(self._marks(store, study.id)))
            run = _read(store, run_id)
            assert (run.info.status, "reason" in run.data.tags) == ("RUNNING", False)
            theirs = self._marks(store, run_id)
            assert theirs == {f"worker/{socket.gethostname()}/{other.pid}"}
            assert seen == [theirs | {f"worker/{socket.gethostname()}/{os.getpid()}"}]
            other.communicate("fail\n")
        run = _read(store, run_id)
        assert (run.info.status, run.data.tags["reason"]) == ("KILLED", "SystemExit: told to")
        assert not self._marks(store, run_id)

    def test_who_ends_normally_finishes_it_for_all(self, store: Store) -> None:
        with self._worker(store) as other:
            with store.study("demo", {}, {}, {}) as study:
                pass
            assert _read(store, study.id).info.status == "FINISHED"
            other.communicate("fail\n")
        run = _read(store, study.id)
        assert (run.info.status, "reason" in run.data.tags) == ("FINISHED", False)
        assert not self._marks(store, study.id)

    def test_a_dead_worker_of_this_host_does_not_keep_it_open(self, store: Store) -> None:
        with self._worker(store) as other:
            run_id = self._left(store, lambda study: (other.kill(), other.wait()))
            assert _read(store, run_id).info.status == "KILLED"
        with self._worker(store) as other, store.study("demo", {}, {}, {}):
            other.kill()
            other.wait()
            open_store(store.uri)
            assert self._marks(store, run_id) == {f"worker/{socket.gethostname()}/{os.getpid()}"}
            assert _read(store, run_id).info.status == "RUNNING"

    def test_a_worker_of_another_host_counts_as_alive(self, store: Store) -> None:
        client, mark = MlflowClient(store.uri), "worker/elsewhere/1"
        run_id = self._left(store, lambda study: client.set_tag(study.id, mark, "5"))
        open_store(store.uri)
        assert _read(store, run_id).info.status == "RUNNING"
        client.delete_tag(run_id, mark)
        client.set_tag(run_id, f"worker/{socket.gethostname()}/1", "another start")
        open_store(store.uri)
        run = _read(store, run_id)
        assert run.info.status == "FAILED"
        assert run.data.tags["reason"] == "process 1 ended without closing this run"


@pytest.mark.store
class TestStore:
    def test_ui_command_shows_this_store(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_store(root=root)
        assert store.ui_command() == f"cd {root} && mlflow ui"
        monkeypatch.chdir(root)
        assert store.ui_command() == "mlflow ui"
        (root / "mlflow.db").unlink()
        explicit = f"mlflow ui --backend-store-uri sqlite:///{root}/mlruns/mlflow.db"
        assert store.ui_command() == explicit

    def test_the_project_links_its_store_where_mlflow_looks(self) -> None:
        assert (ROOT / "mlflow.db").readlink() == Path("mlruns/mlflow.db")

    def test_a_flag_beats_the_environment(
        self, root: Path, fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("flag", "environment"):
            shutil.copytree(fresh.folder, tmp_path / name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/environment/mlflow.db")
        assert open_store(root=root).uri.endswith("/environment/mlflow.db")
        monkeypatch.chdir(tmp_path)
        flag = open_store("sqlite:///flag/mlflow.db", root)
        assert flag.uri == f"sqlite:///{tmp_path}/flag/mlflow.db"

    def test_artifacts_follow_a_moved_project(self, root: Path, tmp_path: Path) -> None:
        # Another process, as MLflow remembers where a run's artifacts lie as long as one lives.
        script = """
            with open_store().study("demo", {}, {}, {}) as study:
                study.artifact("report.html", b"here")
                print(study.id)
        """
        study_id = python(script, open_store(root=root).uri).communicate()[0].strip()
        (tmp_path / "moved to").mkdir()
        shutil.move(root / "mlruns", tmp_path / "moved to")
        store = open_store(root=tmp_path / "moved to")
        path = MlflowClient(store.uri).download_artifacts(study_id, "report.html")
        assert Path(path).read_bytes() == b"here"
        with store.study("demo", {}, {}, {}) as again:
            again.artifact("more.html", b"there")
        assert again.id == study_id
        assert not (root / "mlruns").exists()

    def test_two_processes_may_open_a_fresh_store_at_once(self, fresh: Fresh) -> None:
        assert fresh.statuses == [0, 0]
        names = {
            experiment.name
            for experiment in MlflowClient(
                f"sqlite:///{fresh.folder}/mlflow.db"
            ).search_experiments()
        }
        assert names == {"Default", "lrm/studies", "lrm/levels", "lrm/trials"}

    def test_opening_a_fresh_store_prints_nothing(self, fresh: Fresh) -> None:
        assert fresh.outputs == ["", ""]

    def test_an_unwritable_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mlruns").write_text("a file, so no folder can be made here")
        with pytest.raises(BadInput, match=f"Cannot write the record to {tmp_path}/mlruns"):
            open_store(root=tmp_path)

    @pytest.mark.parametrize(
        ("uri", "message"),
        [
            ("ftp://me:hunter2@host/x", r"ftp://\*\*\*@host/x.*no store"),
            ("./mlruns", "no store"),
            ("sqlite://", "names no file"),
            ("sqlite:/x", "Cannot use the store"),
        ],
    )
    def test_an_address_of_no_store_is_refused(self, root: Path, uri: str, message: str) -> None:
        with pytest.raises(BadInput, match=message) as refused:
            open_store(uri, root)
        assert "hunter2" not in str(refused.value)

    def test_a_file_that_is_no_database_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mlflow.db").write_text("not a database, but long enough to have a header" * 9)
        with pytest.raises(BadInput, match="not a database"):
            open_store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)

    def test_a_server_that_does_not_answer_is_refused(self, root: Path) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
            with pytest.raises(BadInput, match=f"Cannot use the store {uri}"):
                open_store(uri, root)

    def test_a_deleted_experiment_is_refused(self, store: Store) -> None:
        client = MlflowClient(store.uri)
        trials = client.get_experiment_by_name("lrm/trials")
        client.delete_experiment(trials.experiment_id)
        with pytest.raises(BadInput, match=f"restore -x {trials.experiment_id}"):
            open_store(store.uri)


class TestProvenance:
    @pytest.mark.parametrize(
        ("words", "shown"),
        [
            (["run", "--tracking-uri", "http://me:pw@h/x"], "run --tracking-uri 'http://***@h/x'"),
            (["run", "--hf-token", "abc", "--seed", "0"], "run --hf-token *** --seed 0"),
            (["run", "--api-key=abc"], "run '--api-key=***'"),
            (["run", "HF_TOKEN=abc"], "run 'HF_TOKEN=***'"),
            (["run", "--max-tokens", "512"], "run --max-tokens 512"),
            (["run", "a b"], "run 'a b'"),
        ],
    )
    def test_command_line_without_secrets(self, words: list[str], shown: str) -> None:
        assert redact_command(words) == shown

    @pytest.mark.parametrize("password", ["p/w", "p@/w", "@", "/"])
    def test_password_that_looks_like_a_path(self, password: str) -> None:
        assert redact(f"at postgresql://u:{password}@h/db: no") == "at postgresql://***@h/db: no"

    def test_an_address_without_one_stays(self) -> None:
        for text in ("see http://h:5000/#/x, me@x", '["sqlite:////a/b:c", "me@x"]'):
            assert redact(text) == text

    def test_password_with_at_sign_and_query(self) -> None:
        assert redact("see postgresql://u:p@ss@h/db?password=x&a=1.") == (
            "see postgresql://***@h/db?password=***&a=1."
        )

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("see me:hunter2@host:5000/x", "see ***@host:5000/x"),
            ("http:me:hunter2@host", "http:***@host"),
            ("for hf_abcdEFGH12345678, ours", "for ***, ours"),
            ("Authorization: Bearer abc.DEF-123", "Authorization: Bearer ***"),
            ("the password is hunter2", "the password is ***"),
            ("api key: 0123456789abcdef", "api key: ***"),
            ("key sk-proj-abcd1234 and ghp_abcdefgh1234", "key *** and ***"),
        ],
    )
    def test_a_sentence_without_secrets(self, text: str, shown: str) -> None:
        assert redact(text) == shown

    @pytest.mark.parametrize(
        "text",
        [
            "sparsegpt:calibration=text@0.5",
            "cost per token: lower, key: sparsity",
            "token: 5 per question, tokens: 12345678901234",
            "risk-task-specific-settings of checkpoint@1000",
            "mail me@example.org at 12:30",
        ],
    )
    def test_what_is_no_secret_stays(self, text: str) -> None:
        assert redact(text) == text

    @pytest.mark.store
    def test_no_secret_of_a_note_is_stored(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        note = "with token hf_hunter2hunter2, password: hunter2"
        monkeypatch.setattr(sys, "orig_argv", ["python", "--note", note])
        with store.study("demo", {}, {"note": note}, {"note": note}) as study:
            pass
        files = [path for path in (store.root / "mlruns").rglob("*") if path.is_file()]
        assert not [path for path in files if b"hunter2" in path.read_bytes()]
        assert _read(store, study.id).data.tags["note"] == "with token ***, password: ***"

    @pytest.mark.store
    def test_no_secret_reaches_a_tag_or_param(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret = "http://me:hunter2@host"
        monkeypatch.setattr(sys, "orig_argv", ["python", "--tracking-uri", secret])
        with store.study("demo", {"uri": secret}, {"from": secret}, {"uri": secret}) as study:
            pass
        run = _read(store, study.id)
        config = MlflowClient(store.uri).download_artifacts(study.id, "config.json")
        everything = [*run.data.tags.values(), *run.data.params.values(), Path(config).read_text()]
        assert not [text for text in everything if "hunter2" in text]
        assert run.data.tags["command"] == "python --tracking-uri 'http://***@host'"

    def test_outside_git_it_says_so(self, tmp_path: Path) -> None:
        assert code(tmp_path) == {"git.commit": "none: not a git checkout with a commit"}
        facts = provenance(tmp_path)
        assert facts["version.mlflow"]
        assert all(facts.values())

    def test_in_git_commit_and_dirt_are_told(self, tmp_path: Path) -> None:
        def git(*words: str) -> str:
            identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
            done = subprocess.run(
                ["git", "-C", str(tmp_path), *identity, *words],
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stdout.strip()

        git("init")
        git("commit", "--allow-empty", "-m", "first")
        assert code(tmp_path) == {"git.commit": git("rev-parse", "HEAD"), "git.dirty": "no"}
        (tmp_path / "new").touch()
        assert code(tmp_path)["git.dirty"] == "yes"
