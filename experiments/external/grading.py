"""Files of replies made elsewhere, graded row by row: nothing but short records stays in memory."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.external.settings import NOT_GIVEN, ScoreSettings
from experiments.models.resolve import EMBEDDED, embedded_names
from experiments.search.level import sample_row
from lrm import registry
from lrm.contracts import Benchmark
from lrm.errors import BadInput
from lrm.generation.evaluate import Item
from lrm.records import Interval, Question, Unit
from lrm.scoring import submissions
from lrm.scoring.grading import Count, Graded, graded, in_tokens
from lrm.stats import intervals


@dataclass
class GradedTraces:
    """The graded replies of one benchmark; their texts lie in `file`, one JSON object a line."""

    benchmark: Benchmark
    questions: Sequence[Question]
    paths: list[Path]
    file: Path
    replies: list[Graded] = field(default_factory=list)
    left_out: int = 0
    prompts: int = 0
    prompts_of_the_paper: int = 0

    def track(self) -> str:
        """How the questions were asked, as the rows' own prompts tell."""
        if not self.prompts:
            return NOT_GIVEN
        other = self.prompts - self.prompts_of_the_paper
        if other == self.prompts:
            return "neither the paper's prompts nor known ones"
        return "paper" if not other else f"paper, but {other} of {self.prompts} prompts differ"

    def items(self, unit: Unit) -> list[Item]:
        """All replies, question by question."""
        place = {question.id: index for index, question in enumerate(self.questions)}
        ordered = sorted(
            self.replies, key=lambda one: (place[one.item.question.id], one.item.sample)
        )
        return in_tokens(ordered) if unit == "tokens" else [one.item for one in ordered]

    def characters(self) -> Interval:
        """Characters per reply."""
        found: dict[str, list[float]] = {}
        for one in self.replies:
            found.setdefault(one.item.question.id, []).append(float(one.characters))
        return intervals.mean(list(found.values()))


def grade(settings: ScoreSettings, scratch: Path) -> dict[str, GradedTraces]:
    """Grades every row of every file. Texts go to a file for each benchmark in `scratch`."""
    count = tokenizer(settings.tokenizer)
    piles: dict[str, GradedTraces] = {}
    readers: dict[str, submissions.SubmissionReader] = {}
    for path in settings.files:
        name = settings.benchmark or submissions.benchmark_name(path)
        if name is None:
            raise BadInput(f"{path} does not say which benchmark it answers: give --benchmark.")
        if name not in piles:
            benchmark = registry.benchmark(name)
            questions = benchmark.load()
            piles[name] = GradedTraces(benchmark, questions, [], scratch / f"{name}.jsonl.gz")
            readers[name] = submissions.SubmissionReader(
                name, benchmark, questions, chosen=settings.benchmark is not None
            )
        piles[name].paths.append(path)
    with tqdm(desc="graded", unit=" replies", disable=not sys.stderr.isatty(), leave=False) as bar:
        for name, pile in piles.items():
            with gzip.open(pile.file, "wt", encoding="utf-8", newline="\n", compresslevel=5) as out:
                for given in _chained(readers[name], pile.paths):
                    one = graded(given, pile.benchmark, count, settings.max_tokens)
                    out.write(json.dumps(_row(name, given, one), ensure_ascii=False) + "\n")
                    pile.replies.append(one.light())
                    pile.prompts += given.prompt is not None
                    pile.prompts_of_the_paper += given.prompt == given.question.prompt
                    bar.update()
            pile.left_out = readers[name].left_out
    return piles


def tokenizer(name: str | None) -> Count | None:
    """A function that counts a text's tokens, without special ones added around it."""
    if name is None:
        return None
    from lrm.engines.shared.hub_tokenizer import open_tokenizer

    made = open_tokenizer(str(EMBEDDED / name) if name in embedded_names() else name)
    return lambda text: len(made(text, add_special_tokens=False, verbose=False)["input_ids"])


def _chained(
    reader: submissions.SubmissionReader, paths: Sequence[Path]
) -> Iterator[submissions.Submission]:
    for path in paths:
        yield from reader.read(path)


def _row(name: str, given: submissions.Submission, one: Graded) -> dict[str, Any]:
    """A reply as it is stored; lengths in tokens are null where they are not known."""
    answer = None
    if one.tokens is not None and one.thinking_tokens is not None:
        answer = one.tokens - one.thinking_tokens
    return sample_row(name, one.item) | {
        "tokens": one.tokens,
        "thinking_tokens": one.thinking_tokens,
        "answer_tokens": answer,
        "words": one.item.completion.tokens,
        "characters": one.characters,
        "stop_guessed": one.guessed,
        "prompt": given.prompt,
        "gold": list(given.question.gold),
    }
