"""The cost of a charge in release 0.1.0, which used the Charges API, from the results of that release's bench.

Times of two runs can't be compared, because the machine's speed varies. The ratio to the limit
(`bench.contenders.limit`) can: its program, request and response are the same in both releases. So a cost of release
0.1.0 is its measured ratio to the limit, times the cost of the limit in this run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Spread

RESULTS = Path(__file__).parent / "results" / "bench-0.1.0.json"
ROW = "CPU a charge, 32 at once (ours)"


def to_limit(path: Path = RESULTS) -> Spread:
    """Returns release 0.1.0's CPU time of a charge over the limit's. Raises KeyError where the file has no such row."""
    rows: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes())["rows"]
    found = {row["what"]: row["detail"] for row in rows if row["scenario"] == "cpu"}
    return msgspec.convert(found[ROW]["to_limit"], Spread)
