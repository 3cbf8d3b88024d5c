"""The four real benchmarks: exact prompts, repaired rows, bad data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lrm import registry
from lrm.benchmarks import aime, folio, musique, temporal
from lrm.contracts.benchmark import Benchmark
from lrm.errors import BadInput
from tests.support import small_data

SIZES = {
    "aime": 30,
    "folio": 203,
    "temporal": 250,
    "musique": 100,
    "musique-open": 100,
    "musique-dev": 2417,
}
REAL_DATA = os.environ.get("LRM_DATA")

BENCHMARKS: dict[str, Benchmark] = {
    small_data.AIME: aime.Aime(),
    small_data.FOLIO: folio.Folio(),
    small_data.TEMPORAL: temporal.Temporal(),
    small_data.MUSIQUE: musique.MUSIQUE,
    small_data.MUSIQUE_DEV: musique.MUSIQUE_DEV,
    small_data.MUSIQUE_DEV_OPEN: musique.MUSIQUE_DEV_OPEN,
}
MUSIQUES = (
    musique.MUSIQUE,
    musique.MUSIQUE_OPEN,
    musique.MUSIQUE_DEV,
    musique.MUSIQUE_DEV_OPEN,
)
FILES = pytest.mark.parametrize("file", BENCHMARKS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_data.write(tmp_path)
    monkeypatch.setenv("LRM_DATA", str(tmp_path))
    return tmp_path


def refused(file: str) -> str:
    with pytest.raises(BadInput) as caught:
        BENCHMARKS[file].load()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_prompts_are_the_papers(folder: Path) -> None:
    """The strings of the authors' released code and outputs."""
    asked = {file: benchmark.load()[0].prompt for file, benchmark in BENCHMARKS.items()}
    assert asked.pop(small_data.MUSIQUE_DEV) == asked[small_data.MUSIQUE]
    del asked[small_data.MUSIQUE_DEV_OPEN]
    assert asked == {
        small_data.AIME: "Find $2^{5}+1$.\n<think>\n",
        small_data.FOLIO: "Use logical deductions to determine whether the provided conclusion is "
        "true, false, or uncertain based on premise. Consider all relevant information to reach a "
        "logical conclusion.\n\n*******\nPremise: All cats purr.\nTom is a cat.\n*******\n\n"
        "*******\nConclusion: Tom purrs {loudly}.\n*******<think>\n",
        small_data.TEMPORAL: "Use the timeline provided and answer step by step. Finally give the "
        "index (the letter) of the actual correct answer.\nAnn woke up at 5am.\nOptions:\n"
        "(A) 5am to 6am\n(B) 7am to 8am\n<think>\n",
        small_data.MUSIQUE: "Who leads the firm that owns the press? Final answer of this question "
        "should be in as fewer number of words as possible.\n<think>\n",
    }


def test_messages_are_the_papers_words_and_ask_for_a_box_in_mathematics(folder: Path) -> None:
    """DeepSeek-R1's model card gives the sentence on boxes."""
    for benchmark in (folio.Folio(), temporal.Temporal(), *MUSIQUES):
        for question in benchmark.load():
            assert question.prompt in (
                f"{question.message}<think>\n",
                f"{question.message}\n<think>\n",
            )
    assert aime.Aime().load()[0].message == (
        "Find $2^{5}+1$.\nPlease reason step by step, and put your final answer within \\boxed{}."
    )


def test_an_open_book_shows_the_supporting_paragraphs_before_the_same_words(folder: Path) -> None:
    for closed, opened in (MUSIQUES[:2], MUSIQUES[2:]):
        for without, with_ in zip(closed.load(), opened.load(), strict=True):
            assert (with_.id, with_.gold, with_.group) == (without.id, without.gold, without.group)
            assert with_.prompt.endswith(f"\n\n{without.prompt}")
            assert "Never to be shown" not in with_.prompt
    assert musique.MUSIQUE_OPEN.load()[0].message.startswith(
        "Press\nThe firm owns the press.\n\nFirm\nAnn Example leads the firm.\n\nWho leads"
    )


def test_rows_are_read_as_they_come(folder: Path) -> None:
    assert [q.gold for q in aime.Aime().load()] == [("33",), ("7",)]
    first, second = folio.Folio().load()
    assert (first.gold, second.gold) == (("Uncertain",), ("True",))
    assert "Premise: All cats purr.\nTom is a cat.\n***" in second.prompt
    assert [q.id for q in temporal.Temporal().load()] == ["0", "1"]
    assert [q.group for q in musique.MUSIQUE.load()] == ["2-hop", "4-hop"]
    assert musique.MUSIQUE.load()[0].gold == ("The Ann Example", "Ann E.")


def test_swallowed_latex_commands_come_back(folder: Path) -> None:
    assert aime.Aime().load()[1].prompt.startswith(r"Find $s+\frac{14}{2}$ for $\{s\}=\{0\}$.")
    assert (
        aime.repaired("as $\\\x0crac{p}{q}$,\n$\tfrac{m}{n}$")
        == r"""as $\frac{p}{q}$,
$\tfrac{m}{n}$"""
    )


