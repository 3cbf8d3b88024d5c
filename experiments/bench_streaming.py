"""What it saves, and costs, to hold one block of a model at a time while it is pruned.

A model with random weights is written to disk and pruned twice, each time in a process of its own:
with one block after the other in memory, as every pruning does it, and with the whole model in
memory. Both checkpoints have to be the same. Files lie in the temporary folder (TMPDIR).

Example:
    python -m experiments.bench_streaming --shape 800m
    python -m experiments.bench_streaming --shape llama-3.1-70b --blocks 24 --no-whole
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.benchmarking.settings import StreamingBench
from experiments.cli.command import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the costs of both ways; returns the exit status."""

    def work(settings: StreamingBench) -> str:
        from experiments.benchmarking import streaming_cost

        return streaming_cost.run(settings)

    stopped = "Nothing was written that stays."
    return command(StreamingBench, "bench_streaming", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
