"""Replies made elsewhere, read from JSONL one line at a time, and checked as they are read.

A row names its question (an id, the row number in the data set, or the text that was asked), holds
the reply's text, and may hold the number of its sample, token counts and why the reply ended. The
field names are those of the released runs of arXiv 2504.02010, of this project's own generations,
and of the servers that speak OpenAI's protocol.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from lrm import registry
from lrm.contracts import Benchmark
from lrm.errors import BadInput
from lrm.records import THINK_CLOSE, Completion, Question, Stop

LONGEST_LINE = 64 * 2**20
"""Bytes. One line is held in memory; a longer one is no reply."""

BENCHMARK = ("benchmark", "dataset")
ID = ("question_id", "id", "question")
INDEX = ("index", "row")
ASKED = ("prompt", "question")
TEXT = ("text", "output", "response", "completion", "generation")
THOUGHT = ("reasoning_content", "reasoning")
SAMPLE = ("sample", "sample_id", "repeat", "run")
TOKENS = ("tokens", "completion_tokens", "output_tokens", "num_tokens")
STOP = ("stop", "finish_reason", "stop_reason")
GOLD = ("gold", "target")

STOPS: Mapping[str, Stop] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "max_length": "length",
}  # fmt: skip

ALIASES = {
    "aime2024": "aime", "aime24": "aime", "foliov2": "folio", "temporalsequences": "temporal",
    "bbhtemporalsequences": "temporal", "musique100": "musique", "random100musique": "musique",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Submission:
    """One row: which question, which sample of it, what was said, and what is known of it.

    `tokens` is the reply's length as the row gives it, `stop` why it ended; None where the row does
    not say. `prompt` is the text shown to the model, if the row holds it.
    """

    question: Question
    sample: int
    text: str
    tokens: int | None
    thinking_tokens: int | None
    stop: Stop | None
    prompt: str | None


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a file, gzipped or not, blank ones left out; never the whole file at once.

    Raises BadInput where the file cannot be read to its end.
    """
    try:
        with _opened(path) as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise BadInput(
                        f"{path}, line {number} is longer than {LONGEST_LINE >> 20} MiB: give one "
                        "JSON object a line."
                    )
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"Cannot read {path} ({reason}): give a whole JSONL file.") from error


def benchmark_name(path: Path) -> str | None:
    """The benchmark that the first row names, if it names one."""
    for number, line in lines(path):
        return _named(record(line, f"{path}, line {number}"), f"{path}, line {number}")
    raise BadInput(f"{path} holds no rows: give a JSONL file with a reply a line.")


def record(line: bytes, place: str) -> dict[str, Any]:
    """The JSON object on a line."""
    try:
        found = json.loads(line.decode())
        if b"\\ud" in line.lower():  # an escape that may be half a surrogate pair, which is no text
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeError:
        raise BadInput(f"{place} is not UTF-8: save the file as UTF-8.") from None
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        raise BadInput(
            f"{place} is not JSON ({reason}): give one whole JSON object a line."
        ) from None
    if not isinstance(found, dict):
        raise BadInput(f"{place} is no JSON object: give one a line, with a question and a text.")
    return found


