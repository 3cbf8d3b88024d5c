"""The rules agree with grades given by eye to a real model's outputs.

`golden/r1_awq4bit.jsonl` holds hand-checked grades of outputs that the authors of arXiv 2504.02010
released (R1-Distill-Llama-8B, AWQ 4-bit; repository psunlpgroup/Compression-Effects at dd5ed49,
`output/AWQ_R1_Distill_Llama_8B`): the row, its gold, whether a cap cut it, whether it loops, what
it finally says, whether that is right, and why. The outputs themselves are not part of the project.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lrm import registry
from lrm.scoring.external import graded_submission
from lrm.scoring.stored_reply import StoredReply
from lrm.scoring.submissions import SubmissionReader
from lrm.scoring.truncation import wrong_for_length

GOLDEN = Path(__file__).parent / "golden" / "r1_awq4bit.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
FILES = {
    "aime": "aime_2024_traces.jsonl",
    "folio": "folio_v2_traces.jsonl",
    "temporal": "temporal_sequences_traces.jsonl",
    "musique": "musique_random100_traces.jsonl",
}
FOLDER = Path(os.environ.get("LRM_DATA", "nowhere")) / "r1_traces"
needs_outputs = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason="set LRM_DATA to a folder with r1_traces/ (the released outputs as JSONL) and the data "
    "sets to check the rules on real outputs",
)


@cache
def grades(benchmark: str) -> dict[int, StoredReply]:
    """Every given row, graded, by its number in the data set."""
    chosen = registry.benchmark(benchmark)
    questions = chosen.load()
    number = {question.id: index for index, question in enumerate(questions)}
    reader = SubmissionReader(benchmark, chosen, questions)
    read = reader.read(FOLDER / FILES[benchmark])
    replies = (graded_submission(one, chosen, None, None) for one in read)
    return {number[reply.question]: reply for reply in replies}


def test_the_hand_checked_rows_are_many_and_hard() -> None:
    assert len({(row["benchmark"], row["index"]) for row in ROWS}) == len(ROWS) >= 60
    assert set(Counter(row["benchmark"] for row in ROWS)) == set(FILES)
    assert sum(row["truncated"] for row in ROWS) >= 15
    assert sum(row["looping"] for row in ROWS) >= 15
    assert sum(row["says"] is None for row in ROWS) >= 10
    assert all(row["why"] for row in ROWS)


@needs_outputs
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['benchmark']}-{row['index']}")
def test_the_rules_agree_with_the_eye(row: dict[str, Any]) -> None:
    reply = grades(row["benchmark"])[row["index"]]
    assert reply.cut is row["truncated"], row["why"]
    assert reply.looped is row["looping"], row["why"]
    mark = reply.marks["lenient"]
    assert (mark.score == 1) is row["right"], row["why"]
    if row["benchmark"] != "musique":  # a short answer can be noted down in many ways
        assert mark.answer == row["says"], row["why"]


def right(benchmark: str, truncation: Any, rule: Any = "lenient") -> int:
    counted = (
        reply.marks[rule].score == 1 and not wrong_for_length(reply.cut, truncation)
        for reply in grades(benchmark).values()
    )
    return sum(counted)


@needs_outputs
def test_the_totals_are_those_of_the_eye() -> None:
    """All 292 given rows were read; the truncation policy moves temporal alone."""
    totals = {
        name: (right(name, "truncated-is-wrong"), right(name, "grade-what-is-there"))
        for name in FILES
    }
    assert totals == {"aime": (8, 8), "folio": (72, 72), "temporal": (101, 106), "musique": (2, 2)}
    assert right("musique", "truncated-is-wrong", "strict") == 0
