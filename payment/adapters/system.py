"""The machine's own clock and randomness, for the ports `Clock` and `Ids`."""

import asyncio
import os
import random
import time
from datetime import UTC, datetime


class SystemClock:
    """The machine's clock. Its times are in whole milliseconds."""

    def now(self) -> datetime:
        return whole_milliseconds(datetime.now(UTC))

    monotonic = staticmethod(time.monotonic)  # called thirty times a charge, so without a helper function

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class RandomIds:
    """Ids of 128 random bits, enough that none is ever generated twice."""

    def new(self) -> str:
        return os.urandom(16).hex()

    def jitter(self) -> float:
        return random.random()


def whole_milliseconds(at: datetime) -> datetime:
    """Returns the time as MongoDB keeps it, so that what is decided equals what is read back."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
