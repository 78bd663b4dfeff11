"""One row for each goal, the table for a terminal, and the summary that is written. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

MET = {True: "met", False: "NOT MET", None: ""}
HEADS = ("what", "goal", "measured", "")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A goal and its measurement. `met` is None where there is no goal.

    `detail` has the figures behind `measured`, those of each round too; a summary leaves those of the rounds out.
    """

    scenario: str
    what: str
    goal: str
    measured: str
    met: bool | None
    rounds: int
    detail: dict[str, Any] = {}


def summary(head: dict[str, Any], rows: Sequence[Row]) -> str:
    """A run as JSON, with one line for each row: who compares two runs reads a diff."""
    lines = ",\n".join(json.dumps({**msgspec.to_builtins(row), "detail": without_rounds(row.detail)}) for row in rows)
    return f'{{{json.dumps(head, indent=1)[1:-2]},\n "rows": [\n{lines}\n]}}\n'


def without_rounds(figure: Any) -> Any:
    """A figure without the values of single rounds, customers and instants: four digits, texts, objects of these."""
    plain = msgspec.to_builtins(figure)
    if isinstance(plain, float):
        return float(f"{plain:.4g}")
    if not isinstance(plain, dict):
        return plain
    return {name: without_rounds(each) for name, each in plain.items() if not isinstance(each, list)}


def table(rows: Sequence[Row]) -> str:
    """Returns the rows in aligned columns."""
    cells = [HEADS, *((row.what, row.goal, row.measured, MET[row.met]) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
