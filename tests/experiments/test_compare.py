"""Teams compared: who holds the joint front, what is not comparable, and what is paired."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.bundle import main as bundle
from experiments.compare import main
from lrm.digests import of_json
from lrm.stats import paired
from lrm.stats.frontier import nondominated
from tests.support import commands
from tests.support.stored_runs import row, store_import, write_generations
from tests.support.stores import copied, unwilling, uri
from tracking.store import open_store
from tracking.stored_run import StoredRun

pytestmark = pytest.mark.store

BUDGETS = (16, 64)
QUESTIONS = 12
ASKED: Mapping[str, object] = {
    "track": "paper", "temperature": 0.6, "top_p": 0.95, "max_tokens": 96, "answer_tokens": 32,
    "truncation": "truncated-is-wrong", "closing": "plain", "rows/arithmetic": "a" * 64,
}  # fmt: skip


Key = float | tuple[str, str]


@dataclass(frozen=True)
class Made:
    """A study to be written down: how many questions are right, by sparsity or by a recipe and what
    it is calibrated on; and how long each thinks."""

    right: Mapping[Key, int]
    thinking: int
    asked: Mapping[str, object]
    version: str = "1"
    budgets: Sequence[int] = BUDGETS
    questions: int = QUESTIONS


def rows(study: Made, key: Key) -> list[dict[str, Any]]:
    stored = []
    for i in range(study.questions):
        score, thinking = float(i < study.right[key]), study.thinking + i
        stored.append(row("arithmetic", f"q{i}", score, thinking))
        stored += [
            row("arithmetic", f"q{i}", score * (i % 2), budget, budget=budget)
            for budget in study.budgets
            if thinking > budget
        ]
    return stored


def params_of(key: Key) -> dict[str, object]:
    if isinstance(key, float):
        return {"method": "wanda" if key else "none", "sparsity": key}
    return {"method": "gptq", "recipe": key[0], "calibration": key[1]}


def write(root: Path, name: str, study: Made) -> None:
    identity = {"benchmarks": {"arithmetic": [study.version, "a" * 64]}}
    axis = "sparsity" if all(isinstance(key, float) for key in study.right) else "recipes"
    config = {"budgets": study.budgets, axis: list(study.right), "identity": identity}
    with open_store(None, root).study(name, {}, {}, config) as study:
        for key in study.right:
            params = {**study.asked, "model": "tiny", "benchmarks": "arithmetic"} | params_of(key)
            with study.level(of_json(key), f"tiny {key}", params) as level:
                write_generations(level, "arithmetic", rows(study, key))
                level.log_metrics({"weights/bytes": 1e6})


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fresh")
    open_store(None, root)
    return root


ALPHA = Made({0.0: 9, 0.5: 6}, 8, ASKED)
BETA = Made({0.0: 12, 0.5: 3, 0.6: 2}, 40, ASKED)


@pytest.fixture(scope="module")
def teams(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The projects of two teams, each with a study of the same name: alpha thinks shortly, beta
    longer and better."""
    folder = tmp_path_factory.mktemp("teams")
    roots = {}
    for team, study in (("alpha", ALPHA), ("beta", BETA)):
        roots[team] = copied(fresh, folder / team)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LRM_TEAM", team)
            write(roots[team], "demo", study)
    return roots


@pytest.fixture(scope="module")
def third(fresh: Path, teams: dict[str, Path]) -> Path:
    """A third project, into which both came as bundles."""
    root = copied(fresh, teams["alpha"].parent / "third")
    for team, home in teams.items():
        out = home / f"{team}.zip"
        assert bundle(["export", "--study", "demo", "--out", str(out)], home) == 0
        assert bundle(["import", str(out), "--as", f"{team} demo"], root) == 0
    return root


@pytest.fixture
def here(fresh: Path, tmp_path: Path) -> Path:
    return copied(fresh, tmp_path / "here")


