"""The table of perplexity on running text, and of how far levels are from the dense model."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.search.findings import Findings
from lrm.records.model import level_label
from lrm.tables import Table

COLUMNS = {
    "perplexity/wikitext2": ("WikiText-2", ",.2f"),
    "perplexity/wikitext2-valid": ("WikiText-2 valid", ",.2f"),
    "perplexity/c4": ("C4", ",.2f"),
    "held_out/kl": ("KL to dense", ".4f"),
    "held_out/agreement": ("agreement", ".1%"),
}
"""Metrics in their order: their column, and how their values are written."""


def text_quality(findings: Findings) -> Sequence[str]:
    """The table as text, with what was measured of any level; nothing if none was."""
    levels = findings.levels
    shown = [name for name in COLUMNS if any(name in level.quality.metrics for level in levels)]
    if not shown:
        return []
    rows = [
        (
            level_label(level.key),
            *(format(metrics[name], COLUMNS[name][1]) if name in metrics else "" for name in shown),
        )
        for level in levels
        for metrics in [level.quality.metrics]
    ]
    params = next(level.quality.params for level in levels if level.quality.params)
    prefix = "perplexity_tokens/"
    tokens = {
        name.removeprefix(prefix): count
        for name, count in params.items()
        if name.startswith(prefix)
    }
    read = " and ".join(f"{count:,} tokens of {name}" for name, count in tokens.items())
    perplexity = (
        f"Perplexity on {read}, in windows of {params['perplexity_window']:,} that do not overlap. "
        if tokens
        else ""
    )
    distance = (
        "KL and agreement (the same most probable next token) with the dense model are on rows of "
        "the calibration that were held out."
    )
    note = perplexity + (distance if "held_out/kl" in shown else "")
    header = ("level", *(COLUMNS[name][0] for name in shown))
    return [Table("Running text, by level", header, rows, note.rstrip()).text()]
