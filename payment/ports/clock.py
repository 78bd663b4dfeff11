"""The clock port: wall-clock time, elapsed time and waiting, so that a simulation can control all three."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The actors' source of time. Nothing else in the service reads a clock."""

    def now(self) -> datetime:
        """Wall-clock time, UTC, in whole milliseconds. It may jump either way."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant. It never goes back, and goes on while the process is stopped."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of `monotonic`."""
