"""What a large model would take: memory, bytes and hours, by arithmetic; nothing is run.

Example:
    python -m experiments.plan --shape llama-3.1-70b --gpus 2
    python -m experiments.plan --shape deepseek-r1 --gpus 2

Beside each number stands its source: a formula, a measurement, or an assumption, which is a flag of
that name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.cli.command import command
from experiments.planning.settings import DEEPSEEK_R1, PlanSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit status."""

    def work(settings: PlanSettings) -> str:
        from experiments.planning import deepseek_r1, dense

        if settings.shape == DEEPSEEK_R1:
            return deepseek_r1.plan(settings)
        return dense.plan(settings)

    return command(PlanSettings, "plan", __doc__, arguments, work, "Nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
