"""Grades replies that were made elsewhere and records them as a run like any other.

FILES hold one JSON object a line, one benchmark a file: the question (question_id, or its row
number as index, or its prompt), the reply (text, output, response, completion or generation) and,
if known, tokens, finish_reason and sample.

Example:
    python -m experiments.score_traces aime.jsonl folio.jsonl --model NAME --team alpha
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.cli.command import command
from lrm import registry
from lrm.errors import BadInput
from lrm.records import Track
from lrm.scoring import published

NOT_GIVEN = "not given"


@dataclass(frozen=True)
class ScoreSettings:
    """Files to grade, and what to record about them."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """JSONL files, gzipped or not; several of one benchmark count together."""

    benchmark: str | None = None
    """The benchmark of all files, where they do not name it themselves."""

    model: str = NOT_GIVEN
    """The model that replied."""

    method: str = NOT_GIVEN
    """How it was compressed."""

    track: Track | None = None
    """How it was asked. Read off the prompts in the files if left out."""

    tokenizer: str | None = None
    """Counts the tokens: a folder, an embedded model's name or a hub id. If left out, the counts in
    the files are taken, or else words and characters."""

    max_tokens: int | None = None
    """The cap the replies were made under: those whose token count in the file reaches it are
    truncated. Where neither this nor the file tells why a reply ended, its text is read for it."""

    against: str | None = None
    """Published result to compare with, such as r1-distill-llama-8b/awq-4bit."""

    name: str | None = None
    """Name of the run. Model and method, or the first file's name, if left out."""

    team: str | None = None
    """Team that the run is tagged with."""

    tracking_uri: str | None = None
    """MLflow tracking server or database. mlruns/mlflow.db if left out."""

    def __post_init__(self) -> None:
        if not self.files:
            raise BadInput("No file is given: name one JSONL file or more.")
        if self.benchmark is not None:
            registry.require("benchmark", self.benchmark, registry.BENCHMARKS)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise BadInput(f"--max-tokens {self.max_tokens} is too few: give 1 or more.")
        if self.against is not None:
            published.find(self.against)


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Grades and records; returns the exit status. Bad input records nothing.

    What is written goes to mlruns/ under `root`, the project's folder if left out.
    """

    def work(settings: ScoreSettings) -> str:
        from experiments.external import record, scorecard

        return scorecard.text(record.run(settings, root))

    stopped = "Nothing half-done is left as finished: the same command starts again."
    return command(ScoreSettings, "score_traces", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
