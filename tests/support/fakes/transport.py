"""A broker in memory and its `EventTransport`: durable queue groups, ack wait, redelivery, outages.

Owns: the common behaviour of JetStream and NATS Streaming, on an injected clock, without randomness. It passes
`tests/contract/transport_contract.py`. Must never: promise more than the real ones (an order among redeliveries, say).
Change together with: that suite, and `payment.ports.transport`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from payment.ports.clock import Clock
from payment.ports.transport import (
    DeliveryHandler,
    PublishRefused,
    PublishUnanswered,
    TransportDegraded,
    TransportListener,
    TransportUnavailable,
)

ACK_WAIT_S = 30.0
DUPLICATE_WINDOW_S = 120.0


@dataclass(frozen=True)
class Stored:
    """One event as the broker keeps it."""

    subject: str
    sequence: int
    data: bytes
    message_id: str
    at_s: float
    nth: int
    """The number of the event among all ever stored, also before a `begin_anew`: real brokers have the time instead."""


@dataclass
class Group:
    """The deliveries of one subject to one queue group: `due` has the unacknowledged events, each with its next
    delivery time.
    """

    following: int = 0
    due: dict[int, float] = field(default_factory=dict)
    deliveries: dict[int, int] = field(default_factory=dict)

    def take(self, log: list[Stored], now_s: float, ack_wait_s: float) -> Stored | None:
        """Returns the next event to deliver: an overdue one, else the next new one."""
        overdue = [sequence for sequence, at_s in sorted(self.due.items()) if at_s <= now_s]
        sequence = overdue[0] if overdue else self.following
        if sequence >= len(log):
            return None
        self.following = max(self.following, sequence + 1)
        self.due[sequence] = now_s + ack_wait_s
        self.deliveries[sequence] = self.deliveries.get(sequence, 0) + 1
        return log[sequence]


class FakeBroker:
    """A broker that keeps everything; tests publish events, read events, and make it unavailable."""

    def __init__(self, clock: Clock, *, ack_wait_s: float = ACK_WAIT_S, deduplicates: bool = True) -> None:
        self.clock = clock
        self.ack_wait_s = ack_wait_s
        self.deduplicates = deduplicates
        self.away: str | None = None
        self.refused: dict[str, str] = {}
        """Subjects, and message ids, that can't be published, each with the reason."""
        self.weak: str | None = None
        """The reason of a check's TransportDegraded."""
        self.lost_answers = 0
        """The number of next publishes that are stored without an answer."""
        self._logs: dict[str, list[Stored]] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._changed: set[asyncio.Event] = set()
        self._ever_stored = 0
        self.changes = 0

    def put(self, subject: str, data: bytes, message_id: str = "") -> None:
        """Store an event, as a publish of a peer service or a transport does."""
        log, now_s = self._logs.setdefault(subject, []), self.clock.monotonic()
        if self.deduplicates and message_id and self._is_repeated(message_id, now_s):
            return
        self._ever_stored += 1
        log.append(Stored(subject, len(log), data, message_id, now_s, self._ever_stored))
        self.notify_all()

    def events(self, subject: str) -> list[Stored]:
        """Returns all events ever stored under a subject."""
        return list(self._logs.get(subject, ()))

    def stored(self, subject: str) -> int:
        """Returns how many events were ever stored under a subject."""
        return len(self._logs.get(subject, ()))

    def unacknowledged(self, group: str, subject: str) -> int:
        """Returns how many of a group's deliveries still wait for their ack."""
        return len(self._group(group, subject).due)

    def undelivered(self, group: str, subject: str) -> int:
        """Returns how many of a subject's events were not delivered to the group yet."""
        return self.stored(subject) - self._group(group, subject).following

    def due_in_s(self, group: str, subject: str) -> float:
        """Returns in how many seconds the group's first unacknowledged event is redelivered; infinite if there is
        none.
        """
        return min(self._group(group, subject).due.values(), default=math.inf) - self.clock.monotonic()

    def go_away(self, reason: str = "the broker is away") -> None:
        self.away = reason
        self.notify_all()

    def begin_anew(self) -> None:
        """Lose everything, and count from 1 again."""
        self._logs.clear()
        self._groups.clear()
        self.notify_all()

    def come_back(self) -> None:
        self.away = None
        self.notify_all()

    def take(self, group: str, subject: str) -> Stored | None:
        if self.away is not None:
            return None
        log = self._logs.get(subject, [])
        return self._group(group, subject).take(log, self.clock.monotonic(), self.ack_wait_s)

    def acknowledge(self, group: str, event: Stored) -> None:
        """Acknowledge an event. A broker that is away does not receive it, and redelivers the event."""
        if self.away is None:
            self._group(group, event.subject).due.pop(event.sequence, None)

    def postpone(self, group: str, event: Stored, delay_s: float) -> None:
        due = self._group(group, event.subject).due
        if self.away is None and event.sequence in due:
            due[event.sequence] = self.clock.monotonic() + max(delay_s, 0.0)
            self.notify_all()

    def delivered_before(self, group: str, event: Stored) -> int:
        return self._group(group, event.subject).deliveries[event.sequence] - 1

    def notify_all(self) -> None:
        self.changes += 1
        for changed in self._changed:
            changed.set()

    async def wait(self, since: int, group: str = "", subjects: Iterable[str] = ()) -> None:
        """Return when `changes` differs from `since`, or when an event of the group falls due."""
        if since != self.changes:
            return
        changed = asyncio.Event()
        self._changed.add(changed)
        times = [at_s for each in subjects for at_s in self._group(group, each).due.values()]
        waits: list[asyncio.Future[bool]] = [asyncio.ensure_future(changed.wait())]
        if times and self.away is None:
            waits.append(asyncio.ensure_future(self._sleep(min(times) - self.clock.monotonic())))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._changed.discard(changed)
            for each in waits:
                each.cancel()

    async def _sleep(self, seconds: float) -> bool:
        await self.clock.sleep(seconds)
        return True

    def _group(self, group: str, subject: str) -> Group:
        found = self._groups.get((group, subject))
        if found is None:
            found = self._groups[group, subject] = Group()
        return found

    def _is_repeated(self, message_id: str, now_s: float) -> bool:
        return any(
            stored.message_id == message_id and now_s - stored.at_s < DUPLICATE_WINDOW_S
            for log in self._logs.values()
            for stored in log
        )


