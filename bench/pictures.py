"""The picture of a sale, drawn from a run's results: charges and rejections over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contender import INTENTS, OURS, PREPARED
from bench.plot import Curve, counted, plot
from bench.scenarios import on_sale
from bench.table import Row

PICTURE = "on_sale.svg"
BLUE, PALE, RED, GREY = "#2563eb", "#60a5fa", "#dc2626", "#6b7280"


def draw(rows: list[Row], folder: Path) -> list[Path]:
    """Write the pictures of these rows; returns their paths."""
    sales = on_sale.details(rows)
    if not sales:
        return []
    names = (*(on_sale.name_of(name, on_sale.LEARNED) for name in (PREPARED, OURS)), INTENTS)
    path = folder / PICTURE
    path.write_text(picture(*(sales[name] for name in names)))
    return [path]


def picture(prepared: dict[str, Any], ours: dict[str, Any], obvious: dict[str, Any]) -> str:
    until_s = max(prepared["done_s"], ours["done_s"])
    curves = [
        Curve("paid, prepared", PALE, counted(prepared["charged_at_s"], until_s)),
        Curve("paid", BLUE, counted(ours["charged_at_s"], until_s)),
        Curve("obvious: paid", GREY, counted(obvious["charged_at_s"], until_s)),
        Curve("obvious: refused", RED, counted(obvious["refused_at_s"], until_s), dashed=True),
    ]
    title = f"{on_sale.CUSTOMERS:,} pay within a second, Stripe allows {on_sale.ACCOUNT_PER_S:g} calls a second"
    return plot(title, "seconds since the sale began", "customers", curves)
