"""The report: whole, offline, safe whatever a text holds, and no number that the artifacts lack."""

from __future__ import annotations

import csv
import gzip
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pyarrow.parquet as parquet
import pytest
import vl_convert

from experiments.outcomes.sparsity import collapse_text
from experiments.report import main
from lrm.analysis.collapse import Collapse
from lrm.records.point import Interval
from lrm.report.charts import ChartAxis, Dot, curves, intervals
from lrm.report.data import ReportData
from lrm.report.figure import Figure, Panel
from lrm.report.frontier import frontier
from lrm.report.samples import ALL_CHARACTERS, Picker, fitting, shortened
from tests.analysis.test_analysis import grid, variant
from tests.support.stored_runs import (
    BUDGETS,
    SPARSITY,
    row,
    store_import,
    store_study,
    write_generations,
)
from tests.support.stored_runs import stored as stored_reply
from tracking.store import open_store

HOSTILE = "</script><script>alert('x')</script>&\"<img src=http://evil>"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder, whose store is made once for all tests."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def study(root: Path) -> tuple[Path, str]:
    """The artifacts of a study's run, and the page of its report."""
    store_study(root)
    page = reported(root, "--study", "made-up")
    (file,) = root.glob("mlruns/artifacts/studies/*/artifacts/report.html")
    return file.parent, page


def reported(root: Path, *flags: str) -> str:
    out = root / "out.html"
    out.unlink(missing_ok=True)
    assert main([*flags, "--out", str(out)], root) == 0
    return out.read_text(encoding="utf-8")


