"""How one measured setting is written and drawn wherever it appears in a report."""

from __future__ import annotations

from dataclasses import replace

from lrm.analysis.fronts import Spot
from lrm.report.charts import SHARE, ChartAxis, Dot
from lrm.tables import amount, percent

ACCURACY = ChartAxis("accuracy", "percent", SHARE)
INTERVALS = "Bars are 95% intervals over questions."
CUT_OPEN = "A search cuts thinking that is still open at its largest budget."


def spot_dot(label: str, spot: Spot, part: str = "") -> Dot:
    """The setting in the plane of tokens (log scale) and accuracy."""
    value, low, high = map(log_length, (spot.tokens.value, spot.tokens.low, spot.tokens.high))
    across = replace(spot.tokens, value=value, low=low, high=high)
    return Dot(label, across.value, spot.accuracy, hover(spot), across, part)


def log_length(length: float) -> float:
    """A length on a log scale, which has no zero."""
    return max(length, 1.0)


def hover(spot: Spot) -> dict[str, str]:
    """What hovering shows, the run among it."""
    return {
        "variant": spot.setting.variant.name,
        "budget": budget_text(spot.setting.budget),
        "accuracy": percent(spot.accuracy),
        "length": f"{amount(spot.tokens)} {spot.setting.variant.unit}",
        "run": spot.run_id,
    }


def budget_text(budget: int | None) -> str:
    """A budget in a table, in thinking tokens."""
    return "none" if budget is None else f"{budget:,}"
