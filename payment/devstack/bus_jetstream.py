"""The bus where it is JetStream.

It shares only names, the login and the error sentences with the service's own adapter: any other program could do the
same. It never creates a stream (the service does), and reads without leaving a consumer behind: message by message, by
sequence number.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from payment.adapters.nats.error_texts import describe
from payment.adapters.nats.jetstream.api import durable_name
from payment.adapters.nats.link import ServerAddress, prepared
from payment.adapters.nats.login import LoginError, NatsLogin
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

ANSWER_S = 3.0
"""Time limit for JetStream to answer one request, in seconds."""
SECOND_TRIES = 1
"""Repeated tries of each server that refuses the connection. nats-py's default is 60, for two minutes, also where
`allow_reconnect` is false."""
ACKNOWLEDGEMENTS = "$JS.ACK"
"""The prefix of the subjects of consumers' acknowledgements; stream, consumer, number of deliveries, stream sequence
and more follow.
"""
OLD_FORM_PARTS = 7
"""Parts of the older form behind the prefix: stream, consumer, deliveries, two sequences, time, pending events."""
ACKNOWLEDGED = (b"", b"+ACK")
"""The payloads of an acknowledgement; others request time or another delivery."""


class Mark(NamedTuple):
    """One event of a stream, acknowledged by one consumer."""

    stream: str
    consumer: str
    seq: int


class JetStreamBus(Bus):
    """One connection, and the acknowledgements that were received over it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream = client.jetstream(timeout=ANSWER_S)
        self._acknowledgements = Acknowledgements()
        self._listening = False

    @classmethod
    async def open(cls, servers: Sequence[str], login: NatsLogin) -> "JetStreamBus":
        """Connect to the first of the servers that answers. Raises PeerServiceError with the reason of the last."""
        reasons: list[str] = []

        async def note(error: Exception) -> None:
            reasons.append(describe(error))

        limits: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "allow_reconnect": False,
            "max_reconnect_attempts": SECOND_TRIES,
            "reconnect_time_wait": POLL_EVERY_S,
        }
        for server in servers:
            try:
                client, options = prepared(ServerAddress(server), login)
                await client.connect(error_cb=note, **limits, **options)
            except LoginError as error:
                raise PeerServiceError(f"{error.variable}: {error}") from None
            except (OSError, nats.errors.Error, TimeoutError) as error:
                reasons = reasons or [describe(error)]
            else:
                return cls(client)
        raise PeerServiceError(reasons[-1] if reasons else "no server is named")

    async def close(self) -> None:
        await self._client.close()

    async def publish(self, subject: str, event: dict[str, object]) -> Stored:
        """Publish, and wait for a stream where none stores the subject yet: the service creates it."""
        if not self._listening:
            # Before the event goes out: its acknowledgement may arrive before the answer with its sequence number.
            await self._client.subscribe(f"{ACKNOWLEDGEMENTS}.>", cb=self._note)
            self._listening = True
        payload, deadline = msgspec.json.encode(event), time.monotonic() + BROKER_S
        while True:
            try:
                ack = await self._jetstream.publish(subject, payload)
            except nats.js.errors.NoStreamResponseError:
                if time.monotonic() > deadline:
                    raise PeerServiceError(
                        f"no stream holds {subject}, so it would be lost: the service creates one when it is up"
                    ) from None
                await asyncio.sleep(POLL_EVERY_S)
            except nats.errors.Error as error:
                raise _broker_error(error) from None
            else:
                return Stored(subject, ack.stream, ack.seq, event)

    async def taken_in(self, stored: Stored, queue_group: str, patience_s: float) -> bool:
        """Whether the consumer of the queue group gets an acknowledgement of the event."""
        mark = Mark(stored.stream, durable_name(queue_group, stored.subject), stored.seq)
        return await self._acknowledgements.comes(mark, patience_s)

    async def past(self, subject: str, after: int = 0) -> AsyncIterator[HeldEvent]:
        """Read one event after another out of the stream. A stream's sequence runs over all its subjects, so it is the
        rank too.
        """
        stream = await self._holder(subject)
        while stream is not None:
            message = await self._next(stream, subject, after)
            if message is None or message.seq is None:
                return
            after = message.seq
            yield HeldEvent(after, after, message.data or b"")

    async def last(self, subject: str) -> int:
        """Returns the stream's last sequence number."""
        stream = await self._holder(subject)
        if stream is None:
            return 0
        try:
            return (await self._jetstream.stream_info(stream)).state.last_seq
        except nats.errors.Error as error:
            raise _broker_error(error) from None

    async def _note(self, message: Msg) -> None:
        mark = acknowledged(message.subject)
        if message.data in ACKNOWLEDGED and mark is not None:
            await self._acknowledgements.add(mark)

    async def _holder(self, subject: str) -> str | None:
        try:
            return await self._jetstream.find_stream_name_by_subject(subject)
        except nats.js.errors.NotFoundError:
            return None
        except nats.errors.Error as error:
            raise _broker_error(error) from None

    async def _next(self, stream: str, subject: str, after: int) -> RawStreamMsg | None:
        try:
            return await self._jetstream.get_msg(stream, seq=after + 1, subject=subject, next=True)
        except nats.js.errors.NotFoundError:
            return None
        except nats.errors.Error as error:
            raise _broker_error(error) from None


def acknowledged(subject: str) -> Mark | None:
    """Parse the subject of an acknowledgement. Returns None for an unknown form (NATS, ADR-15: two forms)."""
    parts = subject.split(".")[2:]
    if len(parts) > OLD_FORM_PARTS:
        parts = parts[2:]  # The newer form begins with the domain and the account.
    if len(parts) < OLD_FORM_PARTS or not parts[3].isdecimal():
        return None
    return Mark(parts[0], parts[1], int(parts[3]))


def _broker_error(error: nats.errors.Error) -> PeerServiceError:
    if isinstance(error, nats.js.errors.APIError):
        return PeerServiceError(f"JetStream answers {error.code} {error.description}")
    return PeerServiceError(f"NATS does not answer: {describe(error)}")
