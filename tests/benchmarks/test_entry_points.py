"""Benchmarks of other packages, by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.cli.settings import parse_benchmarks
from lrm import registry
from lrm.errors import BadInput

CODE = """
from tests.support.toys.benchmark import LETTERS

class Named:
    name, version, knowledge, open_book_of, calibrates = "theirs", 1, False, "", False
    load, practice, grade, first_said = (
        LETTERS.load, LETTERS.practice, LETTERS.grade, LETTERS.first_said
    )

THEIRS, NAMELESS = Named(), object()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "their_package.py").write_text(CODE)
    info = tmp_path / "their_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[lrm.benchmarks]\ntheirs = their_package:THEIRS\nnameless = their_package:NAMELESS\n"
        "other = their_package:THEIRS\ngone = their_package:GONE\naime = their_package:THEIRS\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()
    sys.modules.pop("their_package", None)


@pytest.mark.usefixtures("package")
def test_a_package_adds_a_benchmark() -> None:
    assert parse_benchmarks("theirs,hops") == ("theirs", "hops")
    assert registry.benchmark("theirs").load()
    assert registry.is_installed("theirs")
    with pytest.raises(BadInput, match="did you mean 'theirs'"):
        registry.benchmark("their")


@pytest.mark.usefixtures("package")
def test_the_projects_own_names_stay_its_own() -> None:
    assert registry.benchmark("aime").name == "aime"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", r"cannot be loaded \(AttributeError.*repair or remove that package"),
        ("nameless", "has no name: it must offer"),
        ("other", "is named theirs: it must offer"),
    ],
)
def test_one_that_does_not_fit_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(BadInput, match=f"benchmark {name} of the package their-package {words}"):
        registry.benchmark(name)


def test_without_the_package_it_is_not_known() -> None:
    assert not registry.is_installed("theirs")
