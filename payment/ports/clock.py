"""The clock port: wall-clock time, elapsed time and waiting, so that a simulation can own all three."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where actors get time from. Nothing else in the service reads a clock."""

    def now(self) -> datetime:
        """Wall-clock time, UTC, in whole milliseconds. It may jump either way."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant. It never goes back, and goes on while the process is stopped."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of `monotonic`."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return whole_milliseconds(datetime.now(UTC))

    monotonic = staticmethod(time.monotonic)  # asked for thirty times a charge: without a step in between

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def whole_milliseconds(moment: datetime) -> datetime:
    """MongoDB keeps milliseconds: what is decided must equal what is read back."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
