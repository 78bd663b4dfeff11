"""A clock that stands still until a test moves it.

Time is kept in whole nanoseconds, so that ten advances of 0.1 s wake a sleeper of 1 s. Sleepers wake in the order of
their times, those with equal times in the order of their calls; after each instant all tasks run until they wait again.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Sized
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from payment.adapters.system import whole_milliseconds

R = TypeVar("R")

NS_PER_S = 1_000_000_000
QUIET_TURNS = 3
"""Turns of the loop without a ready task after which all tasks count as waiting for time, a test or the network."""
SETTLE_TURNS_MAX = 100_000
"""Turns after which busy tasks count as a loop that never waits."""
DRIVE_LIMIT_S = 3_600.0
"""Virtual seconds after which an expected condition counts as impossible, so that its test fails instead of running for
ever.
"""


class FakeClock:
    """Virtual time: `now`, `monotonic` and `sleep` as `payment.ports.clock.Clock` promises them."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, 12, tzinfo=UTC), monotonic_s: float = 1_000.0) -> None:
        self._start = start
        self._zero_ns = self._now_ns = round(monotonic_s * NS_PER_S)
        self._jumped = timedelta()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._lain_down = 0
        self._settling = 0

    def now(self) -> datetime:
        elapsed = timedelta(microseconds=(self._now_ns - self._zero_ns) // 1_000)
        return whole_milliseconds(self._start + elapsed + self._jumped)

    def monotonic(self) -> float:
        return self._now_ns / NS_PER_S

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lain_down += 1
        heapq.heappush(self._sleepers, (self._now_ns + round(seconds * NS_PER_S), self._lain_down, woken))
        await woken

    def jump(self, by: timedelta) -> None:
        """Move the wall clock forward or back. It does not affect `monotonic` and the sleepers (F38)."""
        self._jumped += by

    def oversleep(self, seconds: float) -> None:
        """Let time pass without running tasks, as for a stopped process: sleepers wake late (F34)."""
        self._now_ns += round(seconds * NS_PER_S)

    @property
    def sleepers(self) -> int:
        """The number of sleeping tasks."""
        return sum(1 for *_, woken in self._sleepers if not woken.done())

    async def settle(self) -> None:
        """Run every task until it waits for time or for the test.

        asyncio does not expose which tasks are ready: the loop's private queue does, and is exact where a fixed number
        of turns would be too small for the longest chain of wake-ups.
        """
        ready: Sized = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        quiet = 0
        self._settling += 1
        try:
            for _ in range(SETTLE_TURNS_MAX):
                await asyncio.sleep(0)
                quiet = quiet + 1 if len(ready) < self._settling else 0
                if quiet == QUIET_TURNS:
                    return
        finally:
            self._settling -= 1
        raise AssertionError("some tasks never wait")

    async def advance(self, seconds: float) -> None:
        """Advance time; each sleeper that becomes due wakes at its own instant."""
        target_ns = self._now_ns + round(seconds * NS_PER_S)
        await self.settle()
        while (due_ns := self._next_ns()) is not None and due_ns <= target_ns:
            await self._wake_until(due_ns)
        self._now_ns = max(self._now_ns, target_ns)

    async def until(self, condition: Callable[[], bool], limit_s: float = DRIVE_LIMIT_S) -> None:
        """Advance time from one wake-up to the next until the condition holds, and no further.

        Raises:
            AssertionError: no task sleeps any more, or `limit_s` passed, and the condition does not hold.
        """
        limit_ns = self._now_ns + round(limit_s * NS_PER_S)
        await self.settle()
        while not condition():
            due_ns = self._next_ns()
            assert due_ns is not None, "nothing is asleep, and the condition does not hold"
            assert due_ns <= limit_ns, f"the condition does not hold after {limit_s} s"
            await self._wake_until(due_ns)

    async def drive(self, work: Coroutine[Any, Any, R], limit_s: float = DRIVE_LIMIT_S) -> R:
        """Run the work to its end in virtual time, and return or raise what it does."""
        task = asyncio.create_task(work)
        try:
            await self.until(task.done, limit_s)
        finally:
            task.cancel()
        return await task

    def _next_ns(self) -> int | None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def _wake_until(self, due_ns: int) -> None:
        self._now_ns = max(self._now_ns, due_ns)
        while (next_ns := self._next_ns()) is not None and next_ns <= due_ns:
            heapq.heappop(self._sleepers)[2].set_result(None)
        await self.settle()
