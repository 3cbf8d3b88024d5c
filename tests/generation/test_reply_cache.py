"""Replies survive a kill, are never decoded twice, and are never mixed up."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from lrm.errors import BadInput
from lrm.generation.reply_cache import ReplyCache
from lrm.records.model import Checkpoint
from lrm.records.reply import Completion, Decoding, Prompt
from tests.support.scripted_engine import ScriptedEngine

DECODING = Decoding(max_tokens=64, answer_tokens=32)
CHECKPOINT = Checkpoint(Path("nowhere"), "r1")
PROMPTS = {i: Prompt(f"question {i}<think>\n", seed=i, max_tokens=64) for i in range(5)}


def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda prompt: f"so {prompt.seed}.\n</think>\n\n\\boxed{{{prompt.seed}}}")


def store(folder: Path, checkpoint: Checkpoint = CHECKPOINT, decoding: Decoding = DECODING):
    return ReplyCache(folder, checkpoint, decoding, "scripted")


def ignore(name: object, tokens: int) -> None:
    pass


class Never(ScriptedEngine):
    def __enter__(self):
        raise AssertionError("the engine was opened though nothing is missing")


def test_replies_are_found_again(tmp_path) -> None:
    with store(tmp_path) as first:
        replies = dict(first.replies(PROMPTS, DECODING, engine(), ignore))
        assert (first.reused, first.decoded) == (0, 5)
    seen: list[tuple[int, int]] = []
    with store(tmp_path) as second:
        never = Never(lambda prompt: "")
        again = second.replies(PROMPTS, DECODING, never, lambda *told: seen.append(told))
        assert again == replies
        assert (second.reused, second.decoded) == (5, 0)
        assert [again[i].text for i in range(5)] == [engine().answer(PROMPTS[i]) for i in range(5)]
    assert seen == [(i, 0) for i in range(5)]


def test_a_reply_is_stored_with_the_tokens_of_its_prompt(tmp_path) -> None:
    with store(tmp_path) as made:
        replies = dict(made.replies(PROMPTS, DECODING, engine(), ignore))
    assert bytes(replies[2].prompt_ids).decode() == PROMPTS[2].text
    rows = map(json.loads, made.path.read_text().splitlines())
    assert [bytes(row["prompt_ids"]).decode() for row in rows] == [p.text for p in PROMPTS.values()]


def test_what_follows_a_reply_is_asked_beside_it_and_found_again(tmp_path) -> None:
    def follow(name: object, reply: Completion) -> dict[object, Prompt]:
        if isinstance(name, tuple):
            return {}
        return {
            (name, size): replace(
                PROMPTS[name], prefix_ids=reply.token_ids[:size], reserved_tokens=99
            )
            for size in (2, 1)
        }

    with store(tmp_path) as made:
        short = made.replies({0: PROMPTS[0]}, DECODING, engine(), ignore)
        assert len(short) == 1
    order: list[object] = []
    with store(tmp_path) as made:
        told = made.replies(PROMPTS, DECODING, engine(), lambda n, _: order.append(n), follow)
        replies = dict(told)
        assert (made.reused, made.decoded) == (1, 14)
        assert order[:4] == [0, (0, 2), (0, 1), 1]
        assert order[4:7] == [(1, 2), (1, 1), 2]
    assert [replies[3, 2].given, replies[3, 1].given, replies[3].given] == [2, 1, 0]
    with store(tmp_path) as made:
        never = Never(lambda prompt: "")
        assert made.replies(PROMPTS, DECODING, never, ignore, follow) == replies
        assert (made.reused, made.decoded) == (15, 0)


@pytest.mark.slow
def test_a_stream_of_replies_takes_no_memory(tmp_path) -> None:
    """What is kept of a reply is where it lies in the file."""
    talking = ScriptedEngine(lambda prompt: "step by step " * 1000 + "</think>")
    long = Decoding(max_tokens=14_000, answer_tokens=32)
    prompts = {i: Prompt(f"question {i}", seed=i, max_tokens=14_000) for i in range(80)}
    with store(tmp_path, decoding=long) as made:
        made.replies({0: prompts[0]}, long, talking, ignore)
        tracemalloc.start()
        replies = made.replies(prompts, long, talking, ignore)
        lengths = {reply.tokens for reply in replies.values()}
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert lengths == {13_008}
    assert most < made.path.stat().st_size / 3


def test_an_engine_opens_once_and_closes_with_the_store(tmp_path) -> None:
    seen: list[str] = []

    class Watched(ScriptedEngine):
        def __enter__(self):
            seen.append("opened")
            return self

        def __exit__(self, *_) -> None:
            seen.append("closed")

    watched = Watched(lambda prompt: "so")
    with store(tmp_path) as made:
        for numbers in ((0, 1), (2,)):
            wanted = {i: PROMPTS[i] for i in numbers}
            made.replies(wanted, DECODING, watched, lambda *_: seen.append("reply"))
    assert seen == ["opened", "reply", "reply", "reply", "closed"]
    with pytest.raises(KeyError), store(tmp_path) as made:
        made.replies(PROMPTS, DECODING, watched, lambda name, _: {0: 0, 1: 0, 2: 0}[name])
    assert seen[5:] == ["opened", "closed"]


def test_only_what_is_missing_is_decoded(tmp_path) -> None:
    with store(tmp_path) as first:
        first.replies({i: PROMPTS[i] for i in (0, 1)}, DECODING, engine(), ignore)
    changed = {
        0: PROMPTS[0],
        1: replace(PROMPTS[1], reserved_tokens=99),
        2: replace(PROMPTS[0], seed=99),
        3: replace(PROMPTS[1], max_tokens=63),
    }
    with store(tmp_path) as second:
        replies = dict(second.replies(changed, DECODING, engine(), ignore))
        assert (second.reused, second.decoded) == (2, 2)
    assert "99" in replies[2].text


def test_a_whole_reply_serves_where_open_thinking_may_be_cut(tmp_path) -> None:
    cut = {i: replace(prompt, open_tokens=2) for i, prompt in PROMPTS.items()}
    with store(tmp_path) as made:
        short = dict(made.replies(cut, DECODING, engine(), ignore))
        whole = dict(made.replies(PROMPTS, DECODING, engine(), ignore))
        assert (made.reused, made.decoded) == (0, 10)
        assert made.replies(cut, DECODING, engine(), ignore) == short
    assert [reply.tokens for reply in short.values()] == [2] * 5
    with store(tmp_path / "old") as made:
        made.replies(PROMPTS, DECODING, engine(), ignore)
        assert made.replies(cut, DECODING, engine(), ignore) == whole
        assert (made.reused, made.decoded) == (5, 5)


def test_the_same_prompt_under_two_names_is_decoded_once(tmp_path) -> None:
    told: list[tuple[str, int]] = []
    with store(tmp_path) as made:
        twice = {"a": PROMPTS[0], "b": PROMPTS[0]}
        replies = dict(made.replies(twice, DECODING, engine(), lambda *one: told.append(one)))
        assert made.decoded == 1
    assert replies["a"] == replies["b"]
    assert told == [("a", replies["a"].tokens), ("b", 0)]


def test_a_torn_last_line_is_dropped_and_written_again(tmp_path) -> None:
    with store(tmp_path) as first:
        replies = dict(first.replies(PROMPTS, DECODING, engine(), ignore))
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-30])
    with store(tmp_path) as second:
        assert second.replies(PROMPTS, DECODING, engine(), ignore) == replies
        assert second.decoded == 1
    assert first.path.read_bytes() == whole


def test_a_broken_line_is_refused_by_number(tmp_path) -> None:
    with store(tmp_path) as first:
        first.replies(PROMPTS, DECODING, engine(), ignore)
    lines = first.path.read_bytes().splitlines(keepends=True)
    lines[2] = json.dumps({"key": "k", "text": 1}).encode() + b"\n"
    first.path.write_bytes(b"".join(lines))
    for _ in range(2):  # the second finds no lock left behind
        with pytest.raises(BadInput, match=r":3 is not a stored reply"), store(tmp_path):
            pass


def test_what_an_engine_finished_before_it_died_is_kept(tmp_path) -> None:
    def stop_at_three(name: int, tokens: int) -> None:
        if name == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store(tmp_path) as first:
        first.replies(PROMPTS, DECODING, engine(), stop_at_three)
    with store(tmp_path) as second:
        second.replies(PROMPTS, DECODING, engine(), ignore)
        assert (second.reused, second.decoded) == (3, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"checkpoint": replace(CHECKPOINT, revision="r2")},
        {"decoding": replace(DECODING, temperature=0.0)},
        {"decoding": replace(DECODING, answer_tokens=31)},
    ],
)
def test_other_weights_or_sampling_are_other_files(tmp_path, other) -> None:
    assert store(tmp_path).path != store(tmp_path, **other).path


def test_the_same_weights_elsewhere_are_the_same_file(tmp_path) -> None:
    moved = replace(CHECKPOINT, path=Path("elsewhere"))
    assert store(tmp_path).path == store(tmp_path, moved).path
