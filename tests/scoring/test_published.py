"""The paper's figures are the paper's, and a verdict says no more than the questions allow."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrm.errors import BadInput
from lrm.scoring import published
from lrm.scoring.published import Published, compare, find, rows, table
from lrm.stats.intervals import wilson
from lrm.stats.paired import difference

NAMES = [row.name for row in published.TABLE]
FULL = [row for row in published.TABLE if {"aime", "folio", "temporal"} <= set(row.accuracy)]
AWQ = find("r1-distill-llama-8b/awq-4bit")
sides = st.tuples(st.floats(0, 1), st.integers(1, 400))


def made(name: str, accuracy: float) -> Published:
    return Published("model", "method", 1, {name: accuracy})


@pytest.mark.parametrize(
    ("name", "runs", "accuracy", "average", "f1"),
    [
        ("deepseek-r1/none", 1, (0.733, 0.764, 0.996, 0.17), 0.831, 0.2751),
        ("deepseek-r1/2.51bit", 1, (0.767, 0.778, 1.0, 0.17), 0.848, 0.2443),
        ("deepseek-r1/1.73bit", 1, (None, None, None, None), 0.815, None),
        ("r1-distill-llama-70b/sparsegpt-50", 3, (0.233, 0.716, 0.976, 0.067), 0.642, 0.1349),
        ("r1-distill-qwen-32b/none", 3, (0.644, 0.823, 0.999, 0.027), 0.822, 0.1095),
        ("r1-distill-llama-8b/awq-4bit", 3, (0.478, 0.68, 0.84, 0.003), 0.666, None),
        ("r1-distill-llama-8b/awq-3bit", 1, (0.1, 0.596, 0.684, None), 0.46, None),
        ("r1-distill-llama-8b/any3", None, (None, None, None, None), 0.294, None),
        ("r1-distill-llama-70b/sparsegpt-0-sweep", 1, (0.633, 0.788, None, 0.13), None, None),
        ("r1-distill-llama-70b/sparsegpt-40-sweep", 1, (0.567, 0.739, None, 0.06), None, None),
        ("r1-distill-llama-70b/sparsegpt-70-sweep", 1, (0.0, 0.498, None, None), None, None),
    ],
)
def test_figures_are_the_papers_and_nothing_is_filled_in(
    name: str,
    runs: int | None,
    accuracy: tuple[float | None, ...],
    average: float | None,
    f1: float | None,
) -> None:
    row = find(name)
    assert tuple(row.accuracy.get(benchmark) for benchmark in published.QUESTIONS) == accuracy
    assert (row.runs, row.average, row.f1) == (runs, average, f1)


@pytest.mark.parametrize("row", [r for r in FULL if r.average is not None], ids=lambda r: r.name)
def test_average_is_the_mean_of_three(row: Published) -> None:
    mean = sum(row.accuracy[name] for name in ("aime", "folio", "temporal")) / 3
    assert row.average == pytest.approx(mean, abs=0.0006)


def test_names_are_unique_and_found_in_any_case() -> None:
    assert len(set(NAMES)) == len(published.TABLE) == 21
    assert [find(name.upper()) for name in NAMES] == list(published.TABLE)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"'.*awq-4': did you mean 'r1-distill-llama-8b/awq-4bit'"):
        find("r1-distill-llama-8b/awq-4")
    with pytest.raises(BadInput, match=r"choose from deepseek-r1/1\.58bit, "):
        find("?")


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 100), (16, 30), (139, 203), (250, 250)])
def test_wilson_is_the_librarys_where_hits_are_whole(hits: int, n: int) -> None:
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    ours = wilson(hits / n, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_difference_is_newcombes(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """Worked examples of Newcombe 1998, method 10."""
    (a, m), (b, n) = one, other
    gap = difference(wilson(a / m, m), wilson(b / n, n))
    assert (gap.low, gap.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("benchmark", "ours", "theirs", "verdict"),
    [
        ("aime", 15 / 30, 0.478, "compatible"),
        ("aime", 30 / 30, 0.10, "higher"),
        ("temporal", 0 / 250, 0.84, "lower"),
        ("musique", 0 / 100, 0.0, "compatible"),
        ("temporal", 250 / 250, 1.0, "compatible"),
    ],
)
def test_verdicts_by_hand(benchmark: str, ours: float, theirs: float, verdict: str) -> None:
    n = published.QUESTIONS[benchmark]
    (comparison,) = compare(made(benchmark, theirs), {benchmark: (ours, n)})
    assert comparison.verdict == verdict


@given(sides, sides)
def test_swapping_the_sides_negates_the_difference(
    first: tuple[float, int], second: tuple[float, int]
) -> None:
    sides = wilson(*first), wilson(*second)
    there, back = difference(*sides), difference(*sides[::-1])
    assert (there.value, there.low, there.high) == (-back.value, -back.high, -back.low)
    assert there.low >= -1 - 1e-12
    assert there.high <= 1 + 1e-12


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_better_score_never_gets_a_worse_verdict(
    n: int, theirs: float, first: float, second: float
) -> None:
    order = ("lower", "compatible", "higher")
    worse, better = sorted((first, second))
    ranks = [
        order.index(compare(made("aime", theirs), {"aime": (ours, n)})[0].verdict)
        for ours in (worse, better)
    ]
    assert ranks == sorted(ranks)


def test_only_what_both_have_is_compared() -> None:
    ours = {"arithmetic": (1.0, 50), "temporal": (0.832, 100), "aime": (16 / 30, 30)}
    comparisons = compare(AWQ, ours)
    assert [(item.benchmark, item.ours_n, item.theirs_n, item.runs) for item in comparisons] == [
        ("aime", 30, 30, 3),
        ("temporal", 100, 250, 3),
    ]
    assert compare(find("r1-distill-llama-8b/any4"), ours) == []


@pytest.mark.parametrize("bad", [(53.3, 30), (-0.1, 30), (0.5, 0), (float("nan"), 30)])
def test_percentages_and_no_questions_are_refused(bad: tuple[float, int]) -> None:
    with pytest.raises(BadInput, match="give a fraction from 0 to 1 and at least 1 question"):
        compare(AWQ, {"aime": bad})


def test_the_table_names_the_paper_and_says_no_more_than_a_verdict() -> None:
    shown = table(compare(AWQ, {"aime": (0.5, 30), "temporal": (0.5, 250)}), AWQ)
    assert shown.heading == (
        "Compared with R1-Distill-Llama-8B, compression: AWQ 4-bit (arXiv 2504.02010)"
    )
    assert shown.rows[0] == (
        "aime", "50.0% [33, 67]", "30", "47.8% [31, 65]", "30", "3", "+2.2 [-22, +26]",
        "compatible",
    )  # fmt: skip
    assert len({len(line) for line in shown.text().splitlines()[1:4]}) == 1
    assert "F1" not in shown.note
    dense = find("r1-distill-llama-8b/none")
    assert "F1 on musique: 4.4%, without a verdict" in table(compare(dense, {}), dense).note


def test_the_table_says_when_there_is_nothing_to_compare() -> None:
    only = find("deepseek-r1/1.73bit")
    assert "the paper reports only the average. The paper's average" in table([], only).note
    assert "81.5%" in table([], only).note
    assert "the paper reports aime, folio, temporal, musique." in table([], AWQ).note


def test_rows_are_flat_and_go_through_json() -> None:
    records = rows(compare(AWQ, {"aime": (0.5, 30)}), AWQ)
    assert json.loads(json.dumps(records)) == records
    assert records[0]["published"] == "r1-distill-llama-8b/awq-4bit"
    assert (records[0]["ours"], records[0]["theirs"], records[0]["theirs_runs"]) == (0.5, 0.478, 3)
    assert records[0]["difference_low"] < 0 < records[0]["difference_high"]
