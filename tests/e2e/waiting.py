"""Waiting for other processes: poll a condition until a deadline.

Another process has no event to wait on. So a test polls every few milliseconds, and fails with the condition's name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_EVERY_S = 0.02  # in seconds: costs little, and delays a test by no more
DEADLINE_S = 10.0  # in seconds: every condition takes well under a second on an idle machine

Found = TypeVar("Found")


async def eventually(
    condition: Callable[[], Awaitable[Found]], what: str, deadline_s: float = DEADLINE_S, every_s: float = POLL_EVERY_S
) -> Found:
    """Returns the first true value of `condition`. Raises AssertionError with its last value after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}; last value: {found!r}"
        await asyncio.sleep(every_s)


async def always(condition: Callable[[], Awaitable[bool]], what: str, for_s: float) -> None:
    """Check that `condition` is true for `for_s` seconds; raises AssertionError as soon as it isn't."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert await condition(), what
        await asyncio.sleep(POLL_EVERY_S)
