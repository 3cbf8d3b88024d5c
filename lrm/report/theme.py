"""How charts look on a light page and on a dark one.

Series without an order take the colours of Okabe and Ito (2008), which colour-blind people can tell
apart. Ordered series, such as sparsities, take viridis without the end that is too near the
background.
"""

from __future__ import annotations

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"


def theme(ink: str, faint: str, viridis: tuple[float, float], background: str) -> dict[str, object]:
    """Vega-Lite's config: text in `ink`, grid in `faint`, and the
    part of viridis to use, from 0 to 1."""
    lines = {"gridColor": faint, "domainColor": faint, "tickColor": faint}
    return {
        "background": background,
        "font": FONT,
        "padding": {"left": 4, "top": 6, "right": 18, "bottom": 4},
        "view": {"stroke": None},
        "axis": {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal", **lines}
        | {"labelFontSize": 11, "titleFontSize": 12},
        "legend": {"labelColor": ink, "labelFontSize": 11, "symbolOpacity": 1},
        "title": {"color": ink, "fontSize": 13, "anchor": "start"},
        "range": {
            "category": list(OKABE_ITO),
            "ordinal": {"scheme": "viridis", "extent": list(viridis)},
        },
        "rule": {"color": ink},
        "style": {"front": {"color": ink}},
    }


LIGHT = theme("#333", "#ddd", (0.0, 0.88), "transparent")
DARK = theme("#ddd", "#444", (0.25, 1.0), "transparent")
PAPER = LIGHT | {"background": "white"}
"""For PNG files."""
