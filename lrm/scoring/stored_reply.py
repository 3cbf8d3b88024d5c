"""One line of `generations/<benchmark>.jsonl.gz`: a graded reply, from which every number follows.

This is the only schema of the replies that a run stores, with its one writer and one reader.
Searches and imports write such lines; reports and comparisons read them.

* Version 2 has all fields below.
* Version 1, of older code, has no field `version`, and nothing of what follows `given` in the list
  of fields: no score of each extraction rule, no votes, no further metrics.

Fields keep their names and meaning from version to version, so that older readers still work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

import orjson

from lrm.errors import BadInput
from lrm.records.point import Unit
from lrm.records.question import Mark, Rule
from lrm.records.reply import THINK_CLOSE, Stop

VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """One graded reply.

    `budget` is None for the longest generation, else the budget (in thinking tokens) whose forced
    answer this is. `score`, in [0, 1], is the headline: the benchmark's own extraction rule, and 0
    where a cap cut the reply. `answer` is what that rule finds, cut or not; None if nothing.
    `strict` and `lenient` are the answers of the two rules. Token counts are None where they are
    not known, and so is `prompt`; `prompt_ids`, `token_ids` and `given` are
    those of `lrm.records.reply.Completion`.

    `score_as_is` is the headline rule's score whether a cap cut the reply or not; `vote`, `marks`
    and `also` are those of `lrm.records.question.Grade`. Replies made elsewhere have their lengths
    in `words` and `characters` too, and `stop_guessed`: `stop` was guessed from the text.
    """

    benchmark: str
    question: str
    group: str = ""
    sample: int
    score: float
    answer: str | None
    strict: str | None = None
    lenient: str | None = None
    tokens: int | None = None
    thinking_tokens: int | None = None
    answer_tokens: int | None = None
    closed: bool
    stop: Stop
    looped: bool
    text: str
    budget: int | None = None
    prompt: str | None = None
    gold: tuple[str, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    given: int = 0
    score_as_is: float | None = None
    vote: str | None = None
    marks: Mapping[Rule, Mark] = field(default_factory=dict)
    also: Mapping[str, float] = field(default_factory=dict)
    words: int | None = None
    characters: int | None = None
    stop_guessed: bool | None = None
    version: int = VERSION

    @property
    def cut(self) -> bool:
        """Whether a cap ended it."""
        return self.stop == "length"

    @property
    def counted_vote(self) -> str | None:
        """Its vote among a question's samples; None if it has no answer or was cut.

        Two answers are the same if their votes are equal.
        """
        if self.cut or self.answer is None:
            return None
        return self.answer if self.vote is None else self.vote

    def lengths(self, unit: Unit) -> tuple[int, int]:
        """Lengths of its thinking and of the rest, in the unit.

        Where the share of the thinking is not known, all counts as thinking. Raises BadInput where
        the unit is tokens and they are not known.
        """
        if unit == "words":
            thinking, tag, rest = self.text.partition(THINK_CLOSE)
            return len(thinking.split()), len((tag + rest).split())
        if self.tokens is None:
            raise BadInput(
                f"Question {self.question} of {self.benchmark} has no token count: count in words."
            )
        if self.thinking_tokens is None:
            return self.tokens, 0
        return self.thinking_tokens, self.tokens - self.thinking_tokens


FIELDS = tuple(field.name for field in fields(StoredReply))


def to_line(reply: StoredReply) -> bytes:
    """A reply as a line of JSON, with the line break."""
    row = {name: getattr(reply, name) for name in FIELDS}
    row["marks"] = {rule: asdict(mark) for rule, mark in reply.marks.items()}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def from_line(line: bytes) -> StoredReply:
    """The reply on a line of JSON. Unknown fields are ignored.

    The score is not checked here: `lrm.scoring.replies` does, and names the question. Raises
    ValueError where the line holds no reply, and BadInput where newer code wrote it.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = json.loads(line)  # reads NaN, which is not JSON
    if not isinstance(row, dict):
        raise ValueError("a line is not a JSON object")
    version = row.get("version", 1)
    if not isinstance(version, int) or version > VERSION:
        raise BadInput(
            f"A stored reply has version {version}, and this code reads up to {VERSION}: update it."
        )
    try:
        values = {name: row[name] for name in FIELDS if name in row} | {"version": version}
        for name in ("gold", "prompt_ids", "token_ids"):
            values[name] = tuple(row.get(name) or ())
        marks = row.get("marks") or {}
        values["marks"] = {rule: Mark(**mark) for rule, mark in marks.items()}
        values["question"], values["sample"] = str(row["question"]), int(row["sample"])
        values["group"] = str(row.get("group") or "")
        return StoredReply(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a line is not a stored reply, {error}") from error
