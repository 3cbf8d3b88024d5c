"""Replies made elsewhere, read from JSONL one line at a time, and checked as they are read.

A row names its question (an id, the row number in the data set, or the text that was asked) and
holds the reply's text. It may hold the number of its sample, token counts and why the reply ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lrm import registry
from lrm.contracts.benchmark import Benchmark
from lrm.errors import BadInput
from lrm.records.question import Question
from lrm.records.reply import THINK_CLOSE, Completion, Stop
from lrm.scoring import submission_fields as fields
from lrm.scoring.jsonl import lines, parsed
from lrm.scoring.submission_fields import Row

SHORTEST_EXCERPT = 20
"""Characters. A shorter text is not looked for inside the questions."""


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


def benchmark_name(path: Path) -> str | None:
    """The benchmark that the first row names, if it names one."""
    for number, line in lines(path):
        location = f"{path}, line {number}"
        return fields.benchmark(parsed(line, location), location)
    raise BadInput(f"{path} holds no rows: give a JSONL file with a reply a line.")


@dataclass
class SubmissionReader:
    """Reads the rows of one benchmark, from one file or several, and refuses what does not fit.

    `chosen` says that a person named the benchmark, so the rows may give it any unknown name.
    `left_out` counts rows that hold a forced answer under a budget: they are no replies of their
    own.
    """

    name: str
    benchmark: Benchmark
    questions: Sequence[Question]
    chosen: bool = False
    left_out: int = 0
    _seen: dict[tuple[str, int], str] = field(default_factory=dict)
    """Where each (question id, sample) was read."""
    _by_id: dict[str, Question] = field(init=False)
    _by_prompt: dict[str, Question] = field(init=False)

    def __post_init__(self) -> None:
        self._by_id = {question.id: question for question in self.questions}
        self._by_prompt = {}
        for question in self.questions:
            for text in (question.prompt, question.message):
                self._by_prompt.setdefault(_one_line(text), question)

    def read(self, path: Path) -> Iterator[Submission]:
        """The file's rows in order. Raises BadInput naming file and line."""
        before = len(self._seen)
        for number, line in lines(path):
            location = f"{path}, line {number}"
            row = parsed(line, location)
            if row.get("budget") is not None:
                self.left_out += 1
                continue
            yield self._submission(row, location)
        if len(self._seen) == before:
            raise BadInput(f"{path} holds no replies: give a JSONL file with a reply a line.")

    def _submission(self, row: Row, location: str) -> Submission:
        name = fields.benchmark(row, location)
        if name not in (None, self.name) and (registry.is_installed(name) or not self.chosen):
            raise BadInput(
                f"{location} belongs to {name}, not to {self.name}: give each benchmark a file of "
                "its own, and --benchmark only for files that name none."
            )
        question = self._question(row, location)
        sample = fields.whole_number(row, fields.SAMPLE, location) or 0
        if earlier := self._seen.get((question.id, sample)):
            raise BadInput(
                f"{location}: question {question.id} is there already, in {earlier}; leave one "
                'out, or number repeats with a field "sample".'
            )
        self._seen[question.id, sample] = location
        self._check_gold(row, question, location)
        prompt = row.get("prompt")
        tokens, thinking_tokens = fields.lengths(row, location)
        return Submission(
            question=question,
            sample=sample,
            text=fields.text(row, location),
            tokens=tokens,
            thinking_tokens=thinking_tokens,
            stop=fields.stop(row, location),
            prompt=prompt if isinstance(prompt, str) else None,
        )

    def _question(self, row: Row, location: str) -> Question:
        """The row's question: by its id, checked against its row number, or by either, or by the
        text that was asked."""
        index = fields.whole_number(row, fields.INDEX, location)
        ids = [str(row[name]) for name in fields.ID if isinstance(row.get(name), str | int)]
        question = next((self._by_id[name] for name in ids if name in self._by_id), None)
        if index is not None and index >= len(self.questions):
            raise BadInput(
                f"{location}: {self.name} has rows 0 to {len(self.questions) - 1}, not {index}."
            )
        if index is not None and question not in (None, self.questions[index]):
            raise BadInput(
                f"{location}: row {index} of {self.name} is {self.questions[index].id}, not "
                f"{question.id if question else None}; correct one of the two fields."
            )
        # An explicit question_id that is unknown is an error, not a reason to fall back.
        if question is None and index is not None and row.get("question_id") is None:
            question = self.questions[index]
        question = question or self._asked(row)
        if question is None:
            problem = (
                f"{ids[0]!r:.80} is no question of {self.name}" if ids else "names no question"
            )
            raise BadInput(
                f"{location}: {problem}; give its id as question_id, its row number as index, or "
                "--benchmark if this is another one."
            )
        return question

    def _asked(self, row: Row) -> Question | None:
        """The question whose prompt or message equals the row's text, or the only one that has it
        as a part."""
        for name in fields.ASKED:
            value = row.get(name)
            text = _one_line(value) if isinstance(value, str) else ""
            if text in self._by_prompt:
                return self._by_prompt[text]
            if len(text) >= SHORTEST_EXCERPT:
                matches = {
                    question.id: question
                    for asked, question in self._by_prompt.items()
                    if text in asked
                }
                if len(matches) == 1:
                    return next(iter(matches.values()))
        return None

    def _check_gold(self, row: Row, question: Question, location: str) -> None:
        """Raises BadInput where the row's gold answers would not be graded as correct."""
        golds = fields.golds(row)
        if golds and not any(self._correct(question, gold) for gold in golds):
            raise BadInput(
                f"{location}: the gold answer of {question.id} is {question.gold[0]!r}, not "
                f"{golds[0]!r:.80}; this is another version of {self.name}, or another question."
            )

    def _correct(self, question: Question, gold: str) -> bool:
        boxed = f"{THINK_CLOSE}\\boxed{{{gold}}}"
        reply = Completion((), boxed, (), 0, 0, closed=True, stop="stop", looped=False)
        return self.benchmark.grade(question, reply).score == 1


def _one_line(text: str) -> str:
    return " ".join(text.split())
