"""The peer services on the bus: the orders service, subscribers of payments, and the stream's content.

Owns: one NATS connection. Must never import the service. Change together with: the contract's section on events.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from tests.e2e.waiting import eventually

CREATED, CANCELLED = "order:created", "order:cancelled"
PAID, REFUNDED = "payment:created", "payment:refunded"
REFUND_FAILED, DISPUTED = "payment:refund_failed", "payment:disputed"
STREAM = "ticketing"
RECONNECT_S = 0.1  # a server that is started again is found at once


def order_created(order: str, price: object = 19.99, user: str = "u1", **other: object) -> dict[str, Any]:
    """Returns the orders service's event of a new order, with more or other fields where they are given."""
    event = {"id": order, "version": 0, "status": "created", "userId": user, "expiresAt": in_minutes(15)}
    return event | {"ticket": {"id": "t1", "price": price}} | other


def order_cancelled(order: str, version: int = 1, **other: object) -> dict[str, Any]:
    return {"id": order, "version": version, "ticket": {"id": "t1"}} | other


def in_minutes(minutes: float) -> str:
    return in_seconds(minutes * 60)


def in_seconds(seconds: float) -> str:
    """Returns a time as a JavaScript service writes it."""
    text = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(frozen=True)
class Published:
    """One event as the stream holds it, in the order of the stream."""

    subject: str
    data: bytes
    message_id: str = ""

    @property
    def payload(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.data)
        return decoded


@dataclass
class Bus:
    """`async with Bus(url) as bus: …`; it reconnects to a server that went away."""

    url: str
    _read: int = 0
    _events: list[Published] = field(default_factory=list)

    async def __aenter__(self) -> Bus:
        async def ignore_error(_: Exception) -> None:
            """Ignore errors: a server that goes away is part of the tests, and nats-py would print them."""

        self._nats: NatsClient = await nats.connect(
            self.url, max_reconnect_attempts=-1, reconnect_time_wait=RECONNECT_S, error_cb=ignore_error
        )
        self._jetstream = self._nats.jetstream(timeout=2)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._nats.close()

    async def publish(self, subject: str, event: object) -> None:
        """Publish, and wait until a stream has stored the event: the service may still be creating the stream. Bytes
        are sent unchanged.
        """
        data = event if isinstance(event, bytes) else json.dumps(event).encode()

        async def stored() -> object:
            try:
                return await self._jetstream.publish(subject, data)
            except NatsError:
                return None

        await eventually(stored, f"a stream stores {subject}")

    async def create(self, order: str, price: object = 19.99, user: str = "u1", **other: Any) -> None:
        await self.publish(CREATED, order_created(order, price, user, **other))

    async def cancel(self, order: str, version: int = 1) -> None:
        await self.publish(CANCELLED, order_cancelled(order, version))

    async def events(self) -> list[Published]:
        """Returns all events of the service in the stream, oldest first, read from the stream itself."""
        try:
            state = (await self._jetstream.stream_info(STREAM)).state
        except NotFoundError:
            return []
        while self._read < state.last_seq:
            try:
                message = await self._jetstream.get_msg(STREAM, self._read + 1)
            except NotFoundError:
                self._read += 1
                continue
            self._read += 1
            if message.subject in (PAID, REFUNDED, REFUND_FAILED, DISPUTED):
                ids = (message.headers or {}).get("Nats-Msg-Id", "")
                self._events.append(Published(message.subject, message.data or b"", ids))
        return self._events

    async def events_of(self, order: str) -> list[Published]:
        """Returns the service's events about one order, oldest first."""
        return [event for event in await self.events() if event.payload["orderId"] == order]

    async def announced(self, order: str, *subjects: str, deadline_s: float = 10.0) -> list[dict[str, Any]]:
        """Returns the payloads of an order's events, once they are exactly `subjects` in this order."""

        async def all_there() -> list[Published]:
            found = await self.events_of(order)
            return found if [event.subject for event in found] == list(subjects) else []

        found = await eventually(all_there, f"{order} is announced as {subjects}", deadline_s)
        return [event.payload for event in found]

    async def shorten_ack_wait(self, group: str, seconds: float) -> None:
        """Let the broker redeliver the unacknowledged events of a killed process of this group after `seconds`."""
        for each in await self._jetstream.consumers_info(STREAM):
            if each.name.startswith(group):
                await self._jetstream.add_consumer(STREAM, each.config.evolve(ack_wait=seconds))

    async def given_out(self, group: str) -> int:
        """Returns the number of incoming events that were delivered to a group and are not acknowledged yet."""
        everybody = await self._jetstream.consumers_info(STREAM)
        return sum(each.num_ack_pending or 0 for each in everybody if each.name.startswith(group))

    async def unacknowledged(self, group: str = "") -> int:
        """Returns the number of incoming events that a group (or any) has not acknowledged yet, delivered or not."""
        everybody = await self._jetstream.consumers_info(STREAM)
        consumers = [each for each in everybody if each.name.startswith(group)]
        return sum((each.num_ack_pending or 0) + (each.num_pending or 0) for each in consumers)
