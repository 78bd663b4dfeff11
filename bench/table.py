"""One row for each goal, and the table for a terminal. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

MET = {True: "met", False: "NOT MET", None: ""}
HEADS = ("what", "goal", "measured", "")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A goal and its measurement. `met` is None where there is no goal; `detail` has all rounds."""

    scenario: str
    what: str
    goal: str
    measured: str
    met: bool | None
    rounds: int
    detail: dict[str, Any] = {}


def table(rows: Sequence[Row]) -> str:
    """Returns the rows in aligned columns."""
    cells = [HEADS, *((row.what, row.goal, row.measured, MET[row.met]) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
