"""The fields of a row of replies made elsewhere, under any of the names that are in use.

The names are those of the released runs of arXiv 2504.02010, of this project's own generations, and
of the servers that speak OpenAI's protocol. `location` names file and line in errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lrm.errors import BadInput
from lrm.records.reply import THINK_CLOSE, Stop

Row = Mapping[str, object]

BENCHMARK = ("benchmark", "dataset")
ID = ("question_id", "id", "question")
INDEX = ("index", "row")
ASKED = ("prompt", "question")
TEXT = ("text", "output", "response", "completion", "generation", "content")
THINKING = ("reasoning_content", "reasoning")
SAMPLE = ("sample", "sample_id", "repeat", "run")
TOKENS = ("tokens", "completion_tokens", "output_tokens", "num_tokens")
THINKING_TOKENS = ("thinking_tokens",)
STOP = ("finish_reason", "stop_reason", "stop")
GOLD = ("gold", "target")

STOPS: Mapping[str, Stop] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "max_length": "length",
}  # fmt: skip

ALIASES = {
    "aime2024": "aime", "aime24": "aime", "foliov2": "folio", "temporalsequences": "temporal",
    "bbhtemporalsequences": "temporal", "musique100": "musique", "random100musique": "musique",
}  # fmt: skip


def first(row: Row, names: Sequence[str]) -> object:
    """The first of these fields that holds something; None if none does."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def benchmark(row: Row, location: str) -> str | None:
    """The benchmark that the row names, by our name; None if it names none."""
    name = first(row, BENCHMARK)
    if name is None:
        return None
    if not isinstance(name, str):
        raise BadInput(f"{location}: the field that names the benchmark must hold text.")
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return ALIASES.get(letters, name.lower())


def text(row: Row, location: str) -> str:
    """The whole reply. Where a server split the thinking off, it is put back in front.

    With no text behind it, it is thinking that never closed.
    """
    reply, thinking = first(row, TEXT), first(row, THINKING)
    if isinstance(thinking, str) and thinking and (reply is None or reply == ""):
        return thinking
    if reply is None:
        raise BadInput(
            f"{location}: the field with the reply's text is missing; name it one of "
            f"{', '.join(TEXT)}."
        )
    if not isinstance(reply, str):
        raise BadInput(
            f"{location}: the reply's text must be a string, got {type(reply).__name__}."
        )
    if isinstance(thinking, str) and thinking and THINK_CLOSE not in reply:
        return f"{thinking}\n{THINK_CLOSE}\n\n{reply}"
    return reply


def whole_number(row: Row, names: Sequence[str], location: str) -> int | None:
    """A number of 0 or more, which may be written as text; None if the row has no such field."""
    value = first(row, names)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        name = next(name for name in names if row.get(name) is not None)
        raise BadInput(
            f'{location}: "{name}" must be a whole number of 0 or more, got {value!r:.80}.'
        )
    return value


def stop(row: Row, location: str) -> Stop | None:
    """Why the reply ended; None if the row does not say.

    A list is what was asked for, where to stop, and says nothing of the reply; and what follows one
    field that says why ("stop_reason" of vLLM is the text or token that ended it) does not count.
    """
    values = [row[name] for name in STOP if row.get(name) is not None]
    said = [value for value in values if not isinstance(value, list)]
    for value in said:
        if str(value).lower() in STOPS:
            return STOPS[str(value).lower()]
    if said:
        raise BadInput(
            f"{location}: the reply ended by {said[0]!r:.80}, which is unknown; write stop or "
            "length, or leave it out."
        )
    return None


def lengths(row: Row, location: str) -> tuple[int | None, int | None]:
    """The tokens of the whole reply, and those of its thinking; None where the row is silent."""
    tokens = whole_number(row, TOKENS, location)
    thinking = whole_number(row, THINKING_TOKENS, location)
    if tokens is not None and thinking is not None and thinking > tokens:
        raise BadInput(
            f"{location}: {thinking} tokens of thinking are more than the {tokens} of the whole "
            "reply; give the sum of thinking and answer as tokens, or leave both out."
        )
    return tokens, thinking


def golds(row: Row) -> list[str]:
    """The gold answers that the row gives; none if it gives none."""
    gold = first(row, GOLD)
    if gold is None:
        return []
    return [str(answer) for answer in (gold if isinstance(gold, list) else [gold])]
