"""Searches recipe of quantization x output-length budget, for accuracy, tokens and bytes.

Example:
    python -m experiments.quantization_search --recipes f16,Q4_K_M,Q2_K,Q2_K/final-mlp
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command import command
from experiments.cli.quantization_settings import QuantizationSettings

NAME = "quantization_search"


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Runs the search; returns its exit status. What is written goes to mlruns/ under `root`."""

    def work(settings: QuantizationSettings) -> str:
        from experiments.cli.quantizer_choice import parse_quantizer
        from experiments.outcomes import quantization
        from experiments.search import launch
        from experiments.search.axis import SearchAxis

        axis = SearchAxis(
            method=parse_quantizer(settings.method, settings.recipes),
            text=settings.method,
            keys=settings.recipes,
            objectives=3,
            findings=quantization.QuantizationFindings,
        )
        text = quantization.text
        return launch.searched(NAME, arguments, settings, axis, root, text)

    stopped = "Nothing is lost: the same command goes on from here."
    return command(QuantizationSettings, NAME, __doc__, arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
