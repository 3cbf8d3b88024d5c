"""Optuna's database: made, migrated, or refused in one sentence."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import pytest

from experiments.search.open_study import open_search
from lrm.errors import BadInput
from tests.experiments.test_study import BUDGETS, IDENTITY, LEVELS, opened
from tracking.database_files import sqlite_uri


def _refused(tmp_path: Path, says: str) -> None:
    before = (tmp_path / "o.db").read_bytes()
    with pytest.raises(BadInput, match=says) as refused, opened(tmp_path):
        pass
    assert "\n" not in str(refused.value)
    assert (tmp_path / "o.db").read_bytes() == before


@contextmanager
def _database(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "o.db")) as database, database:
        yield database


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with _database(tmp_path) as database:
        database.execute("CREATE TABLE experiments (n)")
        database.execute("CREATE TABLE alembic_version (version_num)")
        database.execute("INSERT INTO alembic_version VALUES ('534353b11cbc')")
    _refused(tmp_path, "belongs to MLflow")
    with _database(tmp_path) as database:
        database.execute("DROP TABLE experiments")
    _refused(tmp_path, "belongs to another program")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with _database(tmp_path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    _refused(tmp_path, "made by a newer Optuna .*pip install -U optuna")


def test_an_older_schema_is_migrated(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        taken = search.levels()
    # Before the last migration, which makes an index.
    with _database(tmp_path) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    with opened(tmp_path) as search:
        assert search.levels() == taken
    with _database(tmp_path) as database:
        assert database.execute("SELECT * FROM alembic_version").fetchall() == [("v3.2.0.a",)]
        query = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'trials_study_id_key'"
        assert database.execute(query).fetchone() == (1,)
    assert {path.name for path in tmp_path.iterdir()} == {"o.db", ".o.db.lock", "leases"}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6])
def test_a_damaged_file_is_refused(tmp_path: Path, part: float) -> None:
    with opened(tmp_path):
        pass
    data = bytearray((tmp_path / "o.db").read_bytes())
    start = int(len(data) * part)
    data[start : start + 8192] = b"\xff" * len(data[start : start + 8192])
    (tmp_path / "o.db").write_bytes(data)
    _refused(tmp_path, "damaged or none at all .*put a copy of it back")


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "o.db").touch()
    with opened(tmp_path) as search:
        assert search.levels() == set()


def test_a_kill_while_it_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    manager = "optuna.storages._rdb.storage._VersionManager.__init__"
    with monkeypatch.context() as patch:
        patch.setattr(manager, killed)
        with pytest.raises(KeyboardInterrupt), opened(tmp_path):
            pass
    assert not (tmp_path / "o.db").exists()
    with opened(tmp_path) as search:
        assert search.levels() == set()


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]])
def test_a_study_of_another_program_is_refused(tmp_path: Path, directions: list[str]) -> None:
    storage = f"sqlite:///{tmp_path / 'o.db'}"
    study = optuna.create_study(study_name="s", storage=storage, directions=directions)
    study.add_trial(optuna.create_trial(values=[1.0] * len(directions)))
    with pytest.raises(BadInput, match="not one of these searches"), opened(tmp_path):
        pass
    assert optuna.load_study(study_name="s", storage=storage).user_attrs == {}


def test_a_trial_of_another_program_counts_for_nothing(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'o.db'}")
    study.add_trial(optuna.create_trial(values=[1.0, 1.0]))
    with opened(tmp_path) as search:
        assert search.measured() == {}


@pytest.mark.parametrize("name", ["a%2Fb", "a?b", "a#b", "modèle", "{a}", "{"])
def test_it_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "o.db"
    path.parent.mkdir()
    asked = ("s", sqlite_uri(path), tmp_path / "leases", IDENTITY, LEVELS, BUDGETS, 0)
    with open_search(*asked):
        pass
    assert path.is_file()
    assert {entry.name for entry in tmp_path.iterdir()} == {name, "leases"}


def test_a_long_name_has_a_folder_of_its_own(tmp_path: Path) -> None:
    names = [f"{'/' * 100}{end}" for end in "ab"]
    for name in names:
        with opened(tmp_path, name=name):
            pass
    folders = [path.name for path in (tmp_path / "leases").iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert all(len(folder) <= 255 for folder in folders)
