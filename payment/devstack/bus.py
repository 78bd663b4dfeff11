"""The bus as the platform's other services use it, whichever broker is behind: publish orders, read what was published.

Owns: what an order's events look like. Change together with: bus_jetstream.py and bus_streaming.py, the two brokers.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from payment.actors.nats.event_payloads import ORDER_CANCELLED, ORDER_CREATED

CONNECT_S = 2.0
"""For one server to answer. A person waits for it."""
BROKER_S = 8.0
"""How long to wait for a broker that is not complete yet: the stream that the service makes while it starts, or the
NATS Streaming that comes up a moment after its NATS."""
POLL_EVERY_S = 0.2
"""Between two looks for something that nobody announces: quick for a person, nothing for a server."""
TICKET_CHARS = 24
"""Of a ticket's id, and of an order's: what the platform's ids have."""


class PeerServiceError(Exception):
    """It could not be done, for a reason that a person can read. Never holds a credential."""


class Stored(Struct, frozen=True):
    """Where an event was stored. `stream` is the stream, or the cluster id."""

    subject: str
    stream: str
    seq: int
    event: dict[str, object]


class HeldEvent(NamedTuple):
    """One event that a subject holds. `rank` tells which came first, over all subjects; `seq` counts within them."""

    rank: int
    seq: int
    payload: bytes


class PlacedOrder(Struct, frozen=True, kw_only=True):
    """An order as the orders service announces it. The price is in major units; the currency may be left out."""

    order_id: str
    user_id: str
    price: float
    currency: str | None
    expires_in_s: float


class Bus(ABC):
    """What neighbours do over one connection. Every method raises PeerServiceError where it can't be done."""

    async def create(self, order: PlacedOrder) -> Stored:
        """Announce an order."""
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
        """Announce that an order is cancelled."""
        event: dict[str, object] = {"id": order_id, "version": 1, "ticket": {"id": _ticket_id(order_id)}}
        return await self.publish(ORDER_CANCELLED, event)

    @abstractmethod
    async def close(self) -> None:
        """End the connection. Nothing of it is left at the broker."""

    @abstractmethod
    async def publish(self, subject: str, event: dict[str, object]) -> Stored:
        """Publish an event; returns once it is stored."""

    @abstractmethod
    async def taken_in(self, stored: Stored, queue_group: str, patience_s: float) -> bool:
        """Whether the service acknowledges an event of ours, waiting for it for a while.

        The acknowledgement itself is listened for. The broker's counters would not do: after a broken run they hold an
        old event as open until its ack wait is over.
        """

    @abstractmethod
    def past(self, subject: str, after: int = 0) -> AsyncIterator[HeldEvent]:
        """What a subject holds, from the oldest on, behind a sequence number."""

    @abstractmethod
    async def last(self, subject: str) -> int:
        """The sequence number behind which a subject's coming messages are; 0 where there was none yet."""


def _ticket_id(order_id: str) -> str:
    """A ticket's id that whoever cancels the order finds again from the order's."""
    return hashlib.sha256(order_id.encode()).hexdigest()[:TICKET_CHARS]
