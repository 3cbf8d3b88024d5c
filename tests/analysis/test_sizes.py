"""At equal bytes: what is compared with what, by hand, and the report on several studies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.reporting.variants import names, of_studies
from lrm.analysis.sizes import SizeLine, lines, pairs
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.report.data import ReportData
from lrm.report.sizes import at_equal_bytes
from tests.analysis.test_analysis import HALF, RIGHT, WRONG, grid, variant
from tests.report.test_report import reported, tables, words
from tests.support.stored_runs import SPARSITY, store_recipes, store_study
from tracking.store import open_store

DENSE = {"study": "pruned", "engine": "transformers"}
MOSTLY_WRONG = [1.0] * 4 + [0.0] * 16


def dense(
    study: str, engine: str = "transformers", model: str = "m", size: float = 16e6
) -> Variant:
    return variant(
        grid(RIGHT), f"{model} of {study}", study=study, engine=engine, bytes=size, model=model
    )


def small(scores: list[float], name: str, size: float, study: str, method: str) -> Variant:
    engine = "llama_cpp" if method == "gguf" else "transformers"
    more = {"study": study, "method": method, "engine": engine, "bytes": 16e6}
    return variant(grid(scores), name, None, packed_bytes=size, **more)


def three() -> list[Variant]:
    """A pruned model, the same quantized, and a smaller one."""
    return [
        dense("pruned"),
        small(RIGHT, "a", 9e6, "pruned", "sparsegpt"),
        small(WRONG, "b", 5e6, "pruned", "sparsegpt"),
        dense("quantized", "llama_cpp"),
        small(RIGHT, "c", 8e6, "quantized", "gguf"),
        small(MOSTLY_WRONG, "d", 4e6, "quantized", "gguf"),
        small(RIGHT, "e", 3e6, "quantized", "gguf"),
        dense("single", model="distilled", size=4.5e6),
    ]


def named(found: list[SizeLine]) -> Mapping[str, list[str]]:
    return {line.name: [one.name for one in line.points] for line in found}


def test_lines_are_models_by_method_and_the_original_is_none() -> None:
    found = lines(three())
    assert named(found) == {
        "m sparsegpt": ["a", "b"],
        "m gguf": ["c", "d", "e"],
        "distilled dense": ["distilled of single"],
    }
    assert [line.dense and line.dense.name for line in found] == [
        "m of pruned", "m of quantized", "distilled of single"
    ]  # fmt: skip


def test_collapse_goes_by_bytes_and_the_last_that_holds_is_told() -> None:
    pruned, quantized, distilled = lines(three())
    assert pruned.collapse("aime", 64).sentence == (
        "aime: falls below 50% of the dense accuracy at 5,000,000 bytes [5,000,000 to 5,000,000]."
    )
    assert quantized.collapse("aime", 64).at == 4e6
    smallest = quantized.smallest("aime", 64)
    assert smallest is not None
    assert smallest.name == "e"
    assert pruned.smallest("aime", 64) is pruned.points[0]
    with pytest.raises(BadInput, match="this needs the dense model and a smaller one"):
        distilled.collapse("aime", 64)


def test_of_equal_sizes_the_best_counts() -> None:
    twins = [small(WRONG, "x", 5e6, "s", "gguf"), small(HALF, "y", 5e6, "s", "gguf")]
    for several in (twins, twins[::-1]):
        (line,) = lines([dense("s"), *several])
        assert line.collapse("aime", 64).at is None


def test_pairs_are_the_nearest_from_above_each_once() -> None:
    found = pairs(lines(three()), ["aime"], 64)
    assert [(one.smaller.name, one.larger.name) for one in found] == [
        ("b", "c"), ("c", "a"), ("d", "b"), ("d", "distilled of single"), ("e", "b"),
        ("e", "distilled of single"), ("distilled of single", "b"), ("distilled of single", "c"),
    ]  # fmt: skip
    first = found[0].differences["aime"]
    assert (first.value, first.significant) == (-1, True)
    assert found[0].ratio == pytest.approx(1.6)
    equal = [dense("s"), small(RIGHT, "x", 5e6, "s", "gguf"), small(RIGHT, "y", 5e6, "t", "awq")]
    assert len(pairs(lines(equal), ["aime"], 64)) == 1


def test_what_is_not_known_is_not_compared() -> None:
    unsized = variant(grid(RIGHT), "unsized", 0.5)
    assert lines([unsized]) == []
    alone = lines([small(RIGHT, "c", 8e6, "quantized", "gguf")])
    assert alone[0].dense is None
    assert alone[0].below == []
    assert alone[0].smallest("aime", 64) is None
    borrowed = lines([*three()[:4], small(RIGHT, "c", 8e6, "chain", "gguf")])[-1]
    assert borrowed.dense is not None
    assert borrowed.dense.name == "m of quantized"
    ambiguous = [dense("one"), dense("two"), small(RIGHT, "c", 8e6, "chain", "sparsegpt")]
    assert lines(ambiguous)[-1].dense is None
    other = [dense("single", model="distilled", size=4.5e6), unsized]
    figure = at_equal_bytes(ReportData([*ambiguous, *other], {}, {}, {}))
    assert "Left out, since their bytes were not measured: unsized." in figure.text
    assert any(
        told.startswith("Shown without a collapse point") and told.endswith(": m sparsegpt.")
        for told in figure.text
    )


def test_one_method_alone_is_no_comparison() -> None:
    with pytest.raises(BadInput, match="report several studies, with --study A B"):
        at_equal_bytes(ReportData(three()[:3], {}, {}, {}))


# The report


def series(section: str) -> set[str]:
    specs = re.findall(r'json">({"data".*?)</script>', section, re.S)
    return {dot["series"] for spec in specs for dot in json.loads(spec)["data"]["values"]}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a pruned, a quantized and a chained study of a model, and a smaller model."""
    root = tmp_path_factory.mktemp("project")
    store_study(root, "pruned", packed={0.0: 1e6, 0.5: 6e5, 0.7: 4e5})
    store_study(root, "before", measured=SPARSITY[1:2])
    store_study(root, "smaller", measured=(0.0,), model="small", packed={0.0: 3e5})
    store_recipes(root, "quantized", {"f16": (1.1e6, 0), "Q8_0": (5e5, 0), "Q2_K": (2e5, 0.75)})
    chain = {"first": "sparsegpt@0.5", "method": "gguf"}
    store_recipes(root, "chained", {"Q8_0": (4.5e5, 0.5)}, **chain)
    found = reported(root, "--study", "pruned", "quantized", "chained", "smaller", "before")
    (run,) = open_store(None, root)._backend.runs("report")
    assert run.artifact("figures/at_equal_bytes.png")
    return found


