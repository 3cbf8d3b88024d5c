"""A study in one file: the same elsewhere, brought in once, and refused whole if it was changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from mlflow import MlflowClient

from experiments.bundle import main
from experiments.exchange.transfer import stage_bars
from experiments.reporting import variants
from lrm.digests import of_json
from lrm.errors import BadInput
from tests.support import commands
from tests.support.stored_runs import SPARSITY, row, store_import, store_study, stored
from tests.support.stores import copied, everything, mlflow_server, unwilling, uri
from tracking.bundles import Bundle, Writer, open_bundle
from tracking.store import Store, open_store
from tracking.stored_run import StoredRun

pytestmark = pytest.mark.store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with an empty store, which takes seconds to make."""
    root = tmp_path_factory.mktemp("fresh")
    open_store(None, root)
    return root


@pytest.fixture(scope="module")
def alpha(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a team, with one study in it."""
    root = copied(fresh, tmp_path_factory.mktemp("teams") / "alpha")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRM_TEAM", "alpha")
        (level, *_) = store_study(root, "demo")
        store = open_store(None, root)
        with store.study("demo", {"model": "tiny"}, {}, store_config(root)) as study:
            metrics = {"accuracy": 0.5, "tokens/mean": float("nan")}
            study.trial("t", "dense, 64", {"budget": 64}, metrics, number=0, level_run_id=level)
            study.log_metrics({"hypervolume": 40.5}, step=0)
            study.artifact("frontier/front.json", b"[]")
    return root


def store_config(root: Path) -> dict[str, Any]:
    study, _ = open_store(None, root).study_runs("demo")
    config: dict[str, Any] = json.loads(study.artifact("config.json") or b"")
    return config


@pytest.fixture(scope="module")
def bundle(alpha: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "demo.zip"
    assert main(["export", "--study", "demo", "--out", str(out)], alpha) == 0
    return out


@pytest.fixture
def there(fresh: Path, tmp_path: Path) -> Path:
    """Another project, with an empty store."""
    return copied(fresh, tmp_path / "there")


refused = partial(commands.refused, main)


def brought(capfd: pytest.CaptureFixture[str], root: Path, *flags: str) -> str:
    capfd.readouterr()
    assert main(["import", *flags], root) == 0
    return capfd.readouterr().out


def runs(store: Store) -> dict[str, StoredRun]:
    """All runs of the study in a store, by their id in the first one."""
    study, levels = store.study_runs("demo")
    trials = store._backend.runs("trial", "demo")
    return {run.tags.get("origin.run_id", run.id): run for run in (study, *levels, *trials)}


def assert_same(here: Store, there: Store) -> None:
    """Everything that runs hold is the same in two stores, and refers to what is there."""
    mine, its = runs(here), runs(there)
    assert set(mine) == set(its)
    for run_id, run in mine.items():
        other = its[run_id]
        assert (run.name, run.kind, run.params) == (other.name, other.kind, other.params)
        assert (run.entity.info.status, run.entity.info.start_time, run.entity.info.end_time) == (
            other.entity.info.status, other.entity.info.start_time, other.entity.info.end_time
        )  # fmt: skip
        assert repr(history(here, run)) == repr(history(there, other))
        assert files(run) == files(other)
        for tag, value in run.tags.items():
            if tag == "mlflow.note.content":
                for old, moved in its.items():
                    value = value.replace(old, moved.id)
            linked = tag in ("parent_run_id", "level_run_id") and value
            assert other.tags[tag] == (its[value].id if linked else value), tag
        assert other.tags["origin.store"] == here.uri


def history(store: Store, record: StoredRun) -> dict[str, Any]:
    client = store._backend.client
    return {
        name: [(p.step, p.value, p.timestamp) for p in client.get_metric_history(record.id, name)]
        for name in sorted(record.metrics)
    }


def files(record: StoredRun) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        record.download(Path(folder))
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_study_is_the_same_elsewhere_and_a_second_import_changes_nothing(
    alpha: Path, bundle: Path, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = brought(capfd, there, str(bundle))
    assert f"Study 'demo' of team alpha, from {uri(alpha)}: 5 runs are new." in said
    here, elsewhere = open_store(None, alpha), open_store(None, there)
    assert_same(here, elsewhere)
    mine, its = (variants.read(variants.of_study(s, "demo")) for s in (here, elsewhere))
    assert [variant.name for variant in mine.variants] == [variant.name for variant in its.variants]
    assert mine.samples == its.samples
    before = everything(there)
    assert "all 5 runs are here already; nothing was changed" in brought(capfd, there, str(bundle))
    assert everything(there) == before


def test_what_was_brought_in_can_be_carried_on_and_home_again(
    alpha: Path, bundle: Path, there: Path, fresh: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    brought(capfd, there, str(bundle))
    again = tmp_path / "again.zip"
    assert main(["export", "--study", "demo", "--out", str(again)], there) == 0
    before = everything(alpha)
    assert "it was made in this store; nothing was changed" in brought(capfd, alpha, str(again))
    assert everything(alpha) == before
    third = copied(fresh, tmp_path / "third")
    brought(capfd, third, str(again))
    assert_same(open_store(None, alpha), open_store(None, third))
    assert "is here already" in refused(third, capfd, "import", str(bundle))
    assert len(runs(open_store(None, third))) == 5


def test_what_was_deleted_at_home_comes_back(
    alpha: Path, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(alpha, tmp_path / "alpha")
    store = open_store(None, root)
    for run_id in runs(store):
        store._backend.client.delete_run(run_id)
    assert "5 runs are new" in brought(capfd, root, str(bundle))
    assert_same(open_store(None, alpha), store)


def test_killed_in_the_middle_it_goes_on_without_doubles(
    alpha: Path, bundle: Path, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from tracking.bundles import open_bundle
        from tracking import exchange
        from tracking.bundle_import import _Destination
        from tracking.store import open_store
        opened, count = _Destination._tags, 0
        def tags(self, run):
            global count
            count += 1
            if count == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return opened(self, run)
        _Destination._tags = tags
        quiet = lambda *words: None
        exchange.bring_in(
            open_store(None, Path(sys.argv[1])),
            open_bundle(Path(sys.argv[2]), quiet), None, quiet
        )
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(there), str(bundle)],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    half = open_store(None, there)
    assert "process" in str(half.study_runs("demo")[0].unfinished)
    said = brought(capfd, there, str(bundle))
    assert "1 runs are new, 2 were completed, 2 were here already." in said
    assert_same(open_store(None, alpha), open_store(None, there))
    assert not [run for run in runs(half).values() if "reason" in run.tags]


def test_two_at_once_make_nothing_twice(alpha: Path, bundle: Path, there: Path) -> None:
    script = """
        import sys
        from pathlib import Path
        from tracking import exchange
        from tracking.bundles import open_bundle
        from tracking.store import open_store
        quiet = lambda *words: None
        store, content = open_store(None, Path(sys.argv[1])), open_bundle(Path(sys.argv[2]), quiet)
        print("ready", flush=True)
        input()
        print(exchange.bring_in(store, content, None, quiet).new)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(there), str(bundle)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(process.communicate(timeout=120)[0] for process in both) == ["0\n", "5\n"]
    assert_same(open_store(None, alpha), open_store(None, there))
    origins = [value for key, value, _ in everything(there)["tags"] if key == "origin"]
    assert len(origins) == len(set(origins)) == 5


def test_of_two_that_see_each_other_none_goes_on(
    bundle: Path, there: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server, where no lock holds two machines apart."""
    create = MlflowClient.create_run

    def with_another(client: MlflowClient, *given: Any, **named: Any) -> Any:
        create(client, *given, **named)
        return create(client, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", with_another)
        said = refused(there, capfd, "import", str(bundle))
    assert "Another process began to bring in 'demo' at the same moment" in said
    assert len(runs(open_store(None, there))) == 1


def test_what_another_machine_brings_in_is_left_to_it(
    alpha: Path, bundle: Path, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    brought(capfd, there, str(bundle))
    store = open_store(None, there)
    client, study = store._backend.client, store.study_runs("demo")[0]
    client.reopen_run(study.id)
    client.set_tag(study.id, "host", "elsewhere")
    said = refused(there, capfd, "import", str(bundle))
    assert "'demo' is being brought in by process" in said
    assert f"on elsewhere: wait for its end. If that machine is gone, delete run {study.id}" in said
    client.delete_run(study.id)
    assert "1 runs are new, 4 were completed" in brought(capfd, there, str(bundle))
    assert_same(open_store(None, alpha), store)


@pytest.mark.parametrize("when", [1, 3])
def test_stopped_by_hand_it_goes_on(
    alpha: Path, bundle: Path, there: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, when: int,
) -> None:  # fmt: skip
    """Ctrl-C in the middle, in both directions."""
    out = there / "out.zip"
    out.write_bytes(b"of before")

    def stops(known: Callable[..., Any]) -> Callable[..., Any]:
        calls = count(1)

        def stopping(*given: Any) -> Any:
            if next(calls) == when:
                raise KeyboardInterrupt
            return known(*given)

        return stopping

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "add", stops(Writer.add))
        assert main(["export", "--study", "demo", "--out", str(out)], alpha) == 130
        patch.setattr(Bundle, "unpacked", stops(Bundle.unpacked))
        assert main(["import", str(bundle)], there) == 130
    assert "Stopped. The same command goes on from here." in capfd.readouterr().err
    assert {path.name for path in there.iterdir()} == {"mlruns", "out.zip"}
    assert out.read_bytes() == b"of before"
    assert "KILLED" in str(open_store(None, there).study_runs("demo")[0].unfinished)
    brought(capfd, there, str(bundle))
    assert_same(open_store(None, alpha), open_store(None, there))
    assert main(["export", "--study", "demo", "--out", str(out)], alpha) == 0
    assert "nothing was changed" in brought(capfd, there, str(out))


def test_an_import_travels_too(
    fresh: Path, there: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root, out = copied(fresh, tmp_path / "beta"), str(tmp_path / "theirs.zip")
    graded = [row("arithmetic", f"q{i}", float(i < 3), 5) for i in range(4)]
    run_id = store_import(root, "theirs", graded)
    assert main(["export", "--run", run_id, "--out", out], root) == 0
    assert "1 runs, 1 files of import 'theirs'" in capfd.readouterr().out
    said = brought(capfd, there, out)
    assert "Import 'theirs' of " in said
    assert "1 runs are new" in said
    assert "nothing was changed" in brought(capfd, there, out)
    (arrived,) = open_store(None, there).tagged("origin.run_id", run_id)
    (sent,) = open_store(None, root).runs([run_id])
    assert (arrived.kind, arrived.name, arrived.params) == ("import", sent.name, sent.params)
    assert files(arrived) == files(sent)
    assert list(arrived.replies("arithmetic")) == list(map(stored, graded))


def test_a_later_export_adds_what_is_new_and_an_earlier_one_is_refused(
    fresh: Path, there: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = copied(fresh, tmp_path / "beta")
    early, late = tmp_path / "early.zip", tmp_path / "late.zip"
    store = open_store(None, root)
    config = {"budgets": [16, 64], "sparsity": SPARSITY, "trials": None}
    with pytest.raises(KeyboardInterrupt), store.study("demo", {"model": "m"}, {}, config):
        raise KeyboardInterrupt
    flags = ["export", "--study", "demo", "--out", str(early)]
    assert "is unfinished (KILLED" in refused(root, capfd, *flags)
    assert not early.exists()
    assert main([*flags, "--unfinished"], root) == 0
    assert "The study is unfinished" in capfd.readouterr().out
    with store.study("demo", {"model": "m"}, {}, config) as study:
        study.trial("t", "trial", {}, {"accuracy": 1.0}, number=0, level_run_id="")
    assert main(["export", "--study", "demo", "--out", str(late)], root) == 0
    assert "1 runs are new" in brought(capfd, there, str(early))
    assert runs(open_store(None, there)).popitem()[1].entity.info.status == "KILLED"
    assert "1 runs are new, 1 were completed" in brought(capfd, there, str(late))
    assert_same(store, open_store(None, there))
    before = everything(there)
    assert "A newer export of study 'demo'" in refused(there, capfd, "import", str(early))
    assert everything(there) == before


def test_a_name_that_is_taken_takes_another(
    bundle: Path, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_store(None, there).study("demo", {}, {}, {}):
        pass
    before = everything(there)
    assert "Another study here is called 'demo'" in refused(there, capfd, "import", str(bundle))
    assert everything(there) == before
    assert "Study 'theirs' of team alpha" in brought(capfd, there, str(bundle), "--as", "theirs")
    study, levels = open_store(None, there).study_runs("theirs")
    assert (study.name, len(levels)) == ("theirs", len(SPARSITY))
    assert "nothing was changed" in brought(capfd, there, str(bundle))
    said = refused(there, capfd, "import", str(bundle), "--as", "other")
    assert "is here already, as 'theirs'" in said
    assert "cannot name a study" in refused(there, capfd, "import", str(bundle), "--as", "it's")


def test_what_cannot_be_exported(
    alpha: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "x.zip")
    said = refused(alpha, capfd, "export", "--study", "dmo", "--out", out)
    assert "There is no study 'dmo': did you mean 'demo'?" in said
    assert "no study" in refused(alpha, capfd, "export", "--study", "it's", "--out", out)
    level = open_store(None, alpha).study_runs("demo")[1][0]
    said = refused(alpha, capfd, "export", "--run", level.id, "--out", out)
    assert f"Run {level.id} ({level.name}) is a level: give the study" in said
    assert "There is no run 'x'" in refused(alpha, capfd, "export", "--run", "x", "--out", out)
    for flags in ((), ("--study", "demo", "--run", level.id)):
        assert "Give what to export" in refused(alpha, capfd, "export", *flags, "--out", out)
    nowhere = str(tmp_path / "nowhere" / "x.zip")
    assert "writable folder" in refused(alpha, capfd, "export", "--study", "demo", "--out", nowhere)
    assert not list(tmp_path.iterdir())


def test_stores_that_cannot_be_used(
    bundle: Path, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = there / "x.zip"
    with socket.socket() as unused, unwilling() as address:
        unused.bind(("127.0.0.1", 0))
        silent = f"http://me:hunter2@127.0.0.1:{unused.getsockname()[1]}"
        for flags in (("import", str(bundle)), ("export", "--study", "demo", "--out", str(out))):
            said = refused(there, capfd, *flags, "--tracking-uri", silent)
            assert "Cannot use the store http://***@127.0.0.1" in said
            denied = refused(there, capfd, *flags, "--tracking-uri", address)
            assert "does not let you in: set MLFLOW_TRACKING_USERNAME" in denied
            assert "hunter2" not in said + denied
    assert not out.exists()


def test_one_bar_follows_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once would leave the codes that move the cursor between them."""
    screen = StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with stage_bars() as tell:
        for stage in ("checking", "importing"):
            tell(stage, 1, 3)
            time.sleep(1.1)
            tell(stage, 2, 3)
    assert "checking:  67%" in screen.getvalue()
    assert "importing:  67%" in screen.getvalue()
    assert "\x1b" not in screen.getvalue()


Change = Callable[[dict[str, bytes]], None]


def _edit(change: Callable[[dict[str, Any]], None], *, digest: bool) -> Change:
    def edited(members: dict[str, bytes]) -> None:
        content = json.loads(members["manifest.json"])
        change(content)
        if digest:
            content["digest"] = of_json({k: v for k, v in content.items() if k != "digest"})
        members["manifest.json"] = json.dumps(content).encode()

    return edited


def _better(content: dict[str, Any]) -> None:
    content["runs"][-1]["metrics"]["accuracy"][0][1] = 0.99


def _other_sum(content: dict[str, Any]) -> None:
    run = content["runs"][1]
    path = next(iter(run["files"]))
    run["files"][path][1] = "0" * 64
    (listed,) = (file for file in content["files"] if file["name"] == f"runs/{run['id']}/{path}")
    listed["sha256"] = "0" * 64


def _climbing(content: dict[str, Any]) -> None:
    run = content["runs"][1]
    run["files"]["../../evil"] = run["files"].pop(next(iter(run["files"])))


def _artifact(members: dict[str, bytes]) -> str:
    return next(name for name in members if name.endswith("hops.jsonl.gz"))


def _one_byte(members: dict[str, bytes]) -> None:
    data = bytearray(members[_artifact(members)])
    data[40] ^= 1
    members[_artifact(members)] = bytes(data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_one_byte, "has another checksum"),
        (lambda members: members.pop(_artifact(members)), "is missing"),
        (lambda members: members.update({"runs/x": b""}), "runs/x is not in its manifest"),
        (lambda members: members.update({"../x": b""}), "the name '../x' is not safe"),
        (lambda members: members.update({"/etc/x": b""}), "the name '/etc/x' is not safe"),
        (lambda members: members.update({"a\\b": b""}), "is not safe"),
        (lambda members: members.update({"runs": b""}), "a file has the name of a folder"),
        (lambda members: members.pop("manifest.json"), "it has no manifest.json"),
        (lambda members: members.update({"manifest.json": b"{"}), "its manifest cannot be read"),
        (lambda members: members.update({"manifest.json": b"[]"}), "its manifest cannot be read"),
        (_edit(_better, digest=False), "manifest.json has another checksum"),
        (_edit(_other_sum, digest=True), "has another checksum"),
        (_edit(_climbing, digest=True), "'../../evil' is not safe"),
        (_edit(lambda content: content["runs"].pop(0), digest=True), "list of files"),
        (_edit(lambda content: content.update(format=2), digest=True), "The bundle has format 2"),
        (_edit(lambda content: content["runs"][1].update(id="' or 1"), digest=True), "no run's id"),
        (_edit(lambda content: content["runs"][1].update(kind="x"), digest=True), "no kind of run"),
    ],
)
def test_a_changed_bundle_is_refused_and_nothing_is_written(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Change, says: str
) -> None:
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert says in refused(tmp_path, capfd, "import", str(tmp_path / "changed.zip"))
    assert not (tmp_path / "mlruns").exists()


