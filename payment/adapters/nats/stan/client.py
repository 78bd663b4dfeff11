"""A client with one session: connect, publish, subscribe, close.

    client = await Client.connect(wire, "ticketing", "payment-service", conn_id, asyncio.sleep)
    await client.publish("payment:created", b"{}")
    subscription = await client.subscribe(Durable("order:created", "payment", "payment", ack_wait_s=10))
    while (message := await subscription.next()) is not None:
        await subscription.ack(message)
    await client.lost.wait()   # then: leave, and connect anew

Owns: one session with its publisher and its subscriptions. Must never: open a second session by itself. The caller
decides what to do about unfinished work of the first.
"""

import asyncio

from payment.adapters.nats.stan.buffer import Buffer
from payment.adapters.nats.stan.errors import SessionLost
from payment.adapters.nats.stan.publishing import Publisher
from payment.adapters.nats.stan.session import Session, Sleep
from payment.adapters.nats.stan.subscription import Durable, Subscription
from payment.adapters.nats.stan.wire import Wire


class Client:
    """A client whose session is open until `lost` is set. Created by `connect`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._publisher = Publisher(session)
        self._subscriptions: list[Subscription] = []
        session.when_over += [self._publisher.end, self._stop]

    @classmethod
    async def connect(cls, wire: Wire, cluster_id: str, client_id: str, conn_id: str, sleep: Sleep) -> "Client":
        """Open a session. `conn_id` must never have been used before and be valid in a subject: a UUID's digits, say.

        Raises:
            ClientIdTaken, NotStreaming, Refused, Unreachable, InvalidName: see `Session.open`.
        """
        session = Session(wire, cluster_id, client_id, conn_id, sleep)
        client = cls(session)
        await session.open(client._publisher.on_ack)
        return client

    @property
    def lost(self) -> asyncio.Event:
        """Set when the session is over."""
        return self._session.lost

    @property
    def reason(self) -> str:
        """The reason why the session is over."""
        return self._session.reason

    async def publish(self, channel: str, data: bytes) -> None:
        """Publish, and return once the server has stored the message. Raises what `Publisher.publish` raises."""
        await self._publisher.publish(channel, data)

    def publish_subject(self, channel: str) -> str:
        """The NATS subject of publishes to a channel, which NATS permissions may deny."""
        return self._publisher.subject(channel)

    async def subscribe(self, durable: Durable, buffer: Buffer | None = None) -> Subscription:
        """Join a durable queue group. Raises what `Subscription.open` raises."""
        if self.lost.is_set():
            raise SessionLost(self.reason)
        subscription = Subscription(self._session, durable, Buffer() if buffer is None else buffer)
        await subscription.open()
        self._subscriptions.append(subscription)
        return subscription

    def end(self, reason: str) -> None:
        """Mark the session as over, because the connection is lost, say. Every pending call ends with the reason. Sends
        nothing.
        """
        self._session.end(reason)

    async def leave(self) -> None:
        """Leave a lost session: its inboxes answer nothing any more."""
        self.end("the session was left")
        await self._session.leave()

    async def close(self) -> None:
        """Close the session. No durable is unsubscribed."""
        await self._session.close()

    def _stop(self, _: str) -> None:
        for subscription in self._subscriptions:
            subscription.stop()
