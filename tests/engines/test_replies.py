"""Where thinking ends, what a cap cuts, and what counts as a loop."""

import pytest

from lrm.engines.shared.reply import EndRules, Reply
from lrm.replies import assemble, find_close, loops

WORDS = ["a", "b", "</think>", "</", "think", ">", "x", "y</think>z"]


def decode(ids) -> str:
    return "".join(WORDS[i] for i in ids)


@pytest.mark.parametrize(
    ("ids", "at"),
    [
        ([0, 1, 2, 6], 2),
        ([2, 6], 0),
        ([0, 1], None),
        ([0, 3, 4, 5, 6], 1),  # the tag in three tokens of its own
        ([0, 7, 6], 1),  # the tag in the middle of a token
        ([0, 3, 4], None),  # half a tag
        ([], None),
    ],
)
def test_find_close(ids: list[int], at: int | None) -> None:
    assert find_close(ids, decode, [2]) == at


def build(
    ids: list[int], stop: str = "stop", answer_tokens: int = 3, given: int = 0, open_tokens: int = 0
):
    return assemble(
        ids,
        given=given,
        prompt_ids=[7, 7],
        stop=stop,
        answer_tokens=answer_tokens,
        decode=decode,
        close_ids=[2],
        open_tokens=open_tokens,
    )


def test_counts_add_up_and_the_tag_belongs_to_the_answer() -> None:
    reply = build([0, 1, 2, 6])
    assert (reply.thinking_tokens, reply.answer_tokens, reply.tokens) == (2, 2, 4)
    assert reply.closed
    assert reply.stop == "stop"
    assert reply.text == "ab</think>x"


def test_an_answer_past_its_cap_is_cut_there() -> None:
    reply = build([0, 2, 6, 6, 6, 6])
    assert reply.token_ids == (0, 2, 6, 6)
    assert reply.stop == "length"


def test_an_answer_at_its_cap_is_not_cut() -> None:
    assert build([0, 2, 6, 6]).stop == "stop"


def test_open_thinking_is_cut_and_what_was_closed_in_time_is_not() -> None:
    cut = build([6, 0, 0, 0, 2, 6], given=1, open_tokens=3)
    assert (cut.token_ids, cut.stop, cut.closed) == ((6, 0, 0, 0), "length", False)
    assert build([0, 0, 0], open_tokens=3).stop == "stop"
    assert build([0, 0, 0, 2, 6], open_tokens=4).token_ids == (0, 0, 0, 2, 6)
    assert build([0, 3, 4, 5, 6], open_tokens=4).closed
    assert not build([0, 3, 4, 5, 6], open_tokens=3).closed


def decoded(ids: list[int], open_limit: int) -> tuple[list[int], str | None]:
    """The tokens taken of `ids`, and why the reply ended."""
    reply = Reply(0, [9], prompt_tokens=1, given=0, limit=40, open_limit=open_limit)
    rules = EndRules(frozenset([8]), [2], 3, decode)
    for token in ids:
        if stop := reply.append(token, rules):
            return reply.ids[1:], stop
    return reply.ids[1:], None


def test_open_thinking_is_decoded_no_further() -> None:
    assert decoded([0] * 9, open_limit=0) == ([0] * 9, None)
    assert decoded([0] * 9, open_limit=4) == ([0] * 4, "length")
    assert decoded([0, 8], open_limit=4) == ([0], "stop")


@pytest.mark.parametrize("tag", [[2], [3, 4, 5], [7]])
def test_closed_thinking_is_answered_however_its_tag_is_spelt(tag: list[int]) -> None:
    """Up to a token behind the answer's cap, which counts from the tag on."""
    ids, stop = decoded([0, *tag, *[6] * 9], open_limit=1 + len(tag))
    assert (len(ids), stop) == (1 + max(len(tag), 3) + 1, "length")
    assert build(ids, stop, open_tokens=1 + len(tag)) == build([0, *tag, *[6] * 9], "length")


def test_loops() -> None:
    assert loops([1, 2, 3] * 40)
    assert loops([5] * 200)
    assert loops([9, 8, 7, *([1, 2] * 40)])
    assert not loops(list(range(200)))
    assert not loops([1, 2, 3] * 5)
    assert not loops([])


def test_only_a_cut_reply_can_have_looped() -> None:
    assert build([0] * 200, stop="length").looped
    assert not build([0] * 200, stop="stop").looped
