"""Replies as they travel to and from the processes that hold vLLM.

Token ids go as one word: a long reply's thinking is sent again for each answer forced at a budget,
and numbers written out would cost more time than all else that this side does.
"""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from lrm.engines.shared.reply import Reply


def pack(ids: Sequence[int]) -> str:
    return b64encode(array("i", ids).tobytes()).decode()


def unpack(word: str) -> list[int]:
    return array("i", b64decode(word)).tolist()


def packed(reply: Reply, seed: int, thinking: int) -> dict[str, Any]:
    """A reply before anything is decoded, its seed, and where the engine shall end its thinking."""
    return {
        "index": reply.index,
        "ids": pack(reply.ids),
        "prompt_tokens": reply.prompt_tokens,
        "given": reply.given,
        "limit": reply.limit,
        "closed": reply.closed,
        "seed": seed,
        "thinking": thinking,
    }


def unpacked(fields: dict[str, Any]) -> tuple[Reply, int, int | None]:
    """The same on the other side; no end of the thinking is None."""
    own = {name: fields[name] for name in ("index", "prompt_tokens", "given", "limit", "closed")}
    return Reply(ids=unpack(fields["ids"]), **own), fields["seed"], fields["thinking"] or None
