"""What a recipe of quantization makes of a model's shape, without its weights.

Example:
    python -m experiments.plan_gguf --shape llama-3.1-8b --recipe dynamic-1.58
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments.cli.command import command
from experiments.planning.settings import RecipePlanSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan; returns the exit status."""

    def work(settings: RecipePlanSettings) -> str:
        from experiments.planning import recipes

        return recipes.plan(settings)

    return command(
        RecipePlanSettings, "plan_gguf", __doc__, arguments, work, "Nothing was written."
    )


if __name__ == "__main__":
    sys.exit(main())
