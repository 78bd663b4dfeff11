"""Pulling events from one JetStream consumer: requests, the server's statuses, and the events themselves.

Owns: one pull at a time over one connection. Must never: acknowledge by itself, or treat silence as an idle consumer.
Change together with: `payment.adapters.nats.jetstream.transport`, which decides what is pulled and what a failure
means.

The pull request is sent here rather than by nats-py's `fetch`. After a consumer was deleted `fetch` waits for its whole
time limit, and it may hold received events back until the batch is full or the time is over. Source of the statuses:
NATS documentation, "JetStream wire API reference", and the answers of nats-server 2.15.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from payment.adapters.nats.connection import NatsConnection
from payment.adapters.nats.jetstream.api import NS_PER_S, Consumer
from payment.ports.transport import TransportUnavailable

BATCH_EVENTS = 100
"""Events of one pull: as many as a process may hold before it hands them to the ledger. The other members of its group
miss no more than that.
"""
PULL_EXPIRES_S = 30.0
"""A pull without events ends after this time, in seconds, and the next one is requested."""
FIRST_ANSWER_S = 3.0
"""Time limit of the first pull, in seconds. The server answers it at once, with or without events; before that answer
no event can come.
"""
HEARTBEAT_S = 1.5
"""Interval of the server's heartbeats on an idle pull, in seconds. Three missed ones mean that the consumer is gone
without an error; with the first answer of the next try that is reported within 10 s.
"""
SILENCE_S = 3 * HEARTBEAT_S

US_PER_S = 1_000_000
HEARTBEAT, NOTHING_THERE, TIME_OVER, CONFLICT = "100", "404", "408", "409"
BATCH_COMPLETED = "Batch Completed"
ALL_PENDING = "Exceeded MaxAckPending"


class JetStreamDelivery:
    """One event of a pull. `identity` includes the time at which the event was stored: a stream that was deleted and
    created again counts from 1 again, and so does a stream of another cluster. A sequence number alone would then name
    two events (F30).
    """

    def __init__(self, message: Msg, connection: NatsConnection) -> None:
        origin = message.metadata
        self.subject = message.subject
        self.data = message.data
        stored_us = round(origin.timestamp.timestamp() * US_PER_S)
        self.identity = f"{origin.stream}:{origin.sequence.stream}:{stored_us}"
        self.redelivered = origin.num_delivered - 1
        self._reply = message.reply
        self._connection = connection

    async def ack(self) -> None:
        """Acknowledge over the current connection. Without a connection the event is redelivered. Raises nothing."""
        await self._send_reply(b"+ACK")

    async def retry(self, delay_s: float) -> None:
        """Request redelivery in `delay_s` seconds. Without a connection the event comes again after the ack wait.
        Raises nothing.
        """
        delay = b' {"delay": %d}' % round(delay_s * NS_PER_S) if delay_s > 0 else b""
        await self._send_reply(b"-NAK" + delay)

    async def _send_reply(self, payload: bytes) -> None:
        # The port promises no more: an acknowledgement that can't be sent means redelivery, which changes nothing.
        with contextlib.suppress(TransportUnavailable):
            await self._connection.send(self._reply, payload)


class Pull:
    """One consumer's events, requested batch by batch over one connection."""

    def __init__(self, consumer: Consumer, connection: NatsConnection, on_answer: Callable[[], None]) -> None:
        limits = consumer.config
        self._batch = min(BATCH_EVENTS, limits.get("max_batch") or BATCH_EVENTS)
        self._expires_s = min(PULL_EXPIRES_S, (limits.get("max_expires") or 0) / NS_PER_S or PULL_EXPIRES_S)
        self._max_bytes = limits.get("max_bytes") or 0
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream_name}.{consumer.name}"
        self._connection = connection
        self._inbox = ""
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()  # never more than one batch, and a heartbeat each 2 s
        self._subscription: Subscription | None = None
        self._stopped = False
        self._on_answer = on_answer
        self.answered = False

    async def run(self, hand_over: Callable[[JetStreamDelivery], Awaitable[None]]) -> None:
        """Hand events over, one after the other, until the pull is stopped.

        Raises:
            TransportUnavailable: the consumer is gone, or sends nothing any more.
        """
        await self._open()
        request = self._first_request()
        while not self._stopped:
            await self._connection.send(self._subject, request, self._inbox)
            await self._work_off(hand_over)
            request = self._request()

    async def stop(self) -> None:
        """Send no further request, and return received events that were not handed over to the server at once."""
        self._stopped = True
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            # If the connection breaks here, all events are redelivered after the ack wait.
            with contextlib.suppress(TransportUnavailable):
                await self._connection.unsubscribe(subscription)
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if is_event(message):
                await JetStreamDelivery(message, self._connection).retry(0)

    async def _open(self) -> None:
        self._inbox = self._connection.client.new_inbox()
        self._subscription = await self._connection.subscribe(self._inbox, self._on_message)

    async def _on_message(self, message: Msg) -> None:
        self._arrived.put_nowait(message)

    def _first_request(self) -> bytes:
        """A request for the events that are there now. The server answers at once, which distinguishes an idle consumer
        from a deleted one.
        """
        request: dict[str, object] = {"batch": self._batch, "no_wait": True}
        if self._max_bytes:
            request["max_bytes"] = self._max_bytes
        return msgspec.json.encode(request)

    def _request(self) -> bytes:
        # The server refuses a heartbeat longer than half the pull's life.
        heartbeat_s = min(HEARTBEAT_S, self._expires_s / 3)
        request = {
            "batch": self._batch,
            "expires": round(self._expires_s * NS_PER_S),
            "idle_heartbeat": round(heartbeat_s * NS_PER_S),
        }
        if self._max_bytes:
            request["max_bytes"] = self._max_bytes
        return msgspec.json.encode(request)

    async def _work_off(self, hand_over: Callable[[JetStreamDelivery], Awaitable[None]]) -> None:
        wanted = self._batch
        while wanted and not self._stopped:
            message = await self._next()
            if is_event(message):
                wanted -= 1
                self._has_answered()
                await hand_over(JetStreamDelivery(message, self._connection))
            elif self._is_over(message):
                return

    async def _next(self) -> Msg:
        patience_s = SILENCE_S if self.answered else FIRST_ANSWER_S
        try:
            async with asyncio.timeout(patience_s):
                return await self._arrived.get()
        except TimeoutError:
            if self._connection.denied(self._subject):
                raise TransportUnavailable(
                    f"permission denied for {self._subject}: no event can be delivered"
                ) from None
            raise TransportUnavailable(f"its consumer has sent nothing for {patience_s:g} s") from None

    def _has_answered(self) -> None:
        if not self.answered:
            self.answered = True
            self._on_answer()

    def _is_over(self, message: Msg) -> bool:
        """Whether a status ends the pull normally. Raises TransportUnavailable where it means that the consumer is
        gone.
        """
        headers = message.headers or {}
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status in (NOTHING_THERE, TIME_OVER) or (status == CONFLICT and text in (BATCH_COMPLETED, ALL_PENDING)):
            self._has_answered()
            return True
        if status in (HEARTBEAT, ""):
            self._has_answered()
            return False
        # nats-py makes up the description of a 503: only the status is the server's.
        raise TransportUnavailable(
            f"its consumer answers {status} {text if status != '503' else 'no server serves it'}"
        )


def is_event(message: Msg) -> bool:
    """Whether a message came from a stream. The server's own statuses have no such reply subject, whatever their
    headers.
    """
    return message.reply.startswith("$JS.ACK.")
