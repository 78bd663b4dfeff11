"""The event transport port: JetStream (`payment.adapters.nats.jetstream.transport`) or NATS Streaming behind one
Protocol.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol


class TransportUnavailable(Exception):
    """The broker can't take an event now: it is kept, and published again later. The text holds no credential."""


class PublishRefused(TransportUnavailable):
    """The connection stands, and the broker does not take this event: the text says why."""


class PublishUnanswered(TransportUnavailable):
    """The connection stands, and the broker did not acknowledge this event in time: it may be stored all the same."""


class TransportDegraded(TransportUnavailable):
    """A check's outcome: the broker works, and something there weakens a promise of ours. The text says what."""


class Delivery(Protocol):
    """One event as the broker delivered it."""

    @property
    def subject(self) -> str: ...

    @property
    def data(self) -> bytes: ...

    @property
    def identity(self) -> str:
        """What is the same at each redelivery of this very event, and no other's: stream or channel, sequence number,
        and the time at which it was stored, for a stream or channel that began anew counts from 1 again."""

    @property
    def redelivered(self) -> int:
        """How often it was delivered before, as far as the broker knows."""

    async def ack(self) -> None:
        """Tell the broker that it is done. A lost ack means redelivery, which changes nothing."""

    async def retry(self, delay_s: float) -> None:
        """Ask for redelivery no sooner than in `delay_s`. NATS Streaming has only its ack wait for that."""


DeliveryHandler = Callable[[Delivery], Awaitable[None]]


class TransportListener(Protocol):
    """Who wants to know how the connection is."""

    def connected(self) -> None:
        """Events can be published and are being received."""

    def disconnected(self, reason: str) -> None:
        """They can't, for this reason. Never holds a credential.

        Said once, however long it lasts; and once more where it turns out to need a person, who can act on the reason.
        """

    def reason_changed(self, reason: str) -> None:
        """They still can't, for another reason than the one that `disconnected` gave. Worth showing, not a log line."""

    def noticed(self, text: str, *, alarm: bool) -> None:
        """Something to read once that changes nothing of the connection. `alarm`: an operator has to act on it."""


class EventTransport(Protocol):
    """A broker. It reconnects for ever by itself, with jitter, and says so through the listener."""

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        """Connect and keep each subject's subscription alive, for ever: returns only when cancelled.

        A handler is awaited before the next event of its subject is handed over: that is the back pressure.
        """

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Publish, and return once the broker has stored it.

        Raises:
            PublishRefused: the broker says no.
            PublishUnanswered: no acknowledgement in time, over a connection that stands.
            TransportUnavailable: there is no connection, or it was lost meanwhile. It may be stored all the same.
        """

    async def stop_consuming(self) -> None:
        """Take no further events; acks and publishes still pass. The durable state of the subscription is kept."""

    async def close(self) -> None:
        """Flush acks and close the connection; never unsubscribes a durable."""

    async def check(self) -> str:
        """Reach the broker once and say in a few words what was found. Nothing is made or changed.

        Raises:
            TransportDegraded: it works, and a setting there weakens a promise.
            TransportUnavailable: with the reason.
        """
