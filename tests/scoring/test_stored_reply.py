"""One line of stored generations: what is written is read, of this code and of older."""

from __future__ import annotations

import gzip
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm.errors import BadInput
from lrm.records.question import Mark
from lrm.scoring.stored_reply import FIELDS, VERSION, StoredReply, from_line, to_line
from tests.support.stored_runs import row

BEFORE = Path(__file__).parents[1] / "data" / "before"
OLD_LEVEL_FIELDS = [
    "benchmark",
    "question",
    "group",
    "sample",
    "score",
    "answer",
    "strict",
    "lenient",
    "tokens",
    "thinking_tokens",
    "answer_tokens",
    "closed",
    "stop",
    "looped",
    "text",
    "budget",
    "prompt",
    "gold",
    "prompt_ids",
    "token_ids",
    "given",
]
OLD_IMPORT_FIELDS = [
    "benchmark",
    "question",
    "group",
    "sample",
    "score",
    "answer",
    "strict",
    "lenient",
    "tokens",
    "thinking_tokens",
    "answer_tokens",
    "closed",
    "stop",
    "looped",
    "text",
    "words",
    "characters",
    "stop_guessed",
    "prompt",
    "gold",
]

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
MAYBE_TEXT = st.none() | TEXT
COUNT = st.integers(0, 2**40)
SCORE = st.floats(0, 1)
MARKS = st.dictionaries(
    st.sampled_from(["strict", "lenient"]), st.builds(Mark, MAYBE_TEXT, SCORE, MAYBE_TEXT)
)
REPLIES = st.builds(
    StoredReply,
    benchmark=TEXT,
    question=TEXT,
    group=TEXT,
    sample=COUNT,
    score=SCORE,
    answer=MAYBE_TEXT,
    strict=MAYBE_TEXT,
    lenient=MAYBE_TEXT,
    tokens=st.none() | COUNT,
    thinking_tokens=st.none() | COUNT,
    answer_tokens=st.none() | COUNT,
    closed=st.booleans(),
    stop=st.sampled_from(["stop", "length"]),
    looped=st.booleans(),
    text=TEXT,
    budget=st.none() | COUNT,
    prompt=MAYBE_TEXT,
    gold=st.lists(TEXT).map(tuple),
    prompt_ids=st.lists(COUNT).map(tuple),
    token_ids=st.lists(COUNT).map(tuple),
    given=COUNT,
    score_as_is=st.none() | SCORE,
    vote=MAYBE_TEXT,
    marks=MARKS,
    also=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False)),
    words=st.none() | COUNT,
    characters=st.none() | COUNT,
    stop_guessed=st.none() | st.booleans(),
)
REPLY = from_line(json.dumps(row("hops", "q1", 1.0, 9)).encode())


@given(REPLIES)
def test_what_is_written_is_read(reply: StoredReply) -> None:
    line = to_line(reply)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line) == reply


@given(REPLIES)
def test_fields_of_before_keep_their_places(reply: StoredReply) -> None:
    """Older readers find what they look for; new fields come behind."""
    written = json.loads(to_line(reply))
    assert tuple(written) == FIELDS
    assert [name for name in written if name in OLD_LEVEL_FIELDS] == OLD_LEVEL_FIELDS
    assert list(written)[: len(OLD_LEVEL_FIELDS)] == OLD_LEVEL_FIELDS
    assert set(OLD_IMPORT_FIELDS) <= set(written)
    assert written["version"] == VERSION == 2


def old_lines() -> dict[str, list[bytes]]:
    """Lines of files that older code wrote, by the kind of their run."""
    lines: dict[str, list[bytes]] = {}
    with tarfile.open(BEFORE / "finished.tar.gz") as archive:
        for member in archive.getmembers():
            if member.name.endswith(".jsonl.gz"):
                file = archive.extractfile(member)
                assert file
                found = gzip.decompress(file.read()).splitlines()
                kind = "levels" if b'"budget"' in found[0] else "imports"
                lines.setdefault(kind, []).extend(found)
    return lines


def test_lines_of_older_code_are_version_1() -> None:
    lines = old_lines()
    assert set(lines) == {"levels", "imports"}
    for kind, fields in (("levels", OLD_LEVEL_FIELDS), ("imports", OLD_IMPORT_FIELDS)):
        for line in lines[kind]:
            old, reply = json.loads(line), from_line(line)
            assert list(old) == fields
            assert reply.version == 1
            assert (dict(reply.marks), dict(reply.also), reply.vote) == ({}, {}, None)
            assert reply.score_as_is is None
            again = json.loads(to_line(reply))
            assert {name: again[name] for name in old} == old
            assert from_line(to_line(reply)) == reply


@given(REPLIES, st.data())
def test_a_torn_line_is_no_reply(reply: StoredReply, data: st.DataObject) -> None:
    line = to_line(reply).rstrip(b"\n")
    torn = line[: data.draw(st.integers(0, len(line) - 1))]
    with pytest.raises(ValueError):  # noqa: PT011  the reader of the file says which file it is
        from_line(torn)


@pytest.mark.parametrize(
    "line",
    [b"", b"[1]", b"7", b"{}", b"{", b'{"benchmark": "hops"}', b"\xff\xfe"],
)
def test_what_is_no_reply_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        from_line(line)


@pytest.mark.parametrize("name", ["benchmark", "question", "sample", "score", "stop", "text"])
def test_a_reply_without_what_every_reply_has_is_refused(name: str) -> None:
    whole = row("hops", "q1", 1.0, 9)
    with pytest.raises(ValueError, match=name):
        from_line(json.dumps({k: value for k, value in whole.items() if k != name}).encode())


def test_a_score_that_is_no_number_is_left_to_who_uses_it() -> None:
    line = json.dumps(row("hops", "q1", float("nan"), 9)).encode()
    assert b"NaN" in line
    assert from_line(line).score != from_line(line).score
    nothing = json.dumps(row("hops", "q1", 1.0, 9) | {"score": None}).encode()
    assert from_line(nothing).score is None


def test_unknown_fields_are_passed_over_and_newer_lines_refused() -> None:
    assert from_line(json.dumps(row("hops", "q1", 1.0, 9, colour="red")).encode()) == REPLY
    newer = json.dumps(row("hops", "q1", 1.0, 9, version=3)).encode()
    with pytest.raises(BadInput, match="has version 3, and this code reads up to 2"):
        from_line(newer)


def test_a_vote_counts_where_there_is_an_answer_and_no_cap_cut_it() -> None:
    assert REPLY.counted_vote == "7"
    assert replace(REPLY, vote="seven").counted_vote == "seven"
    assert replace(REPLY, vote="seven", answer=None).counted_vote is None
    assert replace(REPLY, stop="length").counted_vote is None
