"""Messages to and from the processes that hold vLLM: JSON objects, and replies inside them.

Token ids travel as one base64 word. A long reply's thinking is sent again for each answer forced at
a budget, and as written numbers that would take longer than all else this side does.
"""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from lrm.engines.shared.reply import Reply

Message = dict[str, Any]
"""One JSON object; `lrm.engines.vllm.worker` says which there are."""


def pack(ids: Sequence[int]) -> str:
    return b64encode(array("i", ids).tobytes()).decode()


def unpack(word: str) -> list[int]:
    return array("i", b64decode(word)).tolist()


def pack_reply(reply: Reply, seed: int, thinking_budget: int) -> Message:
    """A reply before anything is decoded, its seed, and after how many tokens vLLM shall end its
    thinking (0: never)."""
    return {
        "index": reply.index,
        "ids": pack(reply.ids),
        "prompt_tokens": reply.prompt_tokens,
        "given": reply.given,
        "limit": reply.limit,
        "closed": reply.closed,
        "open_limit": reply.open_limit,
        "seed": seed,
        "thinking": thinking_budget,
    }


def unpack_reply(fields: Message) -> tuple[Reply, int, int | None]:
    """The same on the other side, where None means that the thinking is never ended."""
    names = ("index", "prompt_tokens", "given", "limit", "closed", "open_limit")
    reply = Reply(ids=unpack(fields["ids"]), **{name: fields[name] for name in names})
    return reply, fields["seed"], fields["thinking"] or None
