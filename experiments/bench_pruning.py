"""What pruning costs on this machine.

A model with random weights is pruned in memory, on the same random tokens each time; nothing is
written. First all sparsities at once and one sparsity alone, in dense and in sequential mode; then
the usual way, a column loop for each sparsity (experiments/benchmarking/column_loop.py), on a few
blocks and scaled to all of them; then llm-compressor, where it is installed. The machine may be
shared, so compare the ratios, not the seconds.

Example:
    python -m experiments.bench_pruning --shape 100m
    python -m experiments.bench_pruning --check
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.benchmarking.settings import PruningBench
from experiments.cli.command import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the costs; returns the exit status."""

    def work(settings: PruningBench) -> str:
        from experiments.benchmarking import pruning_cost

        return pruning_cost.run(settings)

    stopped = "Nothing was written."
    return command(PruningBench, "bench_pruning", __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
