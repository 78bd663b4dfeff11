"""What a charge cost in release 0.1.0, which charged by the Charges API: read from the results of its own bench.

Times of two runs can't be compared, for the machine is never as quick twice. What can be is the ratio to the limit
(`bench.contenders.limit`): a program, a request and a response that are the same in both releases. So a cost of before
is that ratio as release 0.1.0 was measured, times what the limit costs in this run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Spread

RESULTS = Path(__file__).parent / "results" / "bench-0.1.0.json"
ROW = "CPU a charge, 32 at once (ours)"


def to_limit(path: Path = RESULTS) -> Spread:
    """Release 0.1.0's CPU a charge over the limit's. Raises KeyError where the file has no such row."""
    rows: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes())["rows"]
    found = {row["what"]: row["detail"] for row in rows if row["scenario"] == "cpu"}
    return msgspec.convert(found[ROW]["to_limit"], Spread)
