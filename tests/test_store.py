"""Replies survive a kill, are never decoded twice, and are never mixed up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lrm.engines.scripted import ScriptedEngine
from lrm.errors import BadInput
from lrm.records import Checkpoint, Decoding, Prompt
from lrm.store import Generations

DECODING = Decoding(max_tokens=64, answer_tokens=32)
CHECKPOINT = Checkpoint(Path("nowhere"), "r1")
PROMPTS = [Prompt(f"question {i}<think>\n", seed=i, max_tokens=64) for i in range(5)]


def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda prompt: f"so {prompt.seed}.\n</think>\n\n\\boxed{{{prompt.seed}}}")


def store(folder: Path, checkpoint: Checkpoint = CHECKPOINT, decoding: Decoding = DECODING):
    return Generations(folder, checkpoint, decoding, "scripted")


class Never(ScriptedEngine):
    def __enter__(self):
        raise AssertionError("the engine was opened though nothing is missing")


def test_replies_are_found_again(tmp_path) -> None:
    with store(tmp_path) as first:
        replies = first.replies(PROMPTS, DECODING, engine(), lambda tokens: None)
        assert (first.reused, first.decoded) == (0, 5)
    seen: list[int] = []
    with store(tmp_path) as second:
        assert (
            second.replies(PROMPTS[::-1], DECODING, Never(lambda prompt: ""), seen.append)
            == replies[::-1]
        )
        assert (second.reused, second.decoded) == (5, 0)
    assert seen == [0] * 5


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
        made.replies(PROMPTS[:2], DECODING, watched, lambda tokens: seen.append("reply"))
        made.replies(PROMPTS[2:3], DECODING, watched, lambda tokens: seen.append("reply"))
    assert seen == ["opened", "reply", "reply", "reply", "closed"]
    with pytest.raises(KeyError), store(tmp_path) as made:
        made.replies(PROMPTS[3:], DECODING, watched, lambda tokens: {}[tokens])
    assert seen[5:] == ["opened", "closed"]


def test_only_what_is_missing_is_decoded(tmp_path) -> None:
    with store(tmp_path) as first:
        first.replies(PROMPTS[:2], DECODING, engine(), lambda tokens: None)
    changed = [*PROMPTS[:2], replace(PROMPTS[0], seed=99), replace(PROMPTS[1], max_tokens=63)]
    with store(tmp_path) as second:
        replies = second.replies(changed, DECODING, engine(), lambda tokens: None)
        assert (second.reused, second.decoded) == (2, 2)
    assert "99" in replies[2].text


def test_a_torn_last_line_is_dropped_and_written_again(tmp_path) -> None:
    with store(tmp_path) as first:
        replies = first.replies(PROMPTS, DECODING, engine(), lambda tokens: None)
    whole = first.path.read_bytes()
    first.path.write_bytes(whole[:-30])
    with store(tmp_path) as second:
        assert second.replies(PROMPTS, DECODING, engine(), lambda tokens: None) == replies
        assert second.decoded == 1
    assert first.path.read_bytes() == whole


def test_a_broken_line_is_refused_by_number(tmp_path) -> None:
    with store(tmp_path) as first:
        first.replies(PROMPTS, DECODING, engine(), lambda tokens: None)
    lines = first.path.read_bytes().splitlines(keepends=True)
    lines[2] = json.dumps({"key": "k", "text": 1}).encode() + b"\n"
    first.path.write_bytes(b"".join(lines))
    with pytest.raises(BadInput, match=r":3 is not a stored reply"), store(tmp_path):
        pass


def test_what_an_engine_finished_before_it_died_is_kept(tmp_path) -> None:
    def stop_at_three(tokens: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(tokens)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store(tmp_path) as first:
        first.replies(PROMPTS, DECODING, engine(), stop_at_three)
    with store(tmp_path) as second:
        second.replies(PROMPTS, DECODING, engine(), lambda tokens: None)
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
