"""The replies that a run's table of samples shows."""

from __future__ import annotations

from dataclasses import replace

from lrm.scoring.sample_table import SampleTable
from lrm.scoring.stored_reply import StoredReply
from tests.support.stored_runs import row, stored

REPLY = stored(row("hops", "q", 1.0, 9))


def questions(replies: list[StoredReply], budget: int | None = None) -> list[object]:
    table = SampleTable(budget)
    assert list(table.noted(replies)) == replies
    return [shown["question"] for shown in table.rows()]


def test_samples_are_the_worst_first() -> None:
    replies = [
        replace(REPLY, question=str(number), score=score, looped=looped, tokens=number)
        for number, (score, looped) in enumerate([(1.0, False), (0.0, False), (0.0, True)] * 50)
    ]
    looping, wrong = range(149, 0, -3), range(148, 0, -3)
    assert questions(replies) == list(map(str, [*looping, *wrong]))


def test_equal_ones_stay_in_their_order() -> None:
    replies = [replace(REPLY, question=str(number)) for number in range(120)]
    assert questions(replies) == list(map(str, range(100)))


def test_they_are_what_is_said_at_the_budget() -> None:
    short = replace(REPLY, question="short", thinking_tokens=8)
    long = replace(REPLY, question="long", thinking_tokens=80)
    cut = replace(REPLY, question="cut", thinking_tokens=8, closed=False, stop="length")
    forced = [
        replace(one, question=f"{one.question} at {budget}", budget=budget)
        for one in (long, cut)
        for budget in (16, 32)
    ]
    replies = [short, long, cut, *forced]
    assert set(questions(replies, 32)) == {"short", "long at 32", "cut at 32"}
    assert set(questions(replies)) == {"short", "long", "cut"}


def test_rows_have_what_people_read() -> None:
    table = SampleTable()
    table.add(REPLY)
    (shown,) = table.rows()
    assert list(shown) == [
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
        "gold",
    ]
    assert shown["gold"] == "7"


def test_replies_made_elsewhere_are_ranked_by_their_characters() -> None:
    replies = [
        replace(REPLY, question=str(size), tokens=None, characters=size, words=1, stop_guessed=True)
        for size in (5, 9, 7)
    ]
    table = SampleTable()
    list(table.noted(replies))
    assert [shown["question"] for shown in table.rows()] == ["9", "7", "5"]
    assert list(table.rows()[0])[-4:] == ["words", "characters", "stop_guessed", "gold"]