def _truncated(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes()[:-500])


def _deflated(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def _linked(source: Path, target: Path) -> None:
    shutil.copy(source, target)
    with zipfile.ZipFile(target, "a") as archive:
        info = zipfile.ZipInfo("runs/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")


def _doubled(source: Path, target: Path) -> None:
    shutil.copy(source, target)
    with zipfile.ZipFile(target, "a") as archive:
        name = _artifact(dict.fromkeys(archive.namelist(), b""))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(name, b"other")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_truncated, "it is no whole zip"),
        (_deflated, "was packed by something else"),
        (_linked, "is a link"),
        (_doubled, "appears twice"),
        (lambda source, target: target.write_text("no zip"), "it is no whole zip"),
        (lambda source, target: None, "There is no file"),
    ],
)
def test_a_damaged_file_is_refused_and_nothing_is_written(
    bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    change: Callable[[Path, Path], None],
    says: str,
) -> None:
    change(bundle, tmp_path / "changed.zip")
    assert says in refused(tmp_path, capfd, "import", str(tmp_path / "changed.zip"))
    assert not (tmp_path / "mlruns").exists()


def test_whatever_byte_is_flipped_no_other_content_is_read(bundle: Path, tmp_path: Path) -> None:
    """What zip has of dates and the like may change unseen; what is brought in may not."""
    whole, good = bundle.read_bytes(), open_bundle(bundle, lambda *words: None).manifest
    draw, seen = random.Random(0), 0
    directory = [
        (position, bit) for position in range(len(whole) - 22, len(whole)) for bit in range(8)
    ]
    anywhere = [(draw.randrange(len(whole)), draw.randrange(8)) for _ in range(300)]
    for position, bit in directory + anywhere:
        data = bytearray(whole)
        data[position] ^= 1 << bit
        (tmp_path / "flipped.zip").write_bytes(data)
        try:
            opened = open_bundle(tmp_path / "flipped.zip", lambda *words: None)
        except BadInput:
            seen += 1
        else:
            assert repr(opened.manifest) == repr(good)
    assert seen > 250