def test_blank_lines_and_windows_line_ends_are_no_rows(folder: Path) -> None:
    path = folder / small_data.TEMPORAL
    before = temporal.Temporal().load()
    path.write_bytes(b"\r\n" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert temporal.Temporal().load() == before


@FILES
@pytest.mark.parametrize(
    "line", ["{", "[1]", "null", "\ufeff{}", "[" * 100_000, '{"a": "\\ud800"}', "caf\udce9"]
)
def test_a_broken_line_is_named(folder: Path, file: str, line: str) -> None:
    path = folder / file
    first = path.read_bytes().split(b"\n")[0]
    path.write_bytes(first + b"\n" + line.encode(errors="surrogateescape") + b"\n")
    assert f"{path}, line 2" in refused(file)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (small_data.AIME, {"Answer": "33.5"}),
        (small_data.AIME, {"Answer": True}),
        (small_data.AIME, {"Answer": 1000}),
        (small_data.AIME, {"Answer": "9" * 5000}),
        (small_data.AIME, {"Problem": ""}),
        (small_data.AIME, {"ID": 7}),
        (small_data.FOLIO, {"label": "Maybe"}),
        (small_data.FOLIO, {"premises": ["All cats purr.", 7]}),
        (small_data.FOLIO, {"premises": None}),
        (small_data.FOLIO, {"example_id": 1}),
        (small_data.TEMPORAL, {"target": "(E)"}),
        (small_data.TEMPORAL, {"input": " "}),
        (small_data.MUSIQUE, {"id": "1hop__3"}),
        (small_data.MUSIQUE, {"id": "2hop__1_2"}),
        (small_data.MUSIQUE, {"answer_aliases": "1839"}),
        (small_data.MUSIQUE_DEV_OPEN, {"paragraphs": [7]}),
        (small_data.MUSIQUE_DEV_OPEN, {"paragraphs": []}),
    ],
)
def test_a_bad_field_is_named(folder: Path, file: str, change: Mapping[str, object]) -> None:
    first, second = small_data.ROWS[file]
    (folder / file).write_text(small_data.jsonl([first, {**second, **change}]))
    message = refused(file)
    assert f"{folder / file}, line 2" in message
    field = next(iter(change))
    assert f'"{field}"' in message or "second time" in message


@FILES
def test_a_missing_field_is_named(folder: Path, file: str) -> None:
    first, second = small_data.ROWS[file]
    unread = set() if file == small_data.MUSIQUE_DEV_OPEN else {"paragraphs"}
    for field in second.keys() - unread:
        short = {name: value for name, value in second.items() if name != field}
        (folder / file).write_text(small_data.jsonl([first, short]))
        assert f'line 2: the field "{field}" is missing' in refused(file)


@FILES
def test_a_missing_or_empty_file_and_folder_say_what_to_set(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / file).write_text("\n")
    assert f"{folder / file} holds no rows" in refused(file)
    (folder / file).unlink()
    assert f"cannot read {folder / file}" in refused(file)
    (folder / file).mkdir()
    assert f"cannot read {folder / file}" in refused(file)
    monkeypatch.setenv("LRM_DATA", str(folder / "nowhere"))
    assert "not a folder; set LRM_DATA" in refused(file)


def test_datasets_is_not_imported_for_a_local_folder(folder: Path) -> None:
    program = "import sys; from lrm.benchmarks.aime import Aime; Aime().load(); "
    program += "sys.exit('datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.skipif(
    REAL_DATA is None,
    reason="set LRM_DATA to a folder with aime_2024/, folio/, bbh_temporal_sequences/ and "
    "musique_ans_dev/ to run on the real data",
)
def test_the_real_data() -> None:
    sizes = {name: len(registry.benchmark(name).load()) for name in SIZES}
    assert sizes == SIZES
    groups = [question.group for question in musique.MUSIQUE.load()]
    assert [groups.count(hops) for hops in ("2-hop", "3-hop", "4-hop")] == [49, 32, 19]
    assert not any(set(q.prompt) & set("\f\t") for q in aime.Aime().load())
    repeated = {q.id: q.prompt for q in aime.Aime().load()}
    assert r"$s+\frac{1}{2}$" in repeated["2024-I-1"]
    assert r"$\frac{p}{q}$" in repeated["2024-I-15"]
    assert r"$\tfrac{m}{n}$" in repeated["2024-II-8"]
    whole = musique.MUSIQUE_DEV.load()
    assert len({question.prompt for question in whole}) == len(whole) - 5
    hundred = {question.id: question for question in musique.MUSIQUE.load()}
    assert hundred.items() <= {question.id: question for question in whole}.items()
    shown = [question.message.count("\n\n") for question in musique.MUSIQUE_OPEN.load()]
    assert [shown.count(hops) for hops in (2, 3, 4)] == [49, 32, 19]
