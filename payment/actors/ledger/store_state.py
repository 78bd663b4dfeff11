"""Whether the store can be used, by evidence alone.

Owns `up`, the losses of the store, and the making of its indexes. *Up* rests on a probe (`OrderStore.probe`: it reads
what a charge reads and writes what a charge needs to write) or on a confirmed commit, neither older than a few seconds,
also while nothing else happens. A call that has failed is a suspicion: the store is lost where the probe fails as well,
or where a call has failed since the probe passed, and no write was confirmed between. It must never believe a ping.

A loss and the next *up* are `STORE_PROBE_EVERY_S` apart, and further where the store is lost again and again, so that
a store that answers probes and fails the rest causes neither a busy loop nor a storm of log lines.
"""

import asyncio
from collections.abc import Callable

from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.backoff import Backoff
from payment.ports.clock import Clock
from payment.ports.store import OrderStore, StoreUnavailable

STORE_PROBE_EVERY_S = 0.5
"""Between probes while the store is away, and at least between a loss and the next *up*: a store that is back is found
within a second."""

HOLD = Backoff(first_s=STORE_PROBE_EVERY_S, longest_s=5.0)
"""Between a loss and the probe that may end it. It grows with each loss, unless the store was up for `STEADY_S` before:
a store that flaps for an hour makes 24 lines a minute."""

STEADY_S = 30.0
"""A store that was up for this long is no flapping one."""

PROVED_FOR_S = 3.0
"""For this long, in seconds, a confirmed write says that the store takes writes; then a probe is made. With a probe's
own deadline of 4 s it bounds how long readiness may be wrong: below ten seconds. A probe is five small commands."""

DOUBTED_FOR_S = 60.0
"""After a probe has cleared a suspicion, a second one without a confirmed write between them is believed for this long.
Then the first counts as passed: a lost answer now and then is no outage."""

REASON_AGAIN_S = 10.0
"""Between two log lines of one outage, which are written where the reason has changed."""

INDEXES_AGAIN_S = 10.0
"""Between two tries to make indexes."""


class StoreState:
    """Whether the store can be used. `lost` and `back` are called at each change."""

    def __init__(
        self,
        store: OrderStore,
        telemetry: LedgerTelemetry,
        clock: Clock,
        lost: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._lost_called = lost
        self._back_called = back
        self.up = asyncio.Event()
        self.indexed = asyncio.Event()
        """Every index is there. Until then a read by anything but `_id` may take long, which is no outage."""
        self._probing = asyncio.Lock()
        self._clearances = 0
        self._doubted_until = 0.0
        self._confirmed = 0
        self._proved_at = self._up_at = self._lost_at = 0.0
        self._losses = 0
        """Those in a row, each after less than `STEADY_S`."""
        self._logged = ""
        self._logged_at = 0.0

    # ------------------------------------------------------------------------------------------------ what others bring

    def written(self) -> None:
        """A commit was confirmed."""
        self._confirmed += 1
        self._doubted_until = 0.0
        self._proved_at = self._clock.monotonic()

    async def failed(self, reason: str) -> bool:
        """A commit, or a read that it needs, has failed. Returns whether the store can be used all the same."""
        if self.up.is_set() and self._clock.monotonic() < self._doubted_until:
            self._lost(reason)
        return await self.check()

    async def check(self) -> bool:
        """Probe, unless another caller does just now. Returns whether the store can be used."""
        clearances = self._clearances
        async with self._probing:
            if self.up.is_set() and clearances == self._clearances and await self._passes_probe():
                self._clearances += 1
                self._doubted_until = self._clock.monotonic() + DOUBTED_FOR_S
        return self.up.is_set()

    def away_s(self) -> float:
        """For how many seconds the store has been lost; 0 while it can be used."""
        return 0.0 if self.up.is_set() else self._clock.monotonic() - self._lost_at

    # ---------------------------------------------------------------------------------------------- what it does itself

    async def keep(self) -> None:
        """Reach the store, and prove again and again that it can be used; for ever."""
        while True:
            if self.up.is_set():
                if self._clock.monotonic() - self._proved_at >= PROVED_FOR_S:
                    async with self._probing:
                        await self._passes_probe()
                await self._clock.sleep(STORE_PROBE_EVERY_S)
            else:
                await self._reach()

    async def _passes_probe(self) -> bool:
        """While the store is up: whether it still is. A commit that is confirmed meanwhile outweighs a failed probe."""
        confirmed = self._confirmed
        try:
            await self._store.probe()
        except StoreUnavailable as error:
            if self._confirmed == confirmed:
                self._lost(str(error))
            return self.up.is_set()
        self._proved_at = self._clock.monotonic()
        return True

    async def _reach(self) -> None:
        """One probe, once the hold is over; and all that waits for the store goes on if it passes."""
        hold_s = self._lost_at + HOLD.pause_s(self._losses) - self._clock.monotonic()
        if self._losses and hold_s > 0:
            await self._clock.sleep(hold_s)
        try:
            await self._store.probe()
        except StoreUnavailable as error:
            self._log_why(str(error))
            await self._clock.sleep(STORE_PROBE_EVERY_S)
            return
        self._up_at = self._proved_at = self._clock.monotonic()
        self._telemetry.store_up()
        self._back_called()
        self.up.set()

    def _lost(self, reason: str) -> None:
        if not self.up.is_set():
            return
        self._lost_at = self._clock.monotonic()
        steady = self._lost_at - self._up_at >= STEADY_S
        self._losses = 1 if steady else self._losses + 1
        self.up.clear()
        self._logged, self._logged_at = reason, self._lost_at
        self._telemetry.store_down(reason)
        self._lost_called()

    def _log_why(self, reason: str) -> None:
        """The store is still away: readiness has the newest reason, the log each one that is news."""
        now = self._clock.monotonic()
        again = reason != self._logged and (not self._logged or now - self._logged_at >= REASON_AGAIN_S)
        if again:
            self._logged, self._logged_at = reason, now
        self._telemetry.store_down(reason, again=again)

    async def make_indexes(self) -> None:
        """Make the indexes that are missing, beside all other work; again and again until all are there."""
        while not self.indexed.is_set():
            await self.up.wait()
            began_s = self._clock.monotonic()
            try:
                if missing := await self._store.missing_indexes():
                    self._telemetry.indexes_missing(missing)
                    await self._store.prepare()
                self._telemetry.indexes_there(missing, self._clock.monotonic() - began_s)
                self.indexed.set()
            except StoreUnavailable as error:
                self._telemetry.indexes_failed(str(error))
                await self._clock.sleep(INDEXES_AGAIN_S)
