"""The event transport port: one Protocol for JetStream and NATS Streaming.

The real ones are `payment.adapters.nats.jetstream.transport` and `payment.adapters.nats.streaming.transport`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol


class TransportUnavailable(Exception):
    """The broker can't take an event now: it is kept, and published again later. The text holds no credential."""


class PublishRefused(TransportUnavailable):
    """The connection works, and the broker refuses this event. The text says why."""


class PublishUnanswered(TransportUnavailable):
    """The connection works, and the broker did not acknowledge this event in time. It may have stored it."""


class TransportDegraded(TransportUnavailable):
    """Raised by `check`: the broker works, and one of its settings weakens a guarantee. The text says which."""


class Delivery(Protocol):
    """One event as the broker delivered it."""

    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...

    @property
    def identity(self) -> str:
        """The event's unique name, the same at each redelivery: stream or channel, sequence number and storage time.

        The time is part of it because a stream or channel that was made anew counts from 1 again.
        """

    @property
    def redelivered(self) -> int:
        """How often the broker delivered it before, as far as the broker knows."""

    async def ack(self) -> None:
        """Acknowledge it to the broker. A lost acknowledgement causes a redelivery, which changes nothing."""

    async def retry(self, delay_s: float) -> None:
        """Request a redelivery after at least `delay_s` seconds. NATS Streaming waits for its ack wait instead."""


DeliveryHandler = Callable[[Delivery], Awaitable[None]]
"""Returns once the event has entered a mailbox; its acknowledgement follows later."""


class TransportListener(Protocol):
    """Receives the changes of the connection's state."""

    def connected(self) -> None:
        """Events can be published and are being received."""

    def disconnected(self, reason: str) -> None:
        """Events can be neither published nor received, for this reason, which holds no credential.

        Called once for each loss, however long it lasts, and once more where an operator has to act on the reason.
        """

    def reason_changed(self, reason: str) -> None:
        """The connection is still lost, for another reason. `/readyz` shows it, and no log line is written."""

    def noticed(self, text: str, *, alarm: bool) -> None:
        """The broker reports something that leaves the connection as it is. `alarm`: an operator has to act on it."""


class EventTransport(Protocol):
    """A broker's client. It reconnects for ever by itself, with jitter, and calls the listener at each change."""

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        """Connect and keep each subject's subscription alive, for ever: returns only when cancelled.

        A handler is awaited before the next event of its subject is handed over: that is the back pressure.
        """

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Publish, and return once the broker has stored it.

        Raises:
            PublishRefused: the broker refuses the event.
            PublishUnanswered: no acknowledgement in time, over a connection that works.
            TransportUnavailable: there is no connection, or it was lost meanwhile. It may be stored all the same.
        """

    async def stop_consuming(self) -> None:
        """Take no further events; acks and publishes still pass. The durable state of the subscription is kept."""

    async def close(self) -> None:
        """Flush acks and close the connection; never unsubscribes a durable."""

    async def check(self) -> str:
        """Reach the broker once, and return in a few words what answered. Nothing is made or changed.

        Raises:
            TransportDegraded: it works, and a setting there weakens a guarantee.
            TransportUnavailable: with the reason.
        """
