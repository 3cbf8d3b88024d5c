"""Where databases lie, whatever their folders are called, and what a kill leaves of them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.store.db import utils as mlflow_db
from mlflow.store.tracking.dbmodels.initial_models import Base

from lrm.errors import BadInput
from tracking.address import sqlite_path
from tracking.database_files import is_absent, made_whole, rewritten, sqlite_uri
from tracking.schema import prepare
from tracking.store import open_store

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "a b",
    "a%2Fb",
    "a%b",
    "a?b",
    "a#b",
    "modèle",
    "模型",
    "a&b=c",
    "a@b:c",
    "a+b",
    "{a}",
    "a'b",
]

# MLflow's own use of an SQLAlchemy feature, once, when its store is first opened.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=9))
def test_an_address_means_its_file(name: str) -> None:
    path = Path(f"/tmp/lrm {name}/x.db")
    assert sqlalchemy.make_url(sqlite_uri(path)).database == str(path.resolve())
    assert sqlite_path(sqlite_uri(path)) == path.resolve()


def test_a_plain_address_stays_as_it_was() -> None:
    assert sqlite_uri(Path("/a b/modèle#1/x.db")) == "sqlite:////a b/modèle#1/x.db"


def test_a_folder_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadInput, match="rename its folders"):
        sqlite_uri(Path(os.fsdecode(b"/mod\xe8le/x.db")))


@pytest.mark.parametrize("name", ["a%2Fb", "a?b"])
def test_an_address_that_was_pasted_is_refused_with_the_right_one(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name / "x.db"
    path.parent.mkdir()
    with pytest.raises(BadInput, match="write sqlite:") as refused:
        sqlite_path(f"sqlite:///{path}")
    assert sqlite_uri(path) in str(refused.value)
    assert sqlite_path(sqlite_uri(path)) == path


@pytest.mark.store
@pytest.mark.parametrize("name", NAMES)
def test_all_of_a_store_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    store = open_store(None, root)
    with store.study("demo", {}, {}, {}) as study:
        study.artifact("report.html", b"here")
    assert Path(store.runs([study.id])[0].location("report.html")).read_bytes() == b"here"
    again = MlflowClient(open_store(None, root).uri)
    assert Path(again.download_artifacts(study.id, "report.html")).read_bytes() == b"here"
    assert (root / "mlruns" / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in root.iterdir()} == {"mlruns"}


def test_a_database_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(sqlite3.IntegrityError), made_whole(path) as draft:
        _write(draft, 1, 1)
    assert not list(tmp_path.iterdir())
    with made_whole(path) as draft:
        _write(draft, 2)
        assert is_absent(path)
    assert _read(path) == [2]


def test_a_copy_is_changed_before_the_original(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _write(path, 1)
    with pytest.raises(sqlite3.IntegrityError), rewritten(path) as copy:
        _write(copy, 2, 2)
    assert _read(path) == [1]
    with closing(sqlite3.connect(path)) as reader, rewritten(path) as copy:
        _write(copy, 2)
        assert reader.execute("SELECT n FROM t").fetchall() == [(1,)]
    assert _read(path) == [1, 2]


def _write(path: Path, *numbers: int) -> None:
    """Each in a transaction of its own; one that is there already raises IntegrityError."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (n UNIQUE)")
        for number in numbers:
            database.execute("INSERT INTO t VALUES (?)", (number,))


def _read(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as database:
        return [number for (number,) in database.execute("SELECT n FROM t")]


KILL = """
    import os, signal, sys
    import sqlalchemy
    from pathlib import Path

    left = int(sys.argv[2])

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def count(*_):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    root = Path(sys.argv[1])
"""
NOW = "from tracking.store import open_store; open_store(None, root)"
BEFORE = """
    from mlflow.store.db import utils
    (root / "mlruns").mkdir(parents=True)
    path = root / "mlruns" / "mlflow.db"
    utils._initialize_tables(utils.create_sqlalchemy_engine(f"sqlite:///{path}"))
"""


def _killed(root: Path, script: str, statement: int) -> None:
    code = textwrap.dedent(KILL) + textwrap.dedent(script)
    words = [sys.executable, "-c", code, str(root), str(statement)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", [NOW, BEFORE], ids=["now", "by an earlier version"])
@pytest.mark.parametrize("statement", [2, 60, 150, 300, 500])
def test_a_store_opens_after_a_kill_while_it_was_made(
    tmp_path: Path, script: str, statement: int
) -> None:
    _killed(tmp_path, script, statement)
    with open_store(None, tmp_path).study("demo", {}, {}, {}) as study:
        pass
    names = {path.name for path in (tmp_path / "mlruns").iterdir()}
    assert names == {".mlflow.db.lock", ".mlflow.lock", "artifacts", "mlflow.db"}
    assert [run.id for run in open_store(None, tmp_path).runs([study.id])] == [study.id]


def _older(path: Path, revision: str) -> None:
    """A store of an older MLflow, with an experiment."""
    engine = mlflow_db.create_sqlalchemy_engine(sqlite_uri(path))
    Base.metadata.create_all(engine)
    config = mlflow_db._get_alembic_config(sqlite_uri(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.execute(
            sqlalchemy.text(
                "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
                "VALUES (0, 'Default', 'file:///nowhere', 'active')"
            )
        )
    engine.dispose()


@pytest.mark.slow
def test_an_older_store_is_migrated_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlruns" / "mlflow.db"
    path.parent.mkdir()
    _older(path, "3500859a5d39")
    before = path.read_bytes()

    def killed(engine: sqlalchemy.Engine) -> None:
        with engine.begin() as session:
            session.execute(sqlalchemy.text("CREATE TABLE _alembic_tmp_runs (x INTEGER)"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_db, "_upgrade_db", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(path)
    assert path.read_bytes() == before
    client = MlflowClient(open_store(None, tmp_path).uri)
    assert client.get_experiment("0").name == "Default"


@pytest.mark.store
def test_the_database_of_studies_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE studies (n)")
        database.execute("CREATE TABLE alembic_version (version_num)")
        database.execute("INSERT INTO alembic_version VALUES ('v3.2.0.a')")
    with pytest.raises(BadInput, match="another program than MLflow"):
        open_store(sqlite_uri(path), tmp_path)
