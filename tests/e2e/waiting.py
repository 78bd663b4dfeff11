"""Waiting for what other processes do: look again and again, until a deadline.

Another process has no event to wait on. So a test looks every few milliseconds, and fails with what it waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_EVERY_S = 0.02  # costs nothing, and delays no test by more than that
DEADLINE_S = 10.0  # all that is waited for takes well under a second on an idle machine

Found = TypeVar("Found")


async def eventually(
    condition: Callable[[], Awaitable[Found]], what: str, deadline_s: float = DEADLINE_S, every_s: float = POLL_EVERY_S
) -> Found:
    """The first true thing that `look` returns; AssertionError, with the last thing it returned, after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}; last seen: {found!r}"
        await asyncio.sleep(every_s)


async def always(condition: Callable[[], Awaitable[bool]], what: str, for_s: float) -> None:
    """`look` is true now and for `for_s` more; AssertionError as soon as it isn't."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert await condition(), what
        await asyncio.sleep(POLL_EVERY_S)
