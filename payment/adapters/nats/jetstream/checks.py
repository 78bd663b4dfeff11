"""Repeated checks of the streams and consumers that this service uses: whether they exist, and whether their settings
keep the service's promises.

Owns: the result of the last check. Must never: create or change anything. Change together with:
`payment.adapters.nats.jetstream.settings` (the verdicts) and `payment.adapters.nats.jetstream.transport`, which acts on
them.

Another program can delete, edit, pause or purge a stream or a consumer while no event is in transit. Only a check
detects that. One check costs two small requests; CHECK_EVERY_S and two time limits of a request are less than 10 s.
"""

from msgspec import Struct

from payment.adapters.nats.connection import PermissionDenied
from payment.adapters.nats.jetstream.api import Consumer, JetStreamApi, StreamInfo, durable_name
from payment.adapters.nats.jetstream.settings import (
    SettingsVerdict,
    consumer_verdict,
    published_stream_verdict,
    read_stream_verdict,
    subject_matches,
)
from payment.ports.clock import Clock
from payment.ports.transport import TransportUnavailable

CHECK_EVERY_S = 3.0
"""Between two checks of one subject, in seconds: a change by another program is detected within it."""
STUCK_AFTER_S = 6.0
"""A consumer that has events to deliver and delivers none for this time, in seconds, is stuck; with the checks before
it, that is reported after about 10 s. It also holds while the service takes no events because the ledger's mailbox is
full.
"""
REMOVED_AGAIN_AFTER_S = 60.0
"""Between two alarms of one consumer for events that left its stream unread, in seconds."""


class ConsumerCheck(Struct, frozen=True):
    """A consumer as it was found, and the verdict on its settings and its stream's."""

    consumer: Consumer | None
    verdict: SettingsVerdict


class SettingsChecks:
    """The checks of one transport over one connection."""

    def __init__(self, api: JetStreamApi, queue_group: str, ack_wait_s: float) -> None:
        self._api = api
        self._queue_group = queue_group
        self._ack_wait_s = ack_wait_s
        self._blind: dict[str, str] = {}
        """Streams whose settings the server does not let us read, each with the reason. Requested once for each
        connection.
        """

    async def reading(self, subject: str, stream: str) -> ConsumerCheck:
        """Check the consumer and the stream that a subject is read from. Raises TransportUnavailable where the stream
        is gone.
        """
        name = durable_name(self._queue_group, subject)
        consumer = await self._api.find_consumer(stream, name)
        info = await self._stream(subject, stream)
        config = info.config if info is not None else {}
        refused: tuple[str, ...] = ()
        weak = self._blind_to(stream)
        if info is not None:
            stream_verdict = read_stream_verdict(config, subject)
            refused, weak = stream_verdict.refused, weak + stream_verdict.weak
        if consumer is not None:
            judged = consumer_verdict(name, consumer.config, config, subject, self._ack_wait_s)
            paused = (f"consumer {name}: it is paused: no event comes",) if consumer.paused else ()
            refused, weak = refused + judged.refused, weak + judged.weak + paused
        return ConsumerCheck(consumer, SettingsVerdict(refused, weak))

    async def publishing(self, subject: str, stream: str) -> SettingsVerdict:
        """Check the stream that a subject is published to. Raises TransportUnavailable where it is gone."""
        info = await self._stream(subject, stream)
        if info is None:
            return SettingsVerdict(weak=self._blind_to(stream))
        return published_stream_verdict(info.config, subject, info.state.consumer_count)

    async def _stream(self, subject: str, name: str) -> StreamInfo | None:
        """Returns the stream, or None where the server does not let us read it."""
        if name in self._blind:
            return None
        try:
            info = await self._api.stream(name)
        except PermissionDenied as denied:
            self._blind[name] = str(denied)
            return None
        if info is None or not any(subject_matches(each, subject) for each in info.config.get("subjects") or ()):
            raise TransportUnavailable(f"the stream {name} holds {subject} no more")
        return info

    def _blind_to(self, stream: str) -> tuple[str, ...]:
        reason = self._blind.get(stream)
        return (f"stream {stream}: its settings can't be checked: {reason}",) if reason else ()


class ConsumerProgress:
    """Whether a consumer delivers what its stream holds, by its counts at successive checks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: Consumer | None = None
        self._still_since: float | None = None
        self._removed = 0
        self._removed_reported_at: float | None = None

    def note(self, now: Consumer) -> None:
        """Note the consumer as the next check found it."""
        last, self._last = self._last, now
        if last is None or (last.created, last.stream_name) != (now.created, now.stream_name):
            self._still_since = None
            return
        # New events raise `num_pending`, and redeliveries raise the number of deliveries: both make this estimate too
        # low.
        delivered = now.delivered.consumer_seq - last.delivered.consumer_seq
        self._removed += max(0, last.num_pending - now.num_pending - delivered)
        full = 0 < _limit(now) <= now.num_ack_pending
        moves = now.ack_floor != last.ack_floor if full else delivered > 0
        if moves or not (now.num_pending and last.num_pending):
            self._still_since = None
        elif self._still_since is None:
            self._still_since = self._clock.monotonic()

    def removed(self) -> int:
        """Returns the least number of events that left the stream undelivered, where an alarm is due; else 0."""
        now, reported_at = self._clock.monotonic(), self._removed_reported_at
        if not self._removed or (reported_at is not None and now - reported_at < REMOVED_AGAIN_AFTER_S):
            return 0
        removed, self._removed, self._removed_reported_at = self._removed, 0, now
        return removed

    def stuck(self) -> str | None:
        """Returns the reason where events wait and none is delivered; None where the consumer makes progress."""
        since, last = self._still_since, self._last
        if last is None or since is None or self._clock.monotonic() - since < STUCK_AFTER_S:
            return None
        if 0 < _limit(last) <= last.num_ack_pending:
            return f"no more comes before one of {_limit(last)} events is acknowledged (max_ack_pending)"
        return f"events wait, and its consumer has delivered none for {STUCK_AFTER_S:g} s"


def _limit(consumer: Consumer) -> int:
    return int(consumer.config.get("max_ack_pending") or 0)