@pytest.mark.store
def test_the_same_dense_model_of_two_studies_is_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        store_study(tmp_path, name, measured=SPARSITY[:2])
    selection = of_studies(open_store(None, tmp_path), ["one", "two", "one"])
    assert names(selection.records) == [
        "dense (one)", "sparsegpt 50% (one)", "dense (two)", "sparsegpt 50% (two)"
    ]  # fmt: skip
    assert of_studies(open_store(None, tmp_path), ["one"]).study is not None


def test_one_recipe_on_two_calibrations_is_told_apart() -> None:
    shared = {"model": "m", "method": "gptq", "recipe": "3-g128"}
    sources = ("own reasoning on practice questions of arithmetic", "C4 text")
    records: Any = [
        SimpleNamespace(
            name="x", id=name, kind="level", tags={}, params={**shared, "calibration": name}
        )
        for name in sources
    ]
    assert names(records) == ["gptq 3-g128 (own reasoning)", "gptq 3-g128 (C4 text)"]


@pytest.mark.store
def test_several_studies_stand_in_one_report(page: str) -> None:
    rows = tables(page)["Sizes"]
    sizes = {row[1]: (row[0], row[2]) for row in rows}
    assert [row[0] for row in rows if row[1] == "tiny dense (transformers)"] == [
        "tiny sparsegpt (pruned)", "tiny sparsegpt (before)"
    ]  # fmt: skip
    assert [row[0] for row in rows if row[1] == "tiny dense (llama_cpp)"] == [
        "tiny gguf", "tiny sparsegpt@0.5, then gguf"
    ]  # fmt: skip
    assert sizes["tiny gguf Q2_K"] == ("tiny gguf", "200,000")
    assert sizes["tiny sparsegpt@0.5, then gguf Q8_0"][1] == "450,000"
    assert sizes["small dense"] == ("small dense", "300,000")
    assert "Counted with their zeros" in words(page)
    assert "tiny sparsegpt 50% (before)" in words(page)
    assert "before: The study is unfinished" in words(page)


@pytest.mark.store
def test_each_is_measured_against_its_own_dense_model(page: str) -> None:
    losses = {row[0]: row[8] for row in tables(page)["Losses"]}
    assert set(losses) >= {"tiny gguf Q2_K", "tiny sparsegpt@0.5, then gguf Q8_0"}
    assert "tiny gguf: knowledge benchmarks" in page
    assert '<section id="inflation">' in page


@pytest.mark.store
def test_many_variants_are_told_apart_by_more_than_colour(page: str) -> None:
    frontier = page.partition('<section id="frontier">')[2].partition("</section>")[0]
    assert {"tiny dense (pruned)", "tiny gguf", "small dense"} <= series(frontier)
    endings = page.partition('<section id="endings">')[2].partition("</section>")[0]
    assert series(endings) == {"arithmetic", "hops"}


@pytest.mark.store
def test_collapse_by_bytes_stands_beside_each_other(page: str) -> None:
    rows = {(row[0], row[1]): row[2:] for row in tables(page)["Collapse by bytes"]}
    assert rows["tiny sparsegpt (pruned)", "hops"][0].startswith("600,000 bytes [")
    assert rows["tiny gguf", "hops"][0].startswith("200,000 bytes [")
    assert rows["tiny gguf", "hops"][1] == "500,000"


@pytest.mark.store
def test_pairs_say_where_nothing_differs(page: str) -> None:
    rows = {(row[0], row[2]): row[4] for row in tables(page)["Pairs of about the same bytes"]}
    told = rows["tiny gguf Q8_0", "tiny sparsegpt 50% (pruned)"]
    assert "higher" in told or "no significant difference" in told
    assert any("no significant difference" in cell for cell in rows.values())
    counts = {tuple(row[:2]): row[2:] for row in tables(page)["Outcomes of the pairs"]}
    cells = [told for (_, larger), told in rows.items() if larger == "small dense"]
    assert cells
    assert sum(map(int, counts["tiny gguf", "small dense"])) == 2 * len(
        [row for row in rows if row[0].startswith("tiny gguf ") and row[1] == "small dense"]
    )
