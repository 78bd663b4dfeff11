"""Events on their way out, of one subject: what waits, what is under way, and when to try again after a refusal.

A subject that the broker does not take holds up no other one, for each has a queue and a share of its own. While it is
refused, one event a time finds out whether it is taken again. Nothing here publishes; the NATS actor does.
"""

import asyncio
from collections import deque

from payment.core.effects import PublishEvent
from payment.ports.clock import Clock

UNDER_WAY_LIMIT = 64
"""Publishes of one subject without an acknowledgement. More than that only queues at the broker."""

REPUBLISH_AFTER_S = 1.0
"""Before a subject that the broker did not take is tried again, unless the connection comes back sooner."""


class Outgoing:
    """One subject's events, each once however often it is asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[PublishEvent] = deque()
        self._in_hand: set[str] = set()
        self._under_way: dict[str, float] = {}
        self._telling = 0
        self._refused = False
        self._not_before = 0.0
        self._changed = asyncio.Event()

    def add(self, effect: PublishEvent) -> None:
        """An event is to go out. If it is in hand already, its end will serve for both."""
        if effect.id not in self._in_hand:
            self._in_hand.add(effect.id)
            self._waiting.append(effect)
            self._changed.set()

    async def next(self) -> PublishEvent:
        """The next event that may leave, once it may. It counts as under way from then on."""
        while True:
            if not self._may_go:
                self._changed.clear()
                await self._changed.wait()
            elif (wait_s := self._not_before - self._clock.monotonic()) > 0:
                await self._pause(wait_s)
            else:
                effect = self._waiting.popleft()
                self._under_way[effect.id] = self._clock.monotonic()
                return effect

    async def _pause(self, wait_s: float) -> None:
        """Until the time is over, or something changes: the connection may be back."""
        self._changed.clear()
        waits = [asyncio.ensure_future(self._clock.sleep(wait_s)), asyncio.ensure_future(self._changed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def refused(self, effect: PublishEvent) -> None:
        """The broker did not take it: it is the next one again."""
        del self._under_way[effect.id]
        self._waiting.appendleft(effect)
        self._refused = True
        self._not_before = self._clock.monotonic() + REPUBLISH_AFTER_S
        self._changed.set()

    def taken(self, effect: PublishEvent) -> None:
        """The broker has stored it: whatever waits may go. It keeps its place until the ledger has been told."""
        del self._under_way[effect.id]
        self._telling += 1
        self._refused, self._not_before = False, 0.0
        self._changed.set()

    def done(self, effect: PublishEvent) -> None:
        """The ledger knows: it is in hand no longer."""
        self._telling -= 1
        self._in_hand.discard(effect.id)
        self._changed.set()

    def connection_back(self) -> None:
        """Whatever was refused may be taken now: at once, rather than when its time is over."""
        self._refused, self._not_before = False, 0.0
        self._changed.set()

    @property
    def oldest_s(self) -> float:
        """For how long the oldest publish has been under way, in seconds; 0 if there is none."""
        since = next(iter(self._under_way.values()), None)
        return 0.0 if since is None else self._clock.monotonic() - since

    @property
    def _may_go(self) -> bool:
        limit = 1 if self._refused else UNDER_WAY_LIMIT
        return bool(self._waiting) and len(self._under_way) + self._telling < limit

    def __len__(self) -> int:
        return len(self._in_hand)
