"""The bus where it is NATS Streaming.

It uses the service's client of that server (`payment.adapters.nats.stan`), because no other one works with nats-py. It
subscribes without a durable, so that nothing is left at the server once the session is closed, and acknowledges
nothing: it reads each subject once from its oldest event on, and keeps the events in memory. That suits a person's
commands, not a platform's load.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

from payment.adapters.nats.connection import NatsConnection
from payment.adapters.nats.login import NatsLogin
from payment.adapters.nats.stan.client import Client
from payment.adapters.nats.stan.codec import decode
from payment.adapters.nats.stan.errors import CodecError, NotStreaming, StanError
from payment.adapters.nats.stan.messages import Ack
from payment.adapters.nats.stan.subscription import Durable, Subscription
from payment.adapters.nats.streaming.wire import ConnectionWire
from payment.adapters.system import RandomIds, SystemClock
from payment.devstack.bus import (
    BROKER_S,
    CONNECT_S,
    POLL_EVERY_S,
    Acknowledgements,
    Bus,
    HeldEvent,
    PeerServiceError,
    Stored,
)
from payment.ports.transport import TransportUnavailable

QUIET_S = 0.25
"""In seconds: without a further event for this time a subject counts as read, because the server does not report how
many there are.
"""
ACKS = "_INBOX.*"
"""The server's acknowledgement subjects: one inbox for each subscription. (0.25.6, as observed on the wire.)"""
UNACKNOWLEDGED_MESSAGES = 1_000_000
"""Unacknowledged events of one subscription, above which the server sends no more. No command of a person reaches
it.
"""
ACK_WAIT_S = 86_400
"""The ack wait, in seconds, after which the server would redeliver everything; redeliveries are dropped here."""


class SubjectReader:
    """The events received of one subject so far."""

    def __init__(self, subscription: Subscription) -> None:
        self.held: list[HeldEvent] = []
        self._subscription = subscription
        self._task = asyncio.create_task(self._read(), name=f"reading {subscription.durable.channel}")
        self._came = asyncio.Event()

    @property
    def last(self) -> int:
        return self.held[-1].seq if self.held else 0

    async def more(self) -> bool:
        """Whether another event comes within QUIET_S."""
        self._came.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                return await self._came.wait()
        return False

    async def stop(self) -> None:
        self._subscription.stop()
        await self._task

    async def _read(self) -> None:
        while (message := await self._subscription.next()) is not None:
            if message.sequence > self.last:
                self.held.append(HeldEvent(message.timestamp, message.sequence, message.data))
                self._came.set()


class StreamingBus(Bus):
    """One session, the events read in it, and the acknowledgements received in it."""

    def __init__(self, connection: NatsConnection, client: Client, cluster_id: str) -> None:
        self._connection = connection
        self._client = client
        self._cluster_id = cluster_id
        self._readings: dict[str, SubjectReader] = {}
        self._acknowledgements = Acknowledgements()
        self._listening = False

    @classmethod
    async def open(cls, servers: Sequence[str], cluster_id: str, login: NatsLogin) -> "StreamingBus":
        """Open a session at the first of the servers that answers, and wait up to BROKER_S for a NATS Streaming that is
        starting.
        """
        ids, clock, deadline = RandomIds(), SystemClock(), time.monotonic() + BROKER_S
        name = f"peer-{ids.new()}"
        connection = NatsConnection(list(servers), name, ids, clock, login)
        while True:
            try:
                async with asyncio.timeout(CONNECT_S * len(servers)):
                    await connection.reach()
                wire = ConnectionWire(connection)
                return cls(connection, await Client.connect(wire, cluster_id, name, ids.new(), clock.sleep), cluster_id)
            except (TransportUnavailable, StanError, TimeoutError) as error:
                await connection.close()
                if not isinstance(error, NotStreaming) or time.monotonic() > deadline:
                    raise PeerServiceError(str(error) or "no answer") from None
                await asyncio.sleep(POLL_EVERY_S)

    async def close(self) -> None:
        for reading in self._readings.values():
            await reading.stop()
        await self._client.close()
        await self._connection.close()

    async def publish(self, subject: str, event: dict[str, object]) -> Stored:
        """Publish, and wait for the event to come back: the server's answer has no sequence number."""
        if not self._listening:
            await self._connection.subscribe(ACKS, self._note)
            self._listening = True
        reading, payload = await self._reading(subject), msgspec.json.encode(event)
        read = len(reading.held)
        try:
            await self._client.publish(subject, payload)
        except StanError as error:
            raise PeerServiceError(str(error)) from None
        deadline = time.monotonic() + BROKER_S
        while time.monotonic() < deadline:
            for held in reading.held[read:]:
                if held.payload == payload:
                    return Stored(subject, self._cluster_id, held.seq, event)
            await reading.more()
        raise PeerServiceError(f"NATS Streaming has stored the event on {subject} and does not bring it")

    async def taken_in(self, stored: Stored, queue_group: str, patience_s: float) -> bool:
        """Whether any group acknowledges the event: an acknowledgement does not name its group."""
        mark = Ack(stored.subject, stored.seq)
        return await self._acknowledgements.comes(mark, patience_s)

    async def past(self, subject: str, after: int = 0) -> AsyncIterator[HeldEvent]:
        """Yield the received events. The rank is the time at which the server stored them, because each channel has its
        own sequence.
        """
        reading = await self._reading(subject)
        if self._client.lost.is_set():
            raise PeerServiceError(self._client.reason)
        for held in reading.held[:]:
            if held.seq > after:
                yield held

    async def last(self, subject: str) -> int:
        """Returns the channel's last sequence number."""
        return (await self._reading(subject)).last

    async def _reading(self, subject: str) -> SubjectReader:
        """Returns the reader of a subject, once it has read every event."""
        if subject not in self._readings:
            plain = Durable(subject, "", "", ACK_WAIT_S, UNACKNOWLEDGED_MESSAGES)
            try:
                self._readings[subject] = SubjectReader(await self._client.subscribe(plain))
            except StanError as error:
                raise PeerServiceError(str(error)) from None
            while await self._readings[subject].more():
                pass  # there is more to read
        return self._readings[subject]

    async def _note(self, message: Msg) -> None:
        try:
            ack = decode(Ack, message.data)
        except CodecError:
            return  # a reply or a delivered event: inboxes carry those too
        if ack.subject and ack.sequence:
            await self._acknowledgements.add(ack)
