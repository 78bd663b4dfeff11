"""The platform's side of the bus, over JetStream: the orders service that publishes, whoever reads our payments.

It shares no code with the service's own adapter but names: what it does, any other program could do. It never makes a
stream (the service does) and reads without leaving a consumer behind: message by message, by sequence number.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import jwt
import msgspec
import nats
import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from payment.edge.events import ORDER_CANCELLED, ORDER_CREATED
from payment.ports.jetstream_api import durable_name
from payment.setting_values import nats_servers

CONNECT_S = 2.0
"""For one server to answer. A person waits for it."""
ANSWER_S = 3.0
"""For JetStream to answer one request."""
STREAM_S = 8.0
"""How long to wait for the stream that the service makes while it starts."""
AGAIN_S = 0.2
"""Between two looks for something that nobody announces: quick for a person, nothing for a server."""
ACKNOWLEDGEMENTS = "$JS.ACK"
"""What consumers' acknowledgements are published below: stream, consumer, deliveries, the stream's number, and more."""
OLD_FORM_PARTS = 7
"""Parts of the older form behind the prefix: stream, consumer, deliveries, two numbers, time, how many are pending."""
ACKNOWLEDGED = (b"", b"+ACK")
"""The payloads that say done; others ask for time or for another delivery."""
TICKET_CHARS = 24
"""Of a ticket's id, and of an order's: what the platform's ids have."""


class NeighbourError(Exception):
    """It could not be done, for a reason that a person can read. Never holds a credential."""


class Stored(Struct, frozen=True):
    """Where an event was stored."""

    subject: str
    stream: str
    seq: int
    event: dict[str, object]


class Order(Struct, frozen=True, kw_only=True):
    """An order as the orders service announces it. The price is in major units; the currency may be left out."""

    order_id: str
    user_id: str
    price: float
    currency: str | None
    expires_in_s: float


