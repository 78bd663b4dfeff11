"""The bus as the platform's other services use it, over either broker: publish orders, read published events.

Owns: the content of an order's events. Change together with: bus_jetstream.py and bus_streaming.py, the two brokers.
"""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Hashable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from payment.actors.nats.event_payloads import ORDER_CANCELLED, ORDER_CREATED

CONNECT_S = 2.0
"""Time limit for one server to answer, in seconds. A person waits for it."""
BROKER_S = 8.0
"""How long to wait for a broker that is still starting, in seconds: for the stream that the service creates, or for the
NATS Streaming that starts a moment after its NATS.
"""
POLL_EVERY_S = 0.2
"""Between two polls, in seconds: quick for a person, and no load for a server."""
TICKET_CHARS = 24
"""Length of a ticket's id and of an order's, in hexadecimal digits: that of the platform's ids."""


class PeerServiceError(Exception):
    """A command of a peer service failed. The text has the reason for a person, and never a credential."""


class Stored(Struct, frozen=True):
    """Where an event was stored. `stream` is the stream, or the cluster id."""

    subject: str
    stream: str
    seq: int
    event: dict[str, object]


class HeldEvent(NamedTuple):
    """One event that a subject holds. `rank` orders events over all subjects; `seq` counts within one subject."""

    rank: int
    seq: int
    payload: bytes


class PlacedOrder(Struct, frozen=True, kw_only=True):
    """An order as the orders service publishes it. The price is in major units; the currency may be left out."""

    order_id: str
    user_id: str
    price: float
    currency: str | None
    expires_in_s: float


class Acknowledgements:
    """The acknowledgements seen on the bus, each by whatever names it there."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._seen: set[Hashable] = set()

    async def add(self, acknowledgement: Hashable) -> None:
        async with self._changed:
            self._seen.add(acknowledgement)
            self._changed.notify_all()

    async def comes(self, acknowledgement: Hashable, patience_s: float) -> bool:
        """Whether an acknowledgement has come, or comes within `patience_s` seconds."""
        try:
            async with asyncio.timeout(patience_s), self._changed:
                await self._changed.wait_for(lambda: acknowledgement in self._seen)
        except TimeoutError:
            return False
        return True


class Bus(ABC):
    """The operations of peer services over one connection. Every method raises PeerServiceError where it fails."""

    async def create(self, order: PlacedOrder) -> Stored:
        """Publish order:created."""
        expires = datetime.now(UTC) + timedelta(seconds=order.expires_in_s)
        event: dict[str, object] = {
            "id": order.order_id,
            "version": 0,
            "status": "created",
            "userId": order.user_id,
            "expiresAt": expires.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ticket": {"id": _ticket_id(order.order_id), "price": order.price},
        }
        return await self.publish(ORDER_CREATED, event | ({"currency": order.currency} if order.currency else {}))

    async def cancel(self, order_id: str) -> Stored:
        """Publish order:cancelled."""
        event: dict[str, object] = {"id": order_id, "version": 1, "ticket": {"id": _ticket_id(order_id)}}
        return await self.publish(ORDER_CANCELLED, event)

    @abstractmethod
    async def close(self) -> None:
        """Close the connection. It leaves nothing at the broker."""

    @abstractmethod
    async def publish(self, subject: str, event: dict[str, object]) -> Stored:
        """Publish an event; returns once it is stored."""

    @abstractmethod
    async def taken_in(self, stored: Stored, queue_group: str, patience_s: float) -> bool:
        """Whether the service acknowledges an event within `patience_s` seconds.

        The method subscribes to the acknowledgement itself. The broker's counters are not enough: after a broken run
        they count an old event as open until its ack wait is over.
        """

    @abstractmethod
    def past(self, subject: str, after: int = 0) -> AsyncIterator[HeldEvent]:
        """Yield the events of a subject after a sequence number, oldest first."""

    @abstractmethod
    async def last(self, subject: str) -> int:
        """Returns the sequence number of a subject's last event, after which new ones follow; 0 where there was none
        yet.
        """


def _ticket_id(order_id: str) -> str:
    """Returns a ticket's id that is derived from the order's, so that a cancel has the same one."""
    return hashlib.sha256(order_id.encode()).hexdigest()[:TICKET_CHARS]