class FakeDelivery:
    """One delivery to one member of a group."""

    def __init__(self, event: Stored, broker: FakeBroker, group: str) -> None:
        self.subject = event.subject
        self.data = event.data
        self.identity = f"{event.subject}:{event.sequence + 1}:{event.nth}"
        self.redelivered = broker.delivered_before(group, event)
        self._event, self._broker, self._group = event, broker, group

    async def ack(self) -> None:
        self._broker.acknowledge(self._group, self._event)

    async def retry(self, delay_s: float) -> None:
        self._broker.postpone(self._group, self._event, delay_s)


class FakeTransport:
    """One member of a queue group. `published` holds what this member published and the broker acknowledged."""

    def __init__(self, broker: FakeBroker, queue_group: str = "payment-service") -> None:
        self.published: list[tuple[str, bytes, str]] = []
        self._broker = broker
        self._group = queue_group
        self._connected = False
        self._consuming = True
        self._closed = False

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        self._consuming, self._closed = True, False
        reported: bool | None = None
        consuming = [asyncio.ensure_future(self._consume(*each)) for each in subscriptions.items()]
        try:
            while True:
                since = self._broker.changes
                self._connected = self._broker.away is None and not self._closed
                if self._connected is not reported and not self._closed:
                    reported = self._connected
                    if self._broker.away is None:
                        listener.connected()
                    else:
                        listener.disconnected(self._broker.away)
                await self._changed_or_failed(since, consuming)
        finally:
            for task in consuming:
                task.cancel()
            await asyncio.gather(*consuming, return_exceptions=True)

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        if not self._connected or self._broker.away is not None:
            raise TransportUnavailable(self._broker.away or "not connected")
        if subject in self._broker.refused:
            raise PublishRefused(self._broker.refused[subject])
        if message_id in self._broker.refused:
            raise PublishRefused(self._broker.refused[message_id])
        self._broker.put(subject, data, message_id)
        if self._broker.lost_answers > 0:
            self._broker.lost_answers -= 1
            raise PublishUnanswered("no answer")
        self.published.append((subject, data, message_id))

    async def stop_consuming(self) -> None:
        self._consuming = False
        self._broker.notify_all()

    async def close(self) -> None:
        self._consuming = self._connected = False
        self._closed = True
        self._broker.notify_all()

    async def check(self) -> str:
        if self._broker.away is not None:
            raise TransportUnavailable(self._broker.away)
        if self._broker.weak is not None:
            raise TransportDegraded(self._broker.weak)
        return "a broker in memory"

    async def _consume(self, subject: str, handler: DeliveryHandler) -> None:
        while True:
            since = self._broker.changes
            event = self._broker.take(self._group, subject) if self._consuming else None
            if event is None:
                await self._broker.wait(since, self._group, [subject] if self._consuming else ())
            else:
                await handler(FakeDelivery(event, self._broker, self._group))

    async def _changed_or_failed(self, since: int, consuming: Sequence[asyncio.Future[None]]) -> None:
        change = asyncio.ensure_future(self._broker.wait(since))
        try:
            await asyncio.wait([change, *consuming], return_when=asyncio.FIRST_COMPLETED)
        finally:
            change.cancel()
        for task in consuming:
            if task.done():
                task.result()