def new_order_id() -> str:
    return secrets.token_hex(TICKET_CHARS // 2)


def signed_token(key: str, user_id: str) -> str:
    """A token as the platform's auth service signs it: no end, for its sessions live in cookies that end."""
    claims = {"id": user_id, "email": f"{user_id}@example.com", "iat": int(time.time())}
    return jwt.encode(claims, key, algorithm="HS256")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Bus"]:
    """The bus at `url`, a list as `NATS_URL` holds it.

    Raises:
        NeighbourError: nobody answers there.
    """
    reasons: list[str] = []

    async def note(error: Exception) -> None:
        reasons.append(type(error).__name__)

    try:
        addresses = nats_servers(url)
        client = await nats.connect(
            [address.reveal() for address in addresses],
            connect_timeout=CONNECT_S,
            allow_reconnect=False,
            error_cb=note,
        )
    except (OSError, nats.errors.Error, TimeoutError) as error:
        why = reasons[-1] if reasons else type(error).__name__
        raise NeighbourError(f"no NATS at {', '.join(map(str, addresses))} ({why}): is `make run` running?") from None
    except ValueError:
        raise NeighbourError("NATS_URL is no list of addresses like nats://host:4222") from None
    try:
        yield Bus(client)
    finally:
        await client.close()


class Mark(NamedTuple):
    """One event of a stream, acknowledged by one consumer."""

    stream: str
    consumer: str
    seq: int


class Bus:
    """What neighbours do over one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=ANSWER_S)
        self._acknowledging = asyncio.Condition()
        self._acknowledged: set[Mark] = set()
        self._listening = False

    async def create(self, order: Order) -> Stored:
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
        return await self._publish(ORDER_CREATED, event | ({"currency": order.currency} if order.currency else {}))

    async def cancel(self, order_id: str) -> Stored:
        """Announce that an order is cancelled."""
        event = {"id": order_id, "version": 1, "ticket": {"id": _ticket_id(order_id)}}
        return await self._publish(ORDER_CANCELLED, event)

    async def taken_in(self, stored: Stored, queue_group: str, patience_s: float) -> bool:
        """Whether the service acknowledges an event of ours, waiting for it for a while.

        The acknowledgement itself is listened for. The consumer's counters would not do: after a broken run they hold
        an old event as open until its ack wait is over.
        """
        mark = Mark(stored.stream, durable_name(queue_group, stored.subject), stored.seq)
        try:
            async with asyncio.timeout(patience_s), self._acknowledging:
                await self._acknowledging.wait_for(lambda: mark in self._acknowledged)
        except TimeoutError:
            return False
        return True

    async def past(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """The sequence numbers and payloads of what a subject holds, from the oldest on, behind a sequence number."""
        stream = await self._holder(subject)
        while stream is not None:
            message = await self._next(stream, subject, after)
            if message is None or message.seq is None:
                return
            after = message.seq
            yield after, message.data or b""

    async def last(self, subject: str) -> int:
        """The sequence number behind which a subject's coming messages are; 0 where no stream holds it yet."""
        stream = await self._holder(subject)
        if stream is None:
            return 0
        try:
            return (await self._jetstream.stream_info(stream)).state.last_seq
        except nats.errors.Error as error:
            raise _said(error) from None

    async def _publish(self, subject: str, event: dict[str, object]) -> Stored:
        if not self._listening:
            # Before the event goes out: its acknowledgement may be quicker than the answer that tells its number.
            await self._client.subscribe(f"{ACKNOWLEDGEMENTS}.>", cb=self._note)
            self._listening = True
        payload, deadline = msgspec.json.encode(event), time.monotonic() + STREAM_S
        while True:
            try:
                ack = await self._jetstream.publish(subject, payload)
            except nats.js.errors.NoStreamResponseError:
                if time.monotonic() > deadline:
                    raise NeighbourError(
                        f"no stream holds {subject}, so it would be lost: the service makes one when it is up"
                    ) from None
                await asyncio.sleep(AGAIN_S)
            except nats.errors.Error as error:
                raise _said(error) from None
            else:
                return Stored(subject, ack.stream, ack.seq, event)

    async def _note(self, message: Msg) -> None:
        mark = acknowledged(message.subject)
        if message.data in ACKNOWLEDGED and mark is not None:
            async with self._acknowledging:
                self._acknowledged.add(mark)
                self._acknowledging.notify_all()

    async def _holder(self, subject: str) -> str | None:
        try:
            return await self._jetstream.find_stream_name_by_subject(subject)
        except nats.js.errors.NotFoundError:
            return None
        except nats.errors.Error as error:
            raise _said(error) from None

    async def _next(self, stream: str, subject: str, after: int) -> RawStreamMsg | None:
        try:
            return await self._jetstream.get_msg(stream, seq=after + 1, subject=subject, next=True)
        except nats.js.errors.NotFoundError:
            return None
        except nats.errors.Error as error:
            raise _said(error) from None


def acknowledged(subject: str) -> Mark | None:
    """What an acknowledgement's subject says; None for a form that we don't know (NATS, ADR-15: two forms)."""
    parts = subject.split(".")[2:]
    if len(parts) > OLD_FORM_PARTS:
        parts = parts[2:]  # The newer form begins with the domain and the account.
    if len(parts) < OLD_FORM_PARTS or not parts[3].isdecimal():
        return None
    return Mark(parts[0], parts[1], int(parts[3]))


def _ticket_id(order_id: str) -> str:
    """A ticket's id that whoever cancels the order finds again from the order's."""
    return hashlib.sha256(order_id.encode()).hexdigest()[:TICKET_CHARS]


def _said(error: nats.errors.Error) -> NeighbourError:
    if isinstance(error, nats.js.errors.APIError):
        return NeighbourError(f"JetStream says {error.code} {error.description}")
    return NeighbourError(f"NATS does not answer ({type(error).__name__})")