def test_a_server_and_no_secret(
    alpha: Path, bundle: Path, there: Path, fresh: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Into an MLflow server, again, and out of it by an address with a password."""
    with mlflow_server(fresh, tmp_path) as address:
        assert "5 runs are new" in brought(capfd, there, str(bundle), "--tracking-uri", address)
        assert_same(open_store(None, alpha), open_store(address))
        again = brought(capfd, there, str(bundle), "--tracking-uri", address)
        assert "nothing was changed" in again
        with_password = address.replace("//", "//me:hunter2@")
        out = tmp_path / "out.zip"
        flags = ["export", "--study", "demo", "--out", str(out), "--tracking-uri", with_password]
        assert main(flags, there) == 0
        with open_store(address).study("own", {}, {"from": with_password}, {}):
            pass
        flags[2], flags[4] = "own", str(tmp_path / "own.zip")
        assert main(flags, there) == 0
    assert not [path for path in tmp_path.glob("*.zip") if b"hunter2" in path.read_bytes()]
    printed = capfd.readouterr()
    assert "hunter2" not in printed.out + printed.err
    manifest = open_bundle(tmp_path / "own.zip", lambda *words: None).manifest
    assert manifest.store == address.replace("//", "//***@")
    assert os.fspath(alpha) in open_bundle(out, lambda *words: None).manifest.store
