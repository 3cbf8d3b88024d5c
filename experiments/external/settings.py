"""The flags of score_traces: which replies made elsewhere are graded, and what is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from lrm import registry
from lrm.errors import BadInput
from lrm.records.question import Track
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
            registry.require("benchmark", self.benchmark, registry.benchmark_names())
        if self.max_tokens is not None and self.max_tokens < 1:
            raise BadInput(f"--max-tokens {self.max_tokens} is too few: give 1 or more.")
        if self.against is not None:
            published.find(self.against)
