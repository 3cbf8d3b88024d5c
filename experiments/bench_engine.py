"""What an engine costs on this machine.

Measured on the synthetic benchmarks, sampled at temperature 0.6 and top-p 0.95, in an engine that
has already answered something: an evaluation at the largest budget, in tokens a second (tokens of
replies only, no prompts and no padding); the evaluation at eight budgets; for vLLM, the same
requests given to a bare LLM.generate; and, where the engine can take new weights while it runs,
what that costs against a new start. The machine may be shared, so compare the ratios, not the
seconds.

With --shape the model is random and never ends a reply by itself. Its replies are ended at drawn
lengths, log-normally distributed as real ones are, with --thinking tokens at the median. They count
as if they had closed their thinking before the last --answer tokens.

Example:
    python -m experiments.bench_engine --engine vllm --shape 1.5b --thinking 2000 --each 40
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.benchmarking.settings import EngineBench
from experiments.cli.command import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the costs; returns the exit status."""

    def work(settings: EngineBench) -> str:
        from experiments.benchmarking import engine_cost

        return engine_cost.run(settings)

    return command(EngineBench, "bench_engine", __doc__, arguments, work, "Nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
