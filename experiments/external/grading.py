"""Files of replies made elsewhere, graded row by row: nothing but numbers stays in memory."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from experiments.external.settings import NOT_GIVEN, ScoreSettings
from experiments.models.resolve import find_model
from lrm import registry
from lrm.contracts.benchmark import Benchmark
from lrm.digests import of_file
from lrm.errors import BadInput
from lrm.records.question import Question
from lrm.scoring import submissions
from lrm.scoring.external import Count, graded_submission
from lrm.scoring.stored_reply import StoredReply, from_line, to_line


@dataclass
class GradedTraces:
    """The graded replies of one benchmark, which lie in `file` (`lrm.scoring.stored_reply`), and
    what was counted while they were graded.

    `tokens_known`: every reply knows its tokens; `split_known`: and how many were thinking.
    `left_out` counts forced answers under a budget.
    """

    benchmark: Benchmark
    questions: Sequence[Question]
    paths: list[Path]
    file: Path
    replies: int = 0
    tokens_known: bool = True
    split_known: bool = True
    left_out: int = 0
    prompts: int = 0
    prompts_of_the_paper: int = 0

    @cached_property
    def digests(self) -> dict[str, str]:
        """The sha256 of every file by its path, in the order in which they were read."""
        return {str(path): of_file(path) for path in self.paths}

    def track(self) -> str:
        """How the questions were asked, as the rows' own prompts tell."""
        if not self.prompts:
            return NOT_GIVEN
        other = self.prompts - self.prompts_of_the_paper
        if other == self.prompts:
            return "neither the paper's prompts nor known ones"
        return "paper" if not other else f"paper, but {other} of {self.prompts} prompts differ"

    def note(self, reply: StoredReply, paper_prompt: str) -> None:
        """Counts a reply, to a question that the paper asks by `paper_prompt`."""
        self.replies += 1
        self.tokens_known &= reply.tokens is not None
        self.split_known &= reply.thinking_tokens is not None
        self.prompts += reply.prompt is not None
        self.prompts_of_the_paper += reply.prompt == paper_prompt

    def stored(self) -> Iterator[StoredReply]:
        """The graded replies, in the order in which they were given."""
        with gzip.open(self.file, "rb") as lines:
            yield from map(from_line, lines)


def grade(settings: ScoreSettings, scratch: Path) -> dict[str, GradedTraces]:
    """Grades every row of every file once, into a file for each benchmark in `scratch`."""
    count = tokenizer(settings.tokenizer)
    traces: dict[str, GradedTraces] = {}
    readers: dict[str, submissions.SubmissionReader] = {}
    for path in settings.files:
        name = settings.benchmark or submissions.benchmark_name(path)
        if name is None:
            raise BadInput(f"{path} does not say which benchmark it answers: give --benchmark.")
        if name not in traces:
            benchmark = registry.benchmark(name)
            questions = benchmark.load()
            traces[name] = GradedTraces(benchmark, questions, [], scratch / f"{name}.jsonl.gz")
            readers[name] = submissions.SubmissionReader(
                name, benchmark, questions, chosen=settings.benchmark is not None
            )
        traces[name].paths.append(path)
    with tqdm(desc="graded", unit=" replies", disable=not sys.stderr.isatty(), leave=False) as bar:
        for name, graded in traces.items():
            with gzip.open(graded.file, "wb", compresslevel=5) as out:
                for submission in _chained(readers[name], graded.paths):
                    reply = graded_submission(
                        submission, graded.benchmark, count, settings.max_tokens
                    )
                    out.write(to_line(reply))
                    graded.note(reply, submission.question.prompt)
                    bar.update()
            graded.left_out = readers[name].left_out
    return traces


def tokenizer(name: str | None) -> Count | None:
    """A function that counts a text's tokens, without special ones added around it."""
    if name is None:
        return None
    from lrm.tokenizers import encode, open_folder

    named = find_model(name, tokenizer_only=True).open()
    opened = open_folder(named.checkpoint.path)
    return lambda text: len(encode(opened, text))


def _chained(
    reader: submissions.SubmissionReader, paths: Sequence[Path]
) -> Iterator[submissions.Submission]:
    for path in paths:
        yield from reader.read(path)
