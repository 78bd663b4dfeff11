"""What is not settled in the whole database, read off it every few seconds: gauges, and lines about what is stuck.

It owns the gauges that stand for a state of the database. They are read, never remembered: so they are right after a
restart, and while other processes change the orders. It must never change an order, nor take more than a small part of
this process's time: where much is pending, it reads less often (`SHARE`).

Change together: `payment.core.waits`, `payment.actors.ledger.stuck_log`, the gauges in `payment.ops.metrics`.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from payment.actors.ledger.stuck_log import Stuck, StuckLog
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.core.order import Order
from payment.core.waits import Matter, Wait, unpublished, waits
from payment.ports.clock import Clock
from payment.ports.store import OrderStore, StoreUnavailable

READ_EVERY_S = 5.0
"""Between two reads where little is pending, in seconds: so long a gauge may be behind the database."""

READ_AT_LEAST_EVERY_S = 60.0
"""Between two reads, however long one took, in seconds."""

SHARE = 20
"""A read is followed by a pause of this many times its length: it takes 5 % of the time at most. Of that most is the
server's: 10,000 orders take two seconds on a slow one, and a quarter of a second here, a few milliseconds at a time."""

ORDERS_LIMIT = 20_000
"""Orders read at a time: more than one process may have under way. Past it the gauges are at their limit."""

ALARMS_LIMIT = 50
"""Alarms for blocked refunds in one read. The others follow in the next ones."""

REMIND_AFTER = timedelta(days=1)
"""After this time an alarm that stands for a state is logged again."""


class UnsettledCount:
    """What one read has found."""

    def __init__(self, known: dict[tuple[str, str], datetime], limit: int = ORDERS_LIMIT) -> None:
        """`known`: since when each matter has waited, as the read before found it."""
        self._known = known
        self._limit = limit
        self._orders: set[str] = set()
        self.since: dict[tuple[str, str], datetime] = {}
        self.pending: Counter[Matter] = Counter()
        self.oldest: dict[Matter, datetime] = {}
        self.blocked: list[Wait] = []
        self.waits: list[Wait] = []
        self.unpublished = 0

    def add(self, orders: Sequence[Order]) -> None:
        """Each order counts once, however often it comes."""
        for order in orders:
            if order.id not in self._orders:
                self._orders.add(order.id)
                self.unpublished += unpublished(order)
                for wait in waits(order):
                    self._add(wait)

    def _add(self, wait: Wait) -> None:
        # A task that was taken up anew has the time of that. What an earlier read found has waited for longer.
        since = self.since[wait.key] = min(wait.since, self._known.get(wait.key, wait.since))
        self.waits.append(wait)
        self.pending[wait.matter] += 1
        self.oldest[wait.matter] = min(since, self.oldest.get(wait.matter, since))
        if wait.matter is Matter.BLOCKED_REFUND:
            self.blocked.append(wait)

    def __len__(self) -> int:
        return len(self._orders)

    @property
    def complete(self) -> bool:
        """Whether these are all that there were."""
        return len(self._orders) < self._limit

    def stuck(self, at: datetime) -> list[Stuck]:
        """What has not been settled for a minute by then."""
        pairs = ((wait, self.since[wait.key]) for wait in self.waits)
        return [Stuck(wait, since) for wait, since in pairs if wait.is_stuck(since, at)]


class Backlog:
    """Reads what is not settled, and reports it."""

    def __init__(self, store: OrderStore, telemetry: LedgerTelemetry, log: StuckLog, clock: Clock) -> None:
        self._store = store
        self._telemetry = telemetry
        self._log = log
        self._clock = clock
        self._found = UnsettledCount({})
        self._read_before = False
        self._failed = False
        self._alarmed: dict[tuple[str, str], datetime] = {}
        """When the alarm of each blocked refund was logged last."""
        self._reminded: datetime | None = None

    async def report(self, store_up: asyncio.Event) -> None:
        """Read and report, for ever. While the store is away, what the last read found waits for it."""
        await store_up.wait()
        while True:
            began = self._clock.monotonic()
            complete = store_up.is_set() and await self._read()
            at = self._clock.now()
            stuck = self._found.stuck(at)
            self._telemetry.stuck(len(stuck))
            self._log.telemetry(stuck, at, complete=complete)
            took_s = self._clock.monotonic() - began
            await self._clock.sleep(min(max(READ_EVERY_S, took_s * SHARE), READ_AT_LEAST_EVERY_S))

    async def _read(self) -> bool:
        """Whether all that is pending was read."""
        at = self._clock.now()
        found = UnsettledCount(self._found.since)
        try:
            async for orders in self._store.backlog(ORDERS_LIMIT):
                found.add(orders)
            dead_letters = await self._store.dead_letters_kept()
        except StoreUnavailable as error:
            if not self._failed:
                self._failed = True
                self._telemetry.backlog_unread(str(error))
            return False
        self._failed = False
        self._found = found
        self._telemetry.backlog(found.pending, found.oldest, found.unpublished, dead_letters, at)
        self._remind(found.blocked, dead_letters, at)
        self._read_before = True
        return found.complete

    def _remind(self, blocked: list[Wait], dead_letters: int, at: datetime) -> None:
        """Alarms that stand for a state: at the first read, and again after a day.

        A refund that becomes blocked later is alarmed by the process that notes it.
        """
        of_new_ones = at if self._read_before else at - REMIND_AFTER
        self._alarmed = {wait.key: self._alarmed.get(wait.key, of_new_ones) for wait in blocked}
        due = [wait for wait in blocked if at - self._alarmed[wait.key] >= REMIND_AFTER]
        for wait in due[:ALARMS_LIMIT]:
            self._alarmed[wait.key] = at
            self._telemetry.still_blocked(wait)
        if dead_letters and (self._reminded is None or at - self._reminded >= REMIND_AFTER):
            self._reminded = at
            self._telemetry.dead_letters_left(dead_letters)
