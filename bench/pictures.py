"""The picture of a sale, made of what a run has found: who is paid and who is turned away, over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.plot import Curve, counted, plot
from bench.scenarios import on_sale
from bench.table import Row

PICTURE = "on_sale.svg"
BLUE, PALE, RED, GREY = "#2563eb", "#60a5fa", "#dc2626", "#6b7280"


def draw(rows: list[Row], folder: Path) -> list[Path]:
    """Write the pictures that these rows hold the points for."""
    sales = [row.detail for row in rows if row.scenario == on_sale.NAME]
    if not sales:
        return []
    path = folder / PICTURE
    path.write_text(picture(*sales))
    return [path]


def picture(learned: dict[str, Any], known: dict[str, Any], obvious: dict[str, Any]) -> str:
    until_s = max(learned["done_s"], known["done_s"])
    curves = [
        Curve("paid, pace known", PALE, counted(known["charged_at_s"], until_s)),
        Curve("paid, pace learned", BLUE, counted(learned["charged_at_s"], until_s)),
        Curve("obvious: paid", GREY, counted(obvious["charged_at_s"], until_s)),
        Curve("obvious: turned away", RED, counted(obvious["refused_at_s"], until_s), dashed=True),
    ]
    title = f"{on_sale.PEOPLE:,} people press pay within a second, Stripe allows {on_sale.RATE_PER_S:g} a second"
    return plot(title, "seconds since the sale began", "people", curves)
