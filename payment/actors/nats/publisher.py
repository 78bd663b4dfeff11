"""The events of one subject that are to be published: which wait, which are being published, and when to try again.

Each subject has a queue and a limit of its own, so a subject that the broker refuses delays no other. While a subject
is refused, one event at a time tests whether the broker takes it again, each time another event. An event that is
refused while others of its subject are taken is refused alone: it is set aside, with delays of its own, and delays no
other. Nothing here publishes; the NATS actor does. Change together with `payment.actors.nats.refusal_log`.
"""

import asyncio
from collections import deque

from msgspec import Struct

from payment.backoff import Backoff
from payment.core.effects import PublishEvent
from payment.ports.clock import Clock

UNDER_WAY_LIMIT = 64
"""Publishes of one subject without an acknowledgement. More would only queue at the broker."""

REPUBLISH_AFTER_S = 1.0
"""Before a subject that the broker refused is tried again first, unless the connection is back sooner."""
REFUSED = Backoff(first_s=REPUBLISH_AFTER_S, longest_s=5.0)
"""Between tries while the broker refuses: its longest pause is the longest before events go out again."""
UNANSWERED = Backoff(first_s=REPUBLISH_AFTER_S, longest_s=30.0)
"""While the broker does not answer: NATS Streaming may have stored each try, and would store it again."""
ASIDE = Backoff(first_s=2.0, longest_s=60.0)
"""Between two tries of an event that is refused alone."""


class Refusal(Struct):
    """The refusals of one event.

    `times` counts them, `taken_by_then` the other events that had been taken at the last one. `alone`: the broker takes
    the others of its subject.
    """

    times: int
    taken_by_then: int
    alone: bool


class Outgoing:
    """The events of one subject, each once, however often the ledger sends it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[PublishEvent] = deque()
        self._event_ids: set[str] = set()
        self._under_way: dict[str, float] = {}
        self._reporting = 0
        self._refused = False
        self._failures = 0
        self._not_before = 0.0
        self._taken = 0
        self._refusals: dict[str, Refusal] = {}
        """By the event's id; deleted when the broker takes the event."""
        self._aside: dict[str, tuple[float, PublishEvent]] = {}
        """Events that are refused alone, each with the monotonic second of its next try."""
        self._changed = asyncio.Event()

    def add(self, effect: PublishEvent) -> None:
        """Queue an event. One that is queued already is published once for both."""
        if effect.id not in self._event_ids:
            self._event_ids.add(effect.id)
            self._waiting.append(effect)
            self._changed.set()

    async def next(self) -> PublishEvent:
        """Returns the next event, once it may be published. From then on it counts as being published."""
        while True:
            self._bring_back()
            wait_s = self._wait_s()
            if wait_s is None:
                self._changed.clear()
                await self._changed.wait()
            elif wait_s > 0:
                await self._pause(wait_s)
            else:
                effect = self._waiting.popleft()
                self._under_way[effect.id] = self._clock.monotonic()
                return effect

    def refused(self, effect: PublishEvent, *, answered: bool) -> bool:
        """The broker did not take an event: it is tried again, after the others. Returns whether it is refused alone.

        `answered`: the broker refused it; else it did not answer.
        """
        del self._under_way[effect.id]
        before = self._refusals.get(effect.id)
        times = before.times + 1 if before is not None else 1
        alone = before is not None and (before.alone or self._taken > before.taken_by_then)
        self._refusals[effect.id] = Refusal(times, self._taken, alone)
        if alone:
            self._aside[effect.id] = (self._clock.monotonic() + ASIDE.pause_s(times - 1), effect)
        else:
            self._waiting.append(effect)
            self._hold(answered)
        self._changed.set()
        return alone

    def _hold(self, answered: bool) -> None:
        """Hold the subject until the next try. Events that were being published together count as one try."""
        now = self._clock.monotonic()
        if self._refused and now < self._not_before:
            return
        self._failures += 1
        self._not_before = now + (REFUSED if answered else UNANSWERED).pause_s(self._failures)
        self._refused = True

    def taken(self, effect: PublishEvent) -> None:
        """The broker has stored an event, so the waiting ones may be published.

        It counts as being published until `done`.
        """
        del self._under_way[effect.id]
        if self._refusals.pop(effect.id, None) is not None:
            self._soon()
        self._reporting += 1
        self._taken += 1
        self._resume()

    def done(self, effect: PublishEvent) -> None:
        """The ledger has received that the event is published."""
        self._reporting -= 1
        self._event_ids.discard(effect.id)
        self._changed.set()

    def connection_back(self) -> None:
        """Try every refused event at once: the new connection may take them."""
        self._aside = {name: (0.0, effect) for name, (_, effect) in self._aside.items()}
        self._resume()

    @property
    def oldest_s(self) -> float:
        """For how many seconds the oldest publish has been waiting for its acknowledgement; 0 if there is none."""
        since = next(iter(self._under_way.values()), None)
        return 0.0 if since is None else self._clock.monotonic() - since

    def _soon(self) -> None:
        """A refused event was taken: try the events that were set aside soon."""
        soon = self._clock.monotonic() + REPUBLISH_AFTER_S
        self._aside = {name: (min(at_s, soon), effect) for name, (at_s, effect) in self._aside.items()}

    def _resume(self) -> None:
        self._refused, self._not_before, self._failures = False, 0.0, 0
        self._changed.set()

    def _bring_back(self) -> None:
        now = self._clock.monotonic()
        for name, (at_s, effect) in tuple(self._aside.items()):
            if at_s <= now:
                del self._aside[name]
                self._waiting.append(effect)

    def _wait_s(self) -> float | None:
        """Returns the seconds until an event may be published; 0: now. None: not before something changes."""
        now = self._clock.monotonic()
        limit = 1 if self._refused else UNDER_WAY_LIMIT
        times_s = [at_s for at_s, _ in self._aside.values()]
        if self._waiting and len(self._under_way) + self._reporting < limit:
            times_s.append(self._not_before)
        return max(0.0, min(times_s) - now) if times_s else None

    async def _pause(self, wait_s: float) -> None:
        """Wait until the time is over or something changes: the connection may be back."""
        self._changed.clear()
        waits = [asyncio.ensure_future(self._clock.sleep(wait_s)), asyncio.ensure_future(self._changed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def __len__(self) -> int:
        return len(self._event_ids)
