"""From what the command line names to the rows that a model is calibrated on."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.cli.calibration_source import CalibrationSource
from experiments.models.resolve import Model
from lrm import registry
from lrm.contracts.benchmark import Benchmark
from lrm.errors import BadInput
from lrm.generation import calibration
from lrm.generation.calibration import Asked, Size
from lrm.records.model import Calibration
from lrm.records.question import Question, Track
from lrm.records.reply import Decoding
from lrm.scoring.stored_reply import from_line


@dataclass(frozen=True)
class Calibrating:
    """What calibration of a search's model depends on, beside its source."""

    model: Model
    questions: Mapping[Benchmark, Sequence[Question]]
    decoding: Decoding
    track: Track
    system: str | None = None

    @property
    def twins(self) -> list[Benchmark]:
        """Whose practice questions an embedded model reasons on."""
        # A made-up graph means nothing to a model that was not trained on it.
        return [
            benchmark
            for benchmark in map(registry.benchmark, registry.BENCHMARKS)
            if benchmark.calibrates and (self.model.embedded or not benchmark.knowledge)
        ]

    def check(self, source: CalibrationSource) -> None:
        """BadInput if there cannot be such a calibration, as far as that can be said at once."""
        self.size(source)
        if source.reasons or source.name == "prompts":
            self.asked(source)

    def size(self, source: CalibrationSource) -> Size:
        """How much of it is taken."""
        return calibration.size_of(
            self.model.checkpoint, self.model.embedded, source.rows, source.row_tokens
        )

    def asked(self, source: CalibrationSource) -> Asked:
        """What the model reasons on, or whose prompts alone are read."""
        if source.file:
            return calibration.of_file(source.file, self.decoding, self.track, self.system)
        if self.model.embedded:
            return calibration.of_practice(self.twins, self.decoding)
        return calibration.of_left_out(self.questions, self.decoding, self.track, self.system)

    def read(self, source: CalibrationSource) -> Calibration:
        """A calibration that the model does not write itself."""
        checkpoint, size = self.model.checkpoint, self.size(source)
        if source.name == "prompts":
            return calibration.prompts_alone(checkpoint, size, self.asked(source))
        if source.file is None:
            return calibration.plain_text(checkpoint, size, source.name)
        if source.file.suffix == ".gz":
            words = f"the stored replies of {source.file.name}"
            return calibration.packed(checkpoint, size, words, stored_replies(source.file))
        return calibration.own_text(checkpoint, size, source.file)


def stored_replies(path: Path) -> Iterator[str]:
    """The longest replies that a run stored, each behind its prompt."""
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                reply = from_line(line)
                if reply.budget is None:  # a forced answer repeats the thinking of its reply
                    yield (reply.prompt or "") + reply.text
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} holds no stored replies of a run ({error}); fetch the artifact again."
        ) from error