@pytest.fixture(scope="module")
def alike(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a study "one", for others to be compared with."""
    root = copied(fresh, tmp_path_factory.mktemp("alike") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRM_TEAM", "t")
        write(root, "one", ALPHA)
    return root


def compared(root: Path, capfd: pytest.CaptureFixture[str], *flags: str) -> str:
    capfd.readouterr()
    assert main([*flags, "--no-report"], root) == 0
    return capfd.readouterr().out


refused = partial(commands.refused, main)


def kept(root: Path) -> list[StoredRun]:
    return open_store(None, root)._backend.runs("comparison")


def comparison(root: Path) -> dict[str, Any]:
    comparison: dict[str, Any] = json.loads(kept(root)[0].artifact("comparison.json") or b"")
    return comparison


def seen(study: Made, key: Key, budget: int) -> tuple[list[float], list[float]]:
    """Scores and lengths under a budget, by hand."""
    stored = rows(study, key)
    forced = {reply["question"]: reply for reply in stored if reply["budget"] == budget}
    at = [
        reply if reply["thinking_tokens"] <= budget else forced[reply["question"]]
        for reply in stored
        if reply["budget"] is None
    ]
    return [reply["score"] for reply in at], [reply["tokens"] for reply in at]


def test_two_teams_in_a_third_store(third: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The joint front and the paired differences, worked out again from the rows by hand."""
    text = compared(third, capfd, "--study", "alpha demo", "--study", "beta demo")
    points = [
        (team, sparsity, budget, *(float(np.mean(v)) for v in seen(study, sparsity, budget)))
        for team, study in (("alpha", ALPHA), ("beta", BETA))
        for sparsity in study.right
        for budget in BUDGETS
    ]
    front = [points[i] for i in nondominated([p[3] for p in points], [p[4] for p in points])]
    assert {point[0] for point in front} == {"alpha", "beta"}
    result = comparison(third)
    assert [
        (each["who"], each["budget"], each["accuracy"]["value"], each["tokens"]["value"])
        for each in result["front"]
    ] == [([f"{team}/{team} demo"], *rest) for team, _, *rest in front]
    own = sum(point[0] == "beta" for point in front)
    assert f"{own} of {len(front)}" in text
    (dense,) = (
        each for each in result["differences"] if (each["level"], each["budget"]) == ("dense", 64)
    )
    scores = [seen(study, 0.0, 64)[0] for study in (ALPHA, BETA)]
    apart = paired.paired_difference(*([[each] for each in side] for side in scores))
    assert dense["accuracy"]["value"] == apart.value == -0.25
    assert (dense["accuracy"]["low"], dense["accuracy"]["high"]) == (apart.low, apart.high)
    assert {each["level"] for each in result["differences"]} == {"dense", "50% sparse"}


def test_the_comparison_has_a_run_of_its_own_once(
    third: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ("--tag", "team=alpha", "team=beta")
    assert compared(third, capfd, *flags) == compared(third, capfd, *flags)
    runs = [run for run in kept(third) if "beta/beta demo" in run.params["parties"]]
    assert len({run.id for run in runs}) == len({run.tags["identity"] for run in runs})
    run = runs[0]
    assert (run.unfinished, run.params["budgets"]) == (None, "16,64")
    assert "[alpha demo](#/experiments/" in run.tags["mlflow.note.content"]
    ranks = run.history("pareto/accuracy")
    assert list(ranks) == list(range(len(comparison(third)["front"])))
    table = (run.artifact("differences.csv") or b"").decode()
    lines = list(csv.DictReader(table.splitlines()))
    assert {line["budget"] for line in lines} == {"16", "64"}


def test_one_name_in_two_stores_is_two_studies(
    teams: dict[str, Path], third: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = compared(
        here, capfd, "--study", "demo", "--tracking-uri", uri(teams["alpha"]),
        "--tracking-uri", uri(teams["beta"]),
    )  # fmt: skip
    assert "alpha/demo" in text
    assert "beta/demo" in text
    # What came as a bundle is the same study as at home, and counts once.
    tags = ("--tag", "team=alpha", "--tag", "team=beta")
    places = [uri(third), *map(uri, teams.values())]
    compared(here, capfd, *tags, "--tracking-uri", *places)
    assert len(comparison(third)["parties"]) == 2


def test_a_recipe_on_two_calibrations_is_two_levels(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own, text = "own reasoning on practice questions of arithmetic", "C4 text"
    write(here, "one", Made({("3-g128", own): 9, ("3-g128", text): 6}, 8, ASKED))
    write(here, "two", Made({("3-g128", text): 4, ("3-g128", own): 7}, 8, ASKED))
    write(here, "single", Made({("3-g128", text): 4}, 8, ASKED))
    write(here, "other", Made({("3-g128", own): 4}, 8, ASKED))

    def apart(*studies: str) -> dict[str, float]:
        compared(here, capfd, "--study", *studies)
        differences = comparison(here)["differences"]
        return {
            each["level"]: each["accuracy"]["value"] for each in differences if each["budget"] == 64
        }

    both = apart("one", "two")
    assert both == {
        "3-g128 (own reasoning)": pytest.approx(2 / 12), "3-g128 (C4 text)": pytest.approx(2 / 12)
    }  # fmt: skip
    assert apart("one", "single") == {"3-g128 (C4 text)": pytest.approx(2 / 12)}
    assert apart("single", "other") == {"3-g128": 0}


def test_single_runs(third: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two levels of other sparsities are compared as they are."""
    _, levels = open_store(None, third).study_runs("beta demo")
    ids = [run.id for run in levels if run.params["sparsity"] in ("0.5", "0.6")]
    text = compared(third, capfd, "--run", *ids)
    assert "best of each" in text
    assert {entry["run_id"] for entry in comparison(third)["parties"]} == set(ids)


def test_what_a_filter_finds(third: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Studies where some match, and levels where none does."""
    flags = ("--filter", "tags.team = 'alpha'", "--filter", "tags.team = 'beta'")
    by_name = compared(third, capfd, "--study", "alpha demo", "beta demo")
    assert compared(third, capfd, *flags) == by_name
    compared(third, capfd, "--filter", "params.sparsity = '0.5' and metrics.`weights/bytes` > 1")
    parties = comparison(third)["parties"]
    assert sorted(entry["study"] for entry in parties) == ["alpha demo", "beta demo"]
    assert [entry["levels"] for entry in parties] == [[entry["run_id"]] for entry in parties]
    said = refused(third, capfd, "--filter", "model is tiny")
    assert "--filter 'model is tiny' cannot be searched for (Invalid clause(s)" in said
    assert "what was asked for is nothing" in refused(third, capfd, "--filter", "tags.team = 'x'")


def test_replies_made_elsewhere_beside_a_study(
    alike: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import has no budgets: it may be compared with a study where replies were not cut."""
    monkeypatch.setenv("LRM_TEAM", "t")
    graded = [row("arithmetic", f"q{i}", float(i < 3), 5) for i in range(QUESTIONS)]
    run_id = store_import(alike, "theirs", graded, **ASKED)
    said = refused(alike, capfd, "--study", "one", "--run", run_id)
    assert "budgets: 16,64 (t/one), none (t/theirs)" in said
    flags = ("--study", "one", "--run", run_id, "--allow", "budgets")
    assert "best of each" in compared(alike, capfd, *flags)
    (pair,) = comparison(alike)["differences"]
    assert (pair["budget"], pair["accuracy"]["value"]) == (None, 0.5)


def test_studies_of_other_objectives_are_marked(
    alike: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRM_TEAM", "t")
    write(alike, "recipes", Made({("3-g128", "C4 text"): 4}, 8, ASKED))
    text = compared(alike, capfd, "--study", "one", "recipes")
    assert "objectives: accuracy, tokens (t/one), accuracy, tokens, bytes (t/recipes)." in text


def test_the_report_shows_both(
    third: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.html"
    assert main(["--study", "alpha demo", "beta demo", "--out", str(out)], third) == 0
    page = out.read_text(encoding="utf-8")
    assert "The joint front, and who holds it" in page
    assert "alpha/alpha demo: dense" in page
    assert "beta/beta demo holds" in page
    (run,) = (run for run in kept(third) if run.artifact("report.html"))
    assert run.artifact("report.html") == out.read_bytes()


@pytest.mark.parametrize(
    ("field", "asked", "says"),
    [
        ("track", {"track": "chat"}, "track: paper ({a}), chat ({b})"),
        ("temperature", {"temperature": 0}, "temperature: 0.6 ({a}), 0 ({b})"),
        ("closing", {"closing": "s1"}, "closing: plain ({a}), s1 ({b})"),
        ("rows", {"rows/arithmetic": "b" * 64},
         "rows of arithmetic: aaaaaaaaaaaa ({a}), bbbbbbbbbbbb ({b})"),
        ("version", None, "version of arithmetic: 1 ({a}), 2 ({b})"),
        ("budgets", None, "budgets: 16,64 ({a}), 32 ({b})"),
    ],
)  # fmt: skip
def test_what_was_asked_otherwise_is_refused_by_name(
    alike: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, field: str, asked: dict[str, object] | None, says: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("LRM_TEAM", "t")
    version, budgets = ("2" if field == "version" else "1"), ((32,) if field == "budgets" else None)
    other = Made({0.0: 8}, 8, {**ASKED, **(asked or {})}, version, budgets or BUDGETS)
    write(alike, field, other)
    flags = ("--study", "one", field)
    before = len(kept(alike))
    said = refused(alike, capfd, *flags)
    told_of = says.format(a="t/one", b=f"t/{field}")
    assert told_of in said
    assert f"--allow {field}" in said
    assert len(kept(alike)) == before
    text = compared(alike, capfd, *flags, "--allow", field)
    assert f"Not alike in {told_of}." in text
    assert kept(alike)[0].params["allowed"] == field


def test_what_does_no_harm_or_is_not_known_is_marked(
    alike: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRM_TEAM", "t")
    asked = {name: value for name, value in ASKED.items() if name != "top_p"}
    write(alike, "two", Made({0.0: 8}, 8, {**asked, "max_tokens": 200}, "1", (64, 128), 10))
    text = compared(alike, capfd, "--study", "one", "two")
    assert "Not alike in budgets: 16,64 (t/one), 64,128 (t/two)." in text
    assert "Not alike in max_tokens: 96 (t/one), 200 (t/two)." in text
    assert "Not alike in top_p: 0.95 (t/one), not known (t/two)." in text
    assert "Shown are the 10 that all answered; left out are q10, q11." in text
    assert {point["budget"] for point in comparison(alike)["front"]} == {64}


def test_what_cannot_be_compared(
    third: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    both = (uri(third), f"sqlite:///{third}/mlruns/../mlruns/mlflow.db")
    for flags, says in (
        ((), "Give what to compare"),
        (("--study", "alpha dem", "beta demo"), "did you mean 'alpha demo'?"),
        (("--study", "alpha demo"), "takes two studies or runs, and what was asked for is alpha/"),
        (
            ("--study", "alpha demo", "--study", "alpha demo"),
            "what was asked for is alpha/alpha demo:",
        ),
        (
            ("--study", "alpha demo", "--tracking-uri", *both),
            "what was asked for is alpha/alpha demo:",
        ),
        (("--tag", "team=gamma"), "what was asked for is nothing"),
        (("--tag", "team"), "write NAME=VALUE"),
        (("--tag", "a'b=c"), "cannot be searched for"),
        (("--run", "0" * 32, "x"), "There is no run"),
        (("--study", "x", "y", "--allow", "trak"), "did you mean 'track'?"),
        (("--study", "x", "y", "--out", str(here / "no" / "x.html")), "writable folder"),
    ):
        assert says in refused(third, capfd, *flags)
    assert "There is no study 'x': there is none yet." in refused(here, capfd, "--study", "x", "y")


def test_stores_that_cannot_be_used(
    third: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://me:hunter2@127.0.0.1:{unused.getsockname()[1]}"
        said = refused(third, capfd, "--study", "x", "y", "--tracking-uri", address)
    assert "Cannot use the store http://***@127.0.0.1" in said
    assert "hunter2" not in said
    with unwilling() as address:
        said = refused(third, capfd, "--study", "x", "y", "--tracking-uri", address)
    assert "The store http://***@127.0.0.1" in said
    assert "does not let you in: set MLFLOW_TRACKING_USERNAME" in said
    assert "hunter2" not in said
    shutil.copytree(third / "mlruns", tmp_path / "mlruns")
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    database.close()
    said = refused(tmp_path, capfd, "--study", "x", "y")
    assert "made by a newer MLflow (its schema ffffffffffff is not known to" in said
