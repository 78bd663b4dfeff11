"""Looks at the streams and consumers that this service uses, again and again: are they there, and fit for our promises?

Owns: what JetStream said of them at the last look. Must never: make or change anything. Change together with:
`payment.adapters.nats.jetstream.settings` (the verdicts) and `payment.adapters.nats.jetstream.transport`, which acts on
them.

Others can delete, edit, pause or purge a stream or a consumer while nothing comes and nothing goes; nothing but a look
shows it. One look costs two small requests; LOOK_EVERY_S and two time limits of a request are less than 10 s.
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
"""Between two looks at one subject: what others change under us is seen within it."""
STUCK_AFTER_S = 6.0
"""A consumer that has events to deliver and delivers none for so long is stuck: with the looks before it, 10 s or so.
While we take nothing, because the ledger has no room, that is true as well."""
REMOVED_AGAIN_AFTER_S = 60.0
"""Between two alarms of one consumer for events that left its stream unread."""


class ConsumerCheck(Struct, frozen=True):
    """A consumer as it was found, and what is to be said of it and its stream."""

    consumer: Consumer | None
    verdict: SettingsVerdict


class SettingsChecks:
    """The looks of one transport over one connection."""

    def __init__(self, api: JetStreamApi, queue_group: str, ack_wait_s: float) -> None:
        self._api = api
        self._queue_group = queue_group
        self._ack_wait_s = ack_wait_s
        self._blind: dict[str, str] = {}
        """Streams whose settings we may not read, each with the reason: asked once a connection."""

    async def reading(self, subject: str, stream: str) -> ConsumerCheck:
        """What stands between us and the events of a subject; raises TransportUnavailable where the stream is gone."""
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
        """What a stream means for what we publish to it; raises TransportUnavailable where it is gone."""
        info = await self._stream(subject, stream)
        if info is None:
            return SettingsVerdict(weak=self._blind_to(stream))
        return published_stream_verdict(info.config, subject, info.state.consumer_count)

    async def _stream(self, subject: str, name: str) -> StreamInfo | None:
        """None where we may not know."""
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
    """Whether a consumer brings what its stream holds, by its own counts at one look after the other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: Consumer | None = None
        self._still_since: float | None = None
        self._removed = 0
        self._removed_reported_at: float | None = None

    def note(self, now: Consumer) -> None:
        """What the next look found."""
        last, self._last = self._last, now
        if last is None or (last.created, last.stream_name) != (now.created, now.stream_name):
            self._still_since = None
            return
        # New events raise the number of those to come, and redeliveries that of deliveries: both make this less.
        delivered = now.delivered.consumer_seq - last.delivered.consumer_seq
        self._removed += max(0, last.num_pending - now.num_pending - delivered)
        full = 0 < _limit(now) <= now.num_ack_pending
        moves = now.ack_floor != last.ack_floor if full else delivered > 0
        if moves or not (now.num_pending and last.num_pending):
            self._still_since = None
        elif self._still_since is None:
            self._still_since = self._clock.monotonic()

    def removed(self) -> int:
        """How many events at least left the stream without being delivered, where that is to be said now; else 0."""
        now, reported_at = self._clock.monotonic(), self._removed_reported_at
        if not self._removed or (reported_at is not None and now - reported_at < REMOVED_AGAIN_AFTER_S):
            return 0
        removed, self._removed, self._removed_reported_at = self._removed, 0, now
        return removed

    def stuck(self) -> str | None:
        """In words, where events wait and none comes; None where all moves."""
        since, last = self._still_since, self._last
        if last is None or since is None or self._clock.monotonic() - since < STUCK_AFTER_S:
            return None
        if 0 < _limit(last) <= last.num_ack_pending:
            return f"no more comes before one of {_limit(last)} events is acknowledged (max_ack_pending)"
        return f"events wait, and its consumer has delivered none for {STUCK_AFTER_S:g} s"


def _limit(consumer: Consumer) -> int:
    return int(consumer.config.get("max_ack_pending") or 0)
