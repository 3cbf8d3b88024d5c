"""A reply is read once and graded once, on its way to all that is made of it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from experiments.search.level_files import LevelFiles
from experiments.sparsity_search import main
from lrm.benchmarks.arithmetic import ARITHMETIC
from lrm.benchmarks.twin import Twin
from lrm.generation import reply_cache
from lrm.generation.evaluate import evaluate
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Checkpoint
from lrm.records.point import Budget
from lrm.records.question import Grade, Question
from lrm.records.reply import Completion, Decoding
from lrm.report.reading import BenchmarkReading, read
from lrm.scoring.grading import graded_replies
from lrm.scoring.scores import score
from tests.support.made_up import Counting
from tests.support.scripted_engine import ScriptedEngine
from tests.support.stored_runs import stored_lines

BUDGETS = (10, 20, 60)
opened: Counter[str] = Counter()
"""Files in folders called `generations`, by suffix and mode, while something watches them."""
watching: list[bool] = []


@sys.addaudithook
def _note(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event == "open" and isinstance(arguments[0], str):
        path = Path(arguments[0])
        if "generations" in path.parts and path.suffix != ".lock":
            opened[f"{path.suffix} {arguments[1]}"] += 1


@pytest.fixture
def openings() -> Iterator[Counter[str]]:
    opened.clear()
    watching.append(True)
    yield opened
    watching.clear()


def test_decoded_replies_are_read_and_graded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openings: Counter[str]
) -> None:
    parsed = 0

    def parse(line: bytes) -> tuple[str, Completion]:
        nonlocal parsed
        parsed += 1
        return original(line)

    original = reply_cache._parse
    monkeypatch.setattr(reply_cache, "_parse", parse)
    decoding = Decoding(max_tokens=100, answer_tokens=40, samples=2)
    engine = ScriptedEngine(
        lambda prompt: f"{'so ' * (prompt.seed % 22)}</think>\n\n\\boxed{{{prompt.seed % 3}}}"
    )

    def measured() -> tuple[BenchmarkReading, int, Path]:
        benchmark = Counting(ARITHMETIC)
        questions = {benchmark: benchmark.load(8)}
        files = LevelFiles(tmp_path, max(BUDGETS))
        folder = tmp_path / "generations"
        with ReplyCache(folder, Checkpoint(tmp_path, "r"), decoding, "scripted") as cache:
            (evaluation,) = evaluate(questions, decoding, BUDGETS, cache, engine)
            replies = files.written("arithmetic", graded_replies(evaluation))
            reading = read(replies, "tokens")
        for budget in BUDGETS:  # needs no reply any more
            score(reading.replies, Budget(budget))
            score(reading.replies, Budget(budget, "truncate"))
        return reading, benchmark.graded, files.generations["arithmetic"]

    reading, graded, path = measured()
    count = len(stored_lines(path))
    assert count == len(reading.replies.numbers) > 16
    assert graded == count
    assert parsed == count
    assert dict(openings) == {".jsonl a+": 1}
    # A second time all are found: each is indexed, a longest one is looked at for what follows
    # from it, and all are gone through. Still one file, and one grading each.
    openings.clear()
    again, graded, path = measured()
    assert graded == count == len(stored_lines(path))
    assert dict(openings) == {".jsonl a+": 1}
    np.testing.assert_array_equal(again.replies.numbers, reading.replies.numbers)


@pytest.mark.engine
def test_a_search_reads_and_grades_each_reply_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openings: Counter[str]
) -> None:
    graded = 0

    def grade(self: Twin, question: Question, completion: Completion) -> Grade:
        nonlocal graded
        graded += 1
        return original(self, question, completion)

    original = Twin.grade
    monkeypatch.setattr(Twin, "grade", grade)
    flags = ["--model", "tiny-1m", "--method", "magnitude", "--benchmarks", "arithmetic,hops"]
    flags += ["--questions", "2", "--samples", "2", "--budgets", "16,32,64", "--sparsity", "0,0.5"]
    assert main(flags, tmp_path) == 0
    watching.clear()
    # One cache for each level; the report reads none of the files that the search has written.
    assert openings.pop(".jsonl a+") == 2
    assert not [opening for opening in openings if opening.startswith(".gz")]
    files = list(tmp_path.glob("mlruns/artifacts/levels/*/artifacts/generations/*.jsonl.gz"))
    assert len(files) == 4
    assert graded == sum(len(stored_lines(path)) for path in files)