def refused(root: Path, capfd: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(list(flags), root) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    return printed.err


def tables(page: str) -> dict[str, list[list[str]]]:
    """Rows of cells by the heading of their table, those of equal headings together."""
    found: dict[str, list[list[str]]] = {}
    for heading, table in re.findall(
        r"<h3>(.*?)</h3>\s*<div[^>]*><table>(.*?)</table>", page, re.S
    ):
        rows = [re.findall(r"<td>(.*?)</td>", line, re.S) for line in table.split("<tr>")]
        found.setdefault(heading, []).extend([list(map(html.unescape, r)) for r in rows if r])
    return found


def words(page: str) -> str:
    """The page's text without its scripts and tags."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def stored(folder: Path, run_id: str, benchmark: str) -> list[dict[str, Any]]:
    levels = folder.parents[2] / "levels"
    file = levels / run_id / "artifacts" / "generations" / f"{benchmark}.jsonl.gz"
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


@pytest.mark.store
def test_ten_numbers_come_from_the_artifacts_alone(study: tuple[Path, str]) -> None:
    """Accuracy and tokens of every point, worked out again from the stored rows, by hand."""
    folder, page = study
    points = [cells for cells in tables(page)["All points"] if cells[0] in ("arithmetic", "hops")]
    assert len(points) == 2 * len(SPARSITY) * len(BUDGETS) >= 10
    for benchmark, _, budget, accuracy, tokens, run_id, _ in points:
        rows = stored(folder, run_id, benchmark)
        forced = {r["question"]: r for r in rows if r["budget"] == int(budget)}
        seen = [
            r if r["thinking_tokens"] <= int(budget) else forced[r["question"]]
            for r in rows
            if r["budget"] is None
        ]
        mean = sum(r["score"] for r in seen) / len(seen)
        length = sum(r["tokens"] for r in seen) / len(seen)
        assert accuracy.startswith(f"{100 * mean:.1f}% [")
        assert tokens.startswith(f"{length:,.1f} [")


@pytest.mark.store
def test_every_figure_is_there_and_none_is_empty(study: tuple[Path, str]) -> None:
    folder, page = study
    for name in ("frontier", "by_budget", "by_level", "tokens_by_level", "endings",
                 "short_against_long", "knowledge", "inflation", "first_right", "efficiency",
                 "hypervolume"):  # fmt: skip
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f'<section id="{name}">' in page
    specs = [json.loads(spec) for spec in re.findall(r'json">(\{"data".*?)</script>', page, re.S)]
    assert len(specs) >= 12
    for spec in specs:
        assert spec["data"]["values"]
        assert all(layer["data"]["values"] for layer in spec["layer"] if "data" in layer)
    assert (folder / "report.html").read_text(encoding="utf-8") == page
    assert "Not shown" in page
    assert "the paper has no figures for these models" in words(page)
    assert "confounded by difficulty" in words(page)


@pytest.mark.store
def test_hovering_tells_the_run(study: tuple[Path, str]) -> None:
    _, page = study
    run_id = tables(page)["All points"][0][5]
    frontier = page.partition('<section id="frontier">')[2].partition("</section>")[0]
    chart = frontier.partition('json">')[2].partition("</script>")[0]
    assert run_id in chart
    assert [item["title"] for item in json.loads(chart)["layer"][-2]["encoding"]["tooltip"]][
        -1
    ] == "run"


@pytest.mark.store
def test_the_tidy_tables_hold_the_same(study: tuple[Path, str]) -> None:
    folder = study[0] / "tidy"
    settings = parquet.read_table(folder / "settings.parquet").to_pylist()
    lines = list(csv.DictReader((folder / "settings.csv").read_text().splitlines()))
    assert len(settings) == len(lines) == 2 * len(SPARSITY) * (len(BUDGETS) + 1)
    assert [float(line["accuracy"]) for line in lines] == [one["accuracy"] for one in settings]
    replies = parquet.read_table(folder / "replies.parquet")
    assert replies.num_rows == 12 * len(settings)
    unpacked = gzip.decompress((folder / "replies.csv.gz").read_bytes()).decode()
    assert len(unpacked.splitlines()) == replies.num_rows + 1


@pytest.mark.store
def test_the_page_reaches_for_nothing(study: tuple[Path, str]) -> None:
    _, page = study
    assert len(page.encode()) < 5_000_000
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(
        r"(?i)(src|href|action)\s*=\s*[\"']?(?!#|\"\")", own.replace('href="#', "")
    )
    assert "@import" not in own
    assert "url(" not in own


@pytest.mark.store
def test_hostile_texts_are_shown_and_do_nothing(root: Path) -> None:
    rows = [
        row("arithmetic", HOSTILE, i % 2, 9 + i, text=f"{HOSTILE}</think>{HOSTILE}", sample=i,
            prompt=HOSTILE, gold=[HOSTILE], answer=HOSTILE)
        for i in range(4)
    ]  # fmt: skip
    run_id = store_import(root, "hostile", rows, model=HOSTILE, method=HOSTILE)
    page = reported(root, "--runs", run_id)
    assert "alert('x')</script>" not in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "<img" not in own
    assert own.count("&lt;img") >= 10
    assert HOSTILE in html.unescape(own)


@pytest.mark.store
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_right_or_all_wrong(root: Path, score: float) -> None:
    run_id = store_import(
        root, f"all {score}", [row("aime", f"q{i}", score, 9 + i) for i in range(6)]
    )
    page = words(reported(root, "--runs", run_id))
    assert "no significant difference" in page
    assert f"{100 * score:.1f}% [" in page


@pytest.mark.store
def test_one_question_and_one_sample_say_what_is_missing(root: Path) -> None:
    run_id = store_import(root, "single", [row("aime", "q", 1, 9)])
    page = words(reported(root, "--runs", run_id))
    assert "Across questions there is nothing to compare: one question was asked." in page
    assert "Within questions there is nothing to compare: each has one reply." in page
    assert "100.0%" in page
    assert not re.search(r"100\.0% \[|9\.0 \[", page)
    assert "this needs one dense model among the runs" in page
    assert "no budgets were set" in page


@pytest.mark.store
def test_samples_of_a_question_are_split_within(root: Path) -> None:
    rows = [
        row("aime", f"q{i}", float(k < 2), 10 * (k + 1), sample=k)
        for i in range(9)
        for k in range(4)
    ]
    page = words(reported(root, "--runs", store_import(root, "sampled", rows)))
    assert "Within questions, awq" not in page
    assert "aime, awq, within questions: shorter replies are more accurate" in page
    assert "samples per question: 4" in page


@pytest.mark.store
def test_unequal_questions_are_named_and_left_out(root: Path) -> None:
    one = store_import(root, "five", [row("aime", f"q{i}", 1, 9) for i in range(5)])
    other = store_import(root, "seven", [row("aime", f"q{i}", 0, 9) for i in range(1, 8)])
    page = words(reported(root, "--runs", one, other))
    assert "Shown are the 4 that all answered; left out are q0, q5, q6, q7." in page
    client = open_store(None, root)._backend
    (report,) = client.runs("report")
    assert report.artifact("report.html")
    reported(root, "--runs", one, other)
    assert len(client.runs("report")) == 1


@pytest.mark.store
def test_nothing_in_common_is_refused(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = store_import(root, "first", [row("aime", "q1", 1, 9)])
    other = store_import(root, "second", [row("aime", "q2", 0, 9)])
    assert "no questions in common" in refused(root, capfd, "--runs", one, other)


@pytest.mark.store
def test_a_score_that_is_no_number_is_refused(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_id = store_import(root, "nan", [row("aime", "q1", float("nan"), 9)])
    assert "not a number from 0 to 1" in refused(root, capfd, "--runs", run_id)


@pytest.mark.store
@pytest.mark.parametrize(
    "spoilt",
    [
        lambda packed: packed[:40],
        lambda packed: b"no gzip" + packed,
        lambda packed: packed[:20] + bytes(20) + packed[40:],
        lambda packed: gzip.compress(gzip.decompress(packed)[:-9]),
        lambda packed: gzip.compress(gzip.decompress(packed).replace(b"Let", b"\xff")),
    ],
    ids=["cut", "no gzip", "overwritten", "half a line", "no UTF-8"],
)
def test_a_damaged_file_is_refused(
    root: Path, capfd: pytest.CaptureFixture[str], spoilt: Callable[[bytes], bytes]
) -> None:
    run_id = store_import(root, "damaged", [row("aime", "q1", 1, 9)])
    (file,) = root.glob(f"mlruns/artifacts/*/{run_id}/artifacts/generations/aime.jsonl.gz")
    file.write_bytes(spoilt(file.read_bytes()))
    said = refused(root, capfd, "--runs", run_id)
    assert f"{file} is damaged" in said
    assert f"delete run {run_id}" in said


@pytest.mark.store
def test_an_unfinished_study_says_so(root: Path) -> None:
    store_study(root, "stopped", measured=SPARSITY[:2])
    page = words(reported(root, "--study", "stopped"))
    assert "The study is unfinished: 2 of 3 levels are measured." in page


@pytest.mark.store
def test_a_run_that_failed_says_so(root: Path) -> None:
    store = open_store(None, root)
    with (
        pytest.raises(RuntimeError) as raised,
        store.imported("failed", "id", {"model": "m"}, {}) as run,
    ):
        write_generations(run, "aime", [row("aime", "q", 1, 9)])
    page = words(reported(root, "--runs", run.id))
    assert f"failed is unfinished (FAILED: RuntimeError: {raised.value})" in page


@pytest.mark.store
def test_intervals_without_an_end_are_not_drawn(root: Path) -> None:
    """One question says nothing of a ratio of lengths, and a bar to infinity is no figure."""
    store_study(root, "few", questions=1)
    page = reported(root, "--study", "few")
    assert "no interval is known: too few questions were asked." in words(page)
    assert "Infinity" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)


@pytest.mark.store
def test_what_cannot_be_reported_on(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store_study(root, "empty", measured=())
    assert "has no finished level yet" in refused(root, capfd, "--study", "empty")
    assert "did you mean 'empty'?" in refused(root, capfd, "--study", "emty")
    study = open_store(None, root).study_runs("empty")[0]
    assert "holds no generations" in refused(root, capfd, "--runs", study.id)
    assert "There is no run 'abc'" in refused(root, capfd, "--runs", "abc")
    assert "Give either --study NAME... or --runs" in refused(root, capfd)
    both = refused(root, capfd, "--study", "made-up", "--runs", study.id)
    assert "only one of them" in both


def test_out_must_be_writable(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = str(tmp_path / "nowhere" / "out.html")
    assert "give a file in a writable folder" in refused(
        tmp_path, capfd, "--study", "x", "--out", where
    )
    assert not (tmp_path / "mlruns").exists()


def test_long_studies_keep_to_the_room_there_is() -> None:
    """The first sample of every kind comes before any second."""
    ranked = []
    for i in range(400):
        picker = Picker("tokens")
        for k in range(3):
            picker.add(stored_reply(row("aime", f"q{k}", 1, 9, text="so " * 3000 + "</think>7")))
        ranked += list(picker.samples(f"variant {i}"))
    kept = fitting(ranked)
    assert 0 < sum(one.characters for one in kept) <= ALL_CHARACTERS
    assert len({one.variant for one in kept}) == len(kept)


def test_forced_answers_are_no_samples_and_long_texts_lose_their_middle() -> None:
    picker = Picker("tokens")
    picker.add(stored_reply(row("aime", "q", 1, 9, budget=16)))
    assert not list(picker.samples("v"))
    text = shortened("a" * 5000 + "b" * 5000)
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert "4,000 characters" in text


def test_one_dot_makes_a_picture_of_either_kind() -> None:
    dot = Dot("only", 1.0, Interval(0.5, 0.4, 0.6), {"run": HOSTILE})
    axes = ChartAxis("x", "log"), ChartAxis("accuracy", "percent", (0, 1))
    for chart in (curves([dot], *axes, front=[(1.0, 0.5)]), intervals([dot], axes[1], mark=0.5)):
        assert Figure([], [Panel(HOSTILE, chart)], []).png().startswith(b"\x89PNG")


def test_the_dot_of_two_questions_has_no_bars() -> None:
    dots = [
        Dot(name, 3.0, Interval(0.5, 0.1, 0.9, freedom), {}, Interval(3.0, 2.0, 9.0, freedom))
        for name, freedom in (("two", 1), ("three", 2))
    ]
    axes = ChartAxis("x", "log"), ChartAxis("accuracy", "percent", (0, 1))
    for chart, bars in ((curves(dots, *axes), 2), (intervals(dots, axes[1]), 1)):
        specification = {"$schema": alt.SCHEMA_URL, "width": 300, **chart}
        svg = vl_convert.vegalite_to_svg(json.dumps(specification))
        marks = re.findall(r'aria-label="[^"]*series: (\w+)"[^>]*description="([\w ]+)"', svg)
        assert sorted(mark for mark in marks if mark[1] == "point") == [
            ("three", "point"),
            ("two", "point"),
        ]
        assert [name for name, kind in marks if kind == "rule mark"] == ["three"] * bars


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ((0.6, 0.5, None), "collapses at 60% sparsity [50% to beyond]"),
        ((None, None, None), "does not collapse in the levels measured"),
        ((None, 0.8, None), "does not collapse in the levels measured [but perhaps at 80%]"),
    ],
)
def test_collapse_in_words(at: tuple[float | None, float | None, float | None], says: str) -> None:
    assert collapse_text(Collapse("hops", 64, "sparsity", 0.5, (0.0, 0.8), *at)) == says


def test_bytes_of_the_weights_are_a_third_axis_where_they_differ() -> None:
    right, half = grid([1.0] * 8), grid([1.0] * 4 + [0.0] * 4)
    sizes = (16e6, 4e6), (16e6, 16e6)
    for several, (whole, small) in zip((True, False), sizes, strict=True):
        dense = variant(right, bytes=whole)
        packed = variant(half, "packed", None, bytes=small)
        figure = frontier(ReportData([dense, packed], {}, {}, {}))
        named = {table.heading: table for table in figure.tables}
        found = named.get("The first front, with bytes of the weights as a third cost")
        assert (found is not None) == several
        if found:
            assert [row[:2] for row in found.rows] == [
                ("packed at 64", "4,000,000"), ("dense at 64", "16,000,000")
            ]  # fmt: skip
