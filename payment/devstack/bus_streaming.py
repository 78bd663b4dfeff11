"""The bus where it is NATS Streaming.

It uses the service's client of that server (`payment.adapters.nats.stan`), for no other one works beside nats-py. It
subscribes without a durable, so that nothing of it is left once its session is closed, and acknowledges nothing: each
subject is read from its oldest event on, once, and kept here. Fit for a person's commands, not for a platform's load.
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
from payment.devstack.bus import BROKER_S, CONNECT_S, POLL_EVERY_S, Bus, HeldEvent, PeerServiceError, Stored
from payment.ports.transport import TransportUnavailable

QUIET_S = 0.25
"""Without a further event, a subject counts as read: the server says nowhere how many there are."""
ACKS = "_INBOX.*"
"""Where the server lets subscriptions acknowledge: an inbox of its own for each. (0.25.6, as seen on the wire.)"""
UNACKNOWLEDGED_MESSAGES = 1_000_000
"""Of one subscription: past that the server brings no more. No command of a person gets there."""
ACK_WAIT_S = 86_400
"""After that the server would bring everything again, which is dropped here."""


class SubjectReader:
    """What came of one subject so far."""

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
    """One session, what was read in it, and the acknowledgements that were seen meanwhile."""

    def __init__(self, connection: NatsConnection, client: Client, cluster_id: str) -> None:
        self._connection = connection
        self._client = client
        self._cluster_id = cluster_id
        self._readings: dict[str, SubjectReader] = {}
        self._acknowledging = asyncio.Condition()
        self._acknowledged: set[Ack] = set()
        self._listening = False

    @classmethod
    async def open(cls, servers: Sequence[str], cluster_id: str, login: NatsLogin) -> "StreamingBus":
        """Open a session at the first of the servers that answers, waiting a while for a NATS Streaming that starts."""
        ids, clock, deadline = RandomIds(), SystemClock(), time.monotonic() + BROKER_S
        name = f"neighbour-{ids.new()}"
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
        """The server tells no number: it is known once the event has come back."""
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
        """Whether anybody acknowledges it: on the wire, nothing tells whose group it is."""
        mark = Ack(stored.subject, stored.seq)
        try:
            async with asyncio.timeout(patience_s), self._acknowledging:
                await self._acknowledging.wait_for(lambda: mark in self._acknowledged)
        except TimeoutError:
            return False
        return True

    async def past(self, subject: str, after: int = 0) -> AsyncIterator[HeldEvent]:
        """Of what has come. The time at which the server stored it is the rank: each channel counts by itself."""
        reading = await self._reading(subject)
        if self._client.lost.is_set():
            raise PeerServiceError(self._client.reason)
        for held in reading.held[:]:
            if held.seq > after:
                yield held

    async def last(self, subject: str) -> int:
        """The channel's last number."""
        return (await self._reading(subject)).last

    async def _reading(self, subject: str) -> SubjectReader:
        """The reading of a subject: begun where it was not, and then waited for until it is through."""
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
            return  # an answer, or an event on its way: inboxes serve for all
        if ack.subject and ack.sequence:
            async with self._acknowledging:
                self._acknowledged.add(ack)
                self._acknowledging.notify_all()