@dataclass
class SubmissionReader:
    """Reads the rows of one benchmark, from one file or several, and refuses what does not fit.

    `told` says that a person named the benchmark, so that a name the rows have for it may be any.
    `left_out` counts rows that hold a forced answer under a budget: they are no replies of their
    own.
    """

    name: str
    benchmark: Benchmark
    questions: Sequence[Question]
    told: bool = False
    left_out: int = 0
    _seen: dict[tuple[str, int], str] = field(default_factory=dict)
    _by_id: dict[str, Question] = field(init=False)
    _by_prompt: dict[str, Question] = field(init=False)

    def __post_init__(self) -> None:
        self._by_id = {question.id: question for question in self.questions}
        self._by_prompt = {}
        for question in self.questions:
            for text in (question.prompt, question.message):
                self._by_prompt.setdefault(_flat(text), question)

    def read(self, path: Path) -> Iterator[Submission]:
        """The file's rows in order. Raises BadInput naming file and line."""
        before = len(self._seen)
        for number, line in lines(path):
            place = f"{path}, line {number}"
            row = record(line, place)
            if row.get("budget") is not None:
                self.left_out += 1
                continue
            yield self._submission(row, place)
        if len(self._seen) == before:
            raise BadInput(f"{path} holds no replies: give a JSONL file with a reply a line.")

    def _submission(self, row: Mapping[str, Any], place: str) -> Submission:
        named = _named(row, place)
        if named not in (None, self.name) and (named in registry.BENCHMARKS or not self.told):
            raise BadInput(
                f"{place} belongs to {named}, not to {self.name}: give each benchmark a file of "
                "its own, and --benchmark only for files that name none."
            )
        question = self._question(row, place)
        sample = _whole(row, SAMPLE, place) or 0
        if first := self._seen.get((question.id, sample)):
            raise BadInput(
                f"{place}: question {question.id} stands here again, as in {first}; leave one out, "
                'or number repeats with a field "sample".'
            )
        self._seen[question.id, sample] = place
        self._check_gold(row, question, place)
        prompt = _first(row, ("prompt",))
        return Submission(
            question=question,
            sample=sample,
            text=_text(row, place),
            tokens=_whole(row, TOKENS, place),
            thinking_tokens=_whole(row, ("thinking_tokens",), place),
            stop=_stop(row, place),
            prompt=prompt if isinstance(prompt, str) else None,
        )

    def _question(self, row: Mapping[str, Any], place: str) -> Question:
        """The row's question: by its id, checked against its row number, or by either, or by the
        text that was asked."""
        index = _whole(row, INDEX, place)
        ids = [str(row[name]) for name in ID if isinstance(row.get(name), str | int)]
        found = next((self._by_id[name] for name in ids if name in self._by_id), None)
        if index is not None and index >= len(self.questions):
            raise BadInput(
                f"{place}: {self.name} has rows 0 to {len(self.questions) - 1}, not {index}."
            )
        if index is not None and found not in (None, self.questions[index]):
            raise BadInput(
                f"{place}: row {index} of {self.name} is {self.questions[index].id}, not "
                f"{found.id if found else None}; mend one of the two fields."
            )
        if found is None and index is not None and row.get("question_id") is None:
            found = self.questions[index]
        found = found or self._asked(row)
        if found is None:
            told = f"{ids[0]!r:.80} is no question of {self.name}" if ids else "names no question"
            raise BadInput(
                f"{place}: {told}; give its id as question_id, its row number as index, or "
                "--benchmark if this is another one."
            )
        return found

    def _asked(self, row: Mapping[str, Any]) -> Question | None:
        """The only question that the row's prompt or question text is, or is part of."""
        for name in ASKED:
            text = _flat(row[name]) if isinstance(row.get(name), str) else ""
            if text in self._by_prompt:
                return self._by_prompt[text]
            if len(text) >= 20:
                holding = {
                    question.id: question
                    for asked, question in self._by_prompt.items()
                    if text in asked
                }
                if len(holding) == 1:
                    return next(iter(holding.values()))
        return None

    def _check_gold(self, row: Mapping[str, Any], question: Question, place: str) -> None:
        gold = _first(row, GOLD)
        if gold is None:
            return
        told = [str(one) for one in (gold if isinstance(gold, list) else [gold])]
        if not any(self._scores(question, one) for one in told):
            raise BadInput(
                f"{place}: the gold answer of {question.id} is {question.gold[0]!r}, not "
                f"{told[0]!r:.80}; this is another version of {self.name}, or another question."
            )

    def _scores(self, question: Question, gold: str) -> bool:
        boxed = f"{THINK_CLOSE}\\boxed{{{gold}}}"
        reply = Completion((), boxed, (), 0, 0, closed=True, stop="stop", looped=False)
        return self.benchmark.grade(question, reply).score == 1


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | gzip.GzipFile]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if zipped else file


def _named(row: Mapping[str, Any], place: str) -> str | None:
    name = _first(row, BENCHMARK)
    if name is None:
        return None
    if not isinstance(name, str):
        raise BadInput(f"{place}: the field that names the benchmark must hold text.")
    flat = re.sub(r"[^a-z0-9]", "", name.lower())
    return ALIASES.get(flat, name.lower())


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(row: Mapping[str, Any], place: str) -> str:
    """The whole reply; where a server split the thinking off, it is put back in front."""
    text = _first(row, TEXT)
    if text is None:
        raise BadInput(
            f"{place}: the field with the reply's text is missing; name it one of "
            f"{', '.join(TEXT)}."
        )
    if not isinstance(text, str):
        raise BadInput(f"{place}: the reply's text must be a string, got {type(text).__name__}.")
    thought = _first(row, THOUGHT)
    if isinstance(thought, str) and thought and THINK_CLOSE not in text:
        return f"{thought}\n{THINK_CLOSE}\n\n{text}"
    return text


def _whole(row: Mapping[str, Any], names: Sequence[str], place: str) -> int | None:
    value = _first(row, names)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        name = next(name for name in names if row.get(name) is not None)
        raise BadInput(f'{place}: "{name}" must be a whole number of 0 or more, got {value!r:.80}.')
    return value


def _stop(row: Mapping[str, Any], place: str) -> Stop | None:
    value = _first(row, STOP)
    if value is None:
        return None
    if str(value).lower() not in STOPS:
        raise BadInput(
            f"{place}: the reply ended by {value!r:.80}, which is unknown; write stop or length, "
            "or leave it out."
        )
    return STOPS[str(value).lower()]


def _flat(text: str) -> str:
    return " ".join(text.split())
