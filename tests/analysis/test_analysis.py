"""Findings by hand, and what degenerate input comes to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import bench_analysis
from lrm.analysis import efficiency, fronts, knowledge, lengths, tidy
from lrm.analysis import first_correct as first
from lrm.analysis.collapse import collapse
from lrm.analysis.compare import Setting, aligned, averages, compare, geometric
from lrm.analysis.variant import Variant
from lrm.errors import BadInput
from lrm.records.point import Interval, Unit
from lrm.scoring.grid import Grid
from lrm.scoring.replies import collect
from lrm.scoring.scores import accuracy, tokens
from lrm.scoring.stored_reply import StoredReply
from lrm.stats import frontier, intervals


def grid(score: Any, tokens: Any = 10, ids: Sequence[str] = (), groups: Sequence[str] = ()) -> Grid:
    """A grid of these scores [questions, samples] or [questions]; lengths of one shape or one
    value."""
    scores = np.array(score, np.float32)
    scores = scores[:, None] if scores.ndim == 1 else scores
    told = np.array(tokens, np.float32)
    told = np.broadcast_to(told[:, None] if told.ndim == 1 else told, scores.shape).copy()
    no = np.zeros(scores.shape, bool)
    return Grid(
        questions=tuple(ids) or tuple(f"q{i}" for i in range(len(scores))),
        groups=tuple(groups) or ("",) * len(scores),
        score=scores,
        tokens=np.where(np.isnan(scores), 0, told),
        thinking=np.where(np.isnan(scores), 0, told),
        closed=~no,
        truncated=no,
        looped=no,
        forced=no,
        answered=~no,
    )


def variant(
    grids: Grid | Mapping[str, Grid], name: str = "dense", sparsity: float | None = 0.0, **more: Any
) -> Variant:
    """Measured at budget 64."""
    found = {"aime": grids} if isinstance(grids, Grid) else grids
    told = {"model": "m", "method": "none" if sparsity == 0 else "sparsegpt"}
    told |= {"study": "", "engine": "", "unit": "tokens"}
    told |= {"bits": None, "bytes": None, "packed_bytes": None} | more
    return Variant(
        name=name,
        run_id=f"run of {name}",
        sparsity=sparsity,
        grids={benchmark: {64: one} for benchmark, one in found.items()},
        **told,
    )


RIGHT, WRONG = [1.0] * 20, [0.0] * 20
HALF = [1.0] * 10 + [0.0] * 10


def test_questions_are_paired_by_id_not_by_place() -> None:
    one = grid([1, 0, 1], ids=["a", "b", "c"])
    other = grid([1, 1, 0], [7, 8, 9], ids=["c", "a", "b"])
    mine, its = aligned(one, other, ("x", "y"))
    assert mine is one
    assert its.questions == ("a", "b", "c")
    np.testing.assert_array_equal(its.score[:, 0], [1, 0, 1])
    np.testing.assert_array_equal(its.tokens[:, 0], [8, 9, 7])


@pytest.mark.parametrize("short", ["dense", "pruned"])
def test_unequal_questions_are_named_with_the_side_that_lacks_them(short: str) -> None:
    few, many = grid([1, 1]), grid([1] * 9)
    sides = {"dense": variant(few if short == "dense" else many)}
    sides["pruned"] = variant(few if short == "pruned" else many, "pruned", 0.5)
    with pytest.raises(
        BadInput, match=rf"^{short} at 64 did not answer q2, q3, q4, q5, q6 and 2 m"
    ):
        compare(Setting(sides["pruned"], 64), Setting(sides["dense"], 64), ["aime"])
    with pytest.raises(BadInput, match=f"^{short} did not answer"):
        collapse(list(sides.values()), "aime", 64)
    with pytest.raises(BadInput, match=f"^{short} did not answer"):
        knowledge.contrasts(sides["pruned"], sides["dense"], 64)


def test_a_comparison_says_what_differs_and_what_does_not() -> None:
    rng = np.random.default_rng(0)
    spread = rng.lognormal(5, 0.5, 20)
    dense, pruned = variant(grid(HALF, spread)), variant(grid(HALF, 2 * spread), "pruned", 0.5)
    found = compare(Setting(pruned, 64), Setting(dense, 64), ["aime"])
    assert found.accuracy.verdict == "no significant difference"
    assert found.tokens.value == pytest.approx(2)
    assert found.separable
    assert "no significant difference in accuracy (+0.0%)" in found.sentence
    assert "significantly more tokens (2.00 times" in found.sentence
    worse = variant(grid(WRONG, spread), "gone", 0.8)
    found = compare(Setting(worse, 64), Setting(dense, 64), ["aime"])
    assert "lower accuracy by 50.0%" in found.sentence
    assert "no significant difference in tokens" in found.sentence
    same = compare(Setting(dense, 64), Setting(dense, 64), ["aime"])
    assert not same.separable


def test_units_are_not_mixed() -> None:
    words = variant(grid(RIGHT), "import", None, unit="words")
    with pytest.raises(BadInput, match="same unit"):
        compare(Setting(words, 64), Setting(variant(grid(RIGHT)), 64), ["aime"])
    with pytest.raises(BadInput, match="tokens and in words"):
        fronts.front([Setting(words, 64), Setting(variant(grid(RIGHT)), 64)], ["aime"])


def test_what_was_not_measured_is_said() -> None:
    dense = variant(grid(RIGHT))
    with pytest.raises(BadInput, match="dense was not measured on folio at 64 thinking tokens"):
        dense.grid("folio", 64)
    with pytest.raises(BadInput, match="on aime without a budget"):
        dense.grid("aime", None)


def test_averages_leave_musique_out_of_the_papers() -> None:
    one = grid(RIGHT)
    names = ["musique", "aime", "folio", "temporal"]
    whole = variant(dict.fromkeys(names, one))
    assert averages([whole]) == {
        "average": tuple(names),
        "paper average": ("aime", "folio", "temporal"),
    }
    assert averages([whole, variant(dict.fromkeys(names[:2], one), "b")]) == {
        "average": ("musique", "aime")
    }
    assert averages([variant(one)]) == {}
    assert averages([]) == {}
    mixed = variant({"aime": grid(RIGHT), "folio": grid(WRONG)})
    assert Setting(mixed, 64).accuracy(["aime", "folio"]).value == 0.5


def test_ratios_are_averaged_on_the_logarithm() -> None:
    assert geometric([Interval(2, 2, 2), Interval(0.5, 0.5, 0.5)]).value == pytest.approx(1)
    assert geometric([Interval(2, 0, np.inf), Interval(1, 1, 1)]).high == np.inf
    assert geometric([Interval(0, 0, np.inf)]).value == 0


def sweep(scores: Mapping[float, Any], axis: str = "sparsity") -> list[Variant]:
    return [
        variant(grid(score), f"{axis} {level}", **({"sparsity": None} | {axis: level}))
        for level, score in scores.items()
    ]


def test_collapse_with_its_sentence() -> None:
    gone = [1.0] * 2 + [0.0] * 18
    found = collapse(sweep({0.6: gone, 0.0: RIGHT, 0.3: RIGHT}), "aime", 64)
    assert (found.at, found.low, found.high) == (0.6, 0.6, 0.6)
    assert found.levels == (0.0, 0.3, 0.6)
    assert found.sentence == ("aime: falls below 50% of the dense accuracy at 60% [60% to 60%].")
    bits = collapse(sweep({3.0: gone, 16.0: RIGHT, 4.0: RIGHT}, "bits"), "aime", 64, axis="bits")
    assert bits.at == 3
    assert "at 3 bits [3 to 3]" in bits.sentence
    borderline = collapse(sweep({0.0: RIGHT, 0.5: HALF}), "aime", 64)
    assert (borderline.at, borderline.low, borderline.high) == (None, 0.5, None)
    assert "but perhaps at 50%" in borderline.sentence
    assert collapse(sweep({0.0: RIGHT, 0.5: HALF}), "aime", 64, threshold=0.9).at == 0.5


def test_collapse_of_what_cannot_collapse() -> None:
    never = collapse(sweep({0.0: WRONG, 0.5: WRONG}), "aime", 64)
    assert never.at is None
    assert never.sentence == (
        "aime: the dense model does not solve this task: no answer is correct, and 0 of 20 replies "
        "never close their thinking. So nothing can collapse."
    )
    assert "only the dense" in collapse(sweep({0.0: RIGHT}), "aime", 64).sentence
    with pytest.raises(BadInput, match="appears twice"):
        collapse([*sweep({0.5: RIGHT}), *sweep({0.5: RIGHT})], "aime", 64)
    with pytest.raises(BadInput, match="has no bits"):
        collapse(sweep({0.5: RIGHT}), "aime", 64, axis="bits")
    with pytest.raises(BadInput, match="between 0 and 1"):
        collapse(sweep({0.5: RIGHT}), "aime", 64, threshold=1.5)


def test_the_frontier_of_variants() -> None:
    dense = variant(grid(RIGHT, 100), bytes=16.0)
    cheap = variant(grid([1.0] * 11 + [0.0] * 9, 20), "cheap", 0.3, bytes=8.0)
    close = variant(grid([1.0] * 12 + [0.0] * 8, 20.5), "close", 0.4, bytes=8.0)
    beaten = variant(grid(HALF, 90), "beaten", 0.5, bytes=4.0)
    settings = [Setting(one, 64) for one in (dense, beaten, cheap, close)]
    found = fronts.front(settings, ["aime"], worst_tokens=200)
    assert [found.spots[i].name for i in found.front] == [
        "cheap at 64",
        "close at 64",
        "dense at 64",
    ]
    assert found.spots[0].run_id == "run of dense"
    assert found.hypervolume == pytest.approx(0.55 * 0.5 + 0.6 * 79.5 + 1.0 * 100)
    assert found.history[-1] == pytest.approx(found.hypervolume)
    assert found.history[0] == pytest.approx(100)
    assert [pair.first for pair in found.neighbours] == ["close at 64", "dense at 64"]
    assert not found.neighbours[0].accuracy.significant
    assert found.neighbours[1].accuracy.significant
    assert found.knee == 3
    assert found.front_with_bytes is not None
    assert 1 in found.front_with_bytes  # the smallest
    assert found.worst_bytes == 16
    assert found.volume == pytest.approx(
        frontier.volume([1, 0.5, 0.55, 0.6], [100, 90, 20, 20.5], [16, 4, 8, 8], 200, 16)
    )
    alone = fronts.front(settings[:1], ["aime"])
    assert (alone.front, alone.knee, alone.hypervolume) == ((0,), None, 0)
    assert fronts.front([Setting(variant(grid(RIGHT)), 64)], ["aime"]).volume is None
    with pytest.raises(BadInput, match="No variant"):
        fronts.front([], ["aime"])


def test_short_against_long_across_questions() -> None:
    found = lengths.across(grid([1, 1, 1, 0, 1, 0, 1, 0, 0, 0], range(1, 11)))
    assert found is not None
    assert (found.short.value, found.long.value, found.difference.value) == (1, 0, 1)
    assert (found.short_count, found.long_count, found.questions) == (3, 3, 10)
    assert found.verdict == "shorter replies are more accurate"
    assert "confounded by difficulty" in found.sentence
    assert lengths.across(grid([1])) is None


def test_difficulty_makes_no_difference_within_questions() -> None:
    """Hard questions have long replies, but within a question the longer reply is the right one."""
    hard = np.arange(30)[:, None]
    told = 100 * (1 + hard) + np.array([0, 10, 20, 30])
    right = np.where(hard < 15, [1, 1, 1, 1], [0, 0, 0, 1]).astype(float)
    asked = grid(right, told)
    across, within = lengths.across(asked), lengths.within(asked)
    assert across is not None
    assert within is not None
    assert across.verdict == "shorter replies are more accurate"
    assert within.verdict == "longer replies are more accurate"
    assert within.difference.value == pytest.approx(-0.5)
    assert within.short_count == 30
    assert "difficulty plays no part" in within.sentence


def test_within_questions_of_unequal_samples() -> None:
    nan = float("nan")
    asked = grid([[1, nan, 0], [1, nan, nan], [0, 1, 1]], [[5, 1, 9], [1, 1, 1], [9, 5, 1]])
    found = lengths.within(asked)
    assert found is not None
    assert found.questions == 2
    assert (found.short.value, found.long.value) == (1, 0)
    assert lengths.within(grid(RIGHT)) is None  # one sample


def test_shares_of_endings() -> None:
    asked = grid(HALF)
    looped = np.zeros((20, 1), bool)
    looped[:5] = True
    found = lengths.endings(
        Grid(**{name: getattr(asked, name) for name in Grid.__slots__} | {"looped": looped})
    )
    assert found.looping == intervals.wilson(0.25, 20)
    assert found.unclosed.value == found.truncated.value == found.unanswered.value == 0
    assert found.unclosed.high > 0.1


def test_efficiency_scores_by_hand() -> None:
    dense, pruned = grid(HALF, 1000), grid([1.0] * 8 + [0.0] * 12, 750)
    found = efficiency.efficiency(pruned, dense)
    assert found.per_thousand is not None
    assert found.ock_score is not None
    assert found.aes is not None
    assert found.per_thousand.value == pytest.approx(40 / 0.75)
    assert found.ock_score.value == pytest.approx(40 - 10 * np.log(1.075))
    assert found.aes.value == pytest.approx(0.25 - 5 * 0.2)
    better = efficiency.efficiency(dense, pruned).aes
    assert better is not None
    assert better.value == pytest.approx(-1 / 3 + 3 * 0.25)
    assert efficiency.efficiency(dense, dense).aes == Interval(0, 0, 0)
    assert efficiency.efficiency(dense).aes is None
    assert efficiency.efficiency(dense, grid(WRONG)).aes is None
    assert efficiency.efficiency(grid(HALF, 0)).per_thousand is None


def test_knowledge_against_reasoning() -> None:
    """The pruned model loses half of what it knew and nothing of what it reasons."""
    hops = ["1-hop"] * 10 + ["3-hop"] * 10
    closed = {"dense": [1.0] * 20, "pruned": [1.0] * 10 + [0.0] * 10}
    sides = {
        name: variant(
            {
                "musique": grid(closed[name] * 3, ids=ids, groups=hops * 3),
                "musique-open": grid([1.0] * 60, ids=ids, groups=["2-hop"] * 60),
                "aime": grid([1.0] * 60, ids=ids),
            },
            name,
            sparsity,
            bits=8.0,
            bytes=1000.0,
        )
        for name, sparsity in (("dense", 0.0), ("pruned", 0.5))
        for ids in [[f"q{i}" for i in range(60)]]
    }
    book, by_hops, benchmarks = knowledge.contrasts(sides["pruned"], sides["dense"], 64)
    assert (book.kind, by_hops.kind, benchmarks.kind) == ("book", "hops", "benchmarks")
    assert book.knowledge.lost is not None
    assert book.reasoning.lost is not None
    assert book.gap is not None
    assert (book.knowledge.lost.value, book.reasoning.lost.value) == (0.5, 0)
    assert book.gap.low > 0.2
    assert book.sentence.startswith(
        "pruned: significantly more is lost on musique than on musique-open (+50%"
    )
    assert by_hops.gap is not None
    assert by_hops.gap.value == 1
    assert by_hops.knowledge.name == "musique, more hops"
    assert (by_hops.knowledge.questions, by_hops.reasoning.questions) == (30, 30)
    assert benchmarks.gap is not None
    assert benchmarks.gap.value == pytest.approx(0.5)
    assert benchmarks.parameters == 1000
    same = knowledge.contrasts(sides["dense"], sides["dense"], 64)
    assert all("no significant difference" in one.sentence for one in same)


def test_losses_of_what_was_never_known_are_not_told() -> None:
    closed, opened = grid(WRONG), grid(RIGHT)
    dense = variant({"musique": closed, "musique-open": opened})
    found = knowledge.contrasts(dense, dense, 64)[0]
    assert found.gap is None
    assert found.knowledge.lost is None
    assert "correct too rarely" in found.sentence


@pytest.mark.parametrize("score", [[1.0] * 5, [0.0] * 5, [1.0], [0.0], [[1.0, 0.0]]])
def test_degenerate_grids_go_through_everything(score: Any) -> None:
    """All right, all wrong, one question, one sample: intervals that say how little is known."""
    dense, other = variant(grid(score)), variant(grid(score), "other", 0.5)
    setting = Setting(other, 64)
    found = fronts.front([Setting(dense, 64), setting], ["aime"])
    assert all(spot.accuracy.high - spot.accuracy.low > 0.3 for spot in found.spots)
    apart = compare(setting, Setting(dense, 64), ["aime"])
    assert apart.accuracy.verdict == "no significant difference"
    assert apart.accuracy.high - apart.accuracy.low > 0.3
    assert collapse([dense, other], "aime", 64).at is None
    efficiency.efficiency(setting.grid("aime"), dense.grid("aime", 64))
    assert len(tidy.settings([dense, other])) == 2
    assert knowledge.contrasts(other, dense, 64) == []


def test_tidy_tables_hold_what_the_grids_do() -> None:
    nan = float("nan")
    dense = variant(grid([[1, 0], [1, nan]], [[3, 5], [7, 0]], groups=["", "2-hop"]), bytes=5.0)
    (row,) = tidy.settings([dense])
    right = accuracy(dense.grid("aime", 64))
    assert (row["accuracy"], row["accuracy_low"]) == (right.value, None)  # of two questions
    assert row["tokens"] == tokens(dense.grid("aime", 64)).value == 5.5
    assert (row["variant"], row["benchmark"], row["budget"], row["replies"]) == (
        "dense",
        "aime",
        64,
        3,
    )
    columns = tidy.replies([dense])
    assert {len(column) for column in columns.values()} == {3}
    assert list(columns["question"]) == ["q0", "q0", "q1"]
    assert list(columns["sample"]) == [0, 1, 0]
    assert list(columns["tokens"]) == [3, 5, 7]
    assert list(columns["group"]) == ["", "", "2-hop"]


def stored(benchmark: str, text: str, gold: Sequence[str], **more: Any) -> StoredReply:
    fields: dict[str, Any] = {"question": "q", "sample": 0, "budget": None} | more
    return StoredReply(
        benchmark=benchmark,
        score=0.0,
        answer=None,
        closed=True,
        stop="stop",
        looped=False,
        text=text,
        gold=tuple(gold),
        tokens=len(text),
        thinking_tokens=0,
        **fields,
    )


def searched(replies: Sequence[StoredReply], unit: Unit = "tokens") -> first.FirstCorrect:
    search = first.FirstCorrectSearch(unit)
    for reply in replies:
        search.add(reply)
    return search.first()


@pytest.mark.parametrize(
    ("row", "end"),
    [
        (stored("aime", "331, 33/4, 33.5, then 033!", ["33"]), "033"),
        (stored("aime", "It is 1,033 or 33,100.", ["33"]), None),
        (stored("aime", "x = 33.", ["33"]), "33"),
        (stored("aime", "nothing", ["33"]), None),
        (stored("aime", "", ["33"]), None),
        (stored("folio", "Maybe. The conclusion is True. So False.", ["True"]), "True."),
        (stored("folio", "Is it true, false or uncertain?", ["True"]), None),
        (stored("temporal", "Not sure. The answer is (B). No, (A).", ["(B)"]), "(B)."),
        (stored("musique", "Perhaps the Apple, Corps or apple corps.", ["Apple Corps"]), "Corps"),
        (stored("musique", "Pear. Ann E.!", ["Ann Example", "Ann E."]), "E.!"),
        (stored("hops", "Applecorps", ["Apple"]), None),
    ],
)
def test_where_the_right_answer_first_stands(row: StoredReply, end: str | None) -> None:
    found = first.first_correct(row)
    expected = None if end is None else row.text.index(end) + len(end)
    assert found == (None if expected is None else pytest.approx(expected, abs=1.01))


def test_tokens_until_the_first_right_answer() -> None:
    rows = [
        stored("aime", "33 and more of it", ["33"], question="a"),
        stored("aime", "never", ["33"], question="b"),
        stored("aime", "33", ["33"], question="a", budget=8),
    ]
    found = searched(rows)
    assert found.share.value == 0.5
    assert found.tokens is not None
    assert found.whole is not None
    assert (found.tokens.value, found.whole.value) == (pytest.approx(2), 17)
    assert searched(rows, "words").tokens == Interval(1, 1, 1)
    assert searched(rows[1:2]).tokens is None
    with pytest.raises(BadInput, match="unfinished"):
        searched(rows[2:])
    with pytest.raises(BadInput, match="not known"):
        searched([stored("gsm8k", "33", ["33"])])


def test_the_bench_analyses_what_it_simulates(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--questions", "40", "--samples", "3", "--levels", "3"]
    assert bench_analysis.main(sizes) == 0
    told = capsys.readouterr().out
    assert "40 questions x 3 samples x 3 sparsities x 8 budgets (simulated)" in told
    assert "GiB at the peak" in told
    assert bench_analysis.main(["--questions", "1"]) == 2


DATA = Path(os.environ.get("LRM_DATA", ""))
TRACES = DATA / "r1_traces" / "aime_2024_traces.jsonl"


@pytest.mark.skipif("LRM_DATA" not in os.environ or not TRACES.exists(), reason="no LRM_DATA")
def test_the_released_aime_outputs_show_the_papers_direction(tmp_path: Path) -> None:
    from experiments.external.grading import grade
    from experiments.external.settings import ScoreSettings

    graded = grade(ScoreSettings(files=(TRACES,)), tmp_path)["aime"]
    unit: Unit = "tokens" if graded.tokens_known else "words"
    found = lengths.across(collect(graded.stored(), unit).grid())
    assert found is not None
    assert (found.short.value, found.long.value) == (1, 0)  # 4 of 15 each: every other row
    assert found.verdict == "shorter replies are more accurate"
    assert "confounded by difficulty" in found.sentence
