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
from pathlib import Path

from experiments.cli.command import command
from experiments.external.settings import ScoreSettings


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
