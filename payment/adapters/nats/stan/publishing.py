"""Publishing with acknowledgements, and at most a window of unacknowledged messages.

Owns: the pending publishes by guid, and the window. Must never: release a slot of the window twice, or leak one. Change
together with: `payment.adapters.nats.stan.session`, whose end ends all pending publishes.
"""

import asyncio
import itertools
import re

from nats.aio.msg import Msg

from payment.adapters.nats.stan.codec import decode, encode
from payment.adapters.nats.stan.errors import (
    CodecError,
    ErrorVerdict,
    InvalidName,
    SessionLost,
    StanError,
    Unacknowledged,
    refused,
)
from payment.adapters.nats.stan.messages import PubAck, PubMsg
from payment.adapters.nats.stan.session import Session

WINDOW_MESSAGES = 1_024
"""Unacknowledged messages at once. The server writes all received messages together, so a wide window makes it fast."""
ACK_TIMEOUT_S = 5.0
"""In seconds, for the slot in the window and the acknowledgement together. A server that can store a message
acknowledges it in milliseconds, and a repeated publish is stored twice (there are no message ids). So this is longer
than the server's busiest moment, and short enough to notice a server that forgot the session. A lost session ends the
wait earlier.
"""
CHANNEL = re.compile(r"[^\s./*>]+(\.[^\s./*>]+)*")


def checked_channel(channel: str) -> str:
    """Returns a valid channel name; raises InvalidName for any other. The server may drop a publish to an invalid one
    silently.
    """
    if CHANNEL.fullmatch(channel) is None:
        raise InvalidName(f"no name for a channel: {channel!r}")
    return channel


class Publisher:
    """The publishes of one session."""

    def __init__(self, session: Session, window: int = WINDOW_MESSAGES, timeout_s: float = ACK_TIMEOUT_S) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(window)
        self._guids = session.conn_id.decode()
        self._numbers = itertools.count(1)
        self._pending: dict[str, asyncio.Future[StanError | None]] = {}

    @property
    def under_way(self) -> int:
        """The number of publishes that were sent and not answered yet."""
        return len(self._pending)

    async def publish(self, channel: str, data: bytes) -> None:
        """Publish, and return once the server has stored the message. After any error but InvalidName it may be stored
        all the same.

        Raises:
            RefusedByServer: the server refused it. Unacknowledged: no acknowledgement in time. Unreachable: the
            connection is lost. MessageTooLarge: the message is larger than NATS accepts. SessionLost: the session ended
            while the publish was pending. InvalidName: the channel's name is invalid.
        """
        checked_channel(channel)
        try:
            async with asyncio.timeout(self._timeout_s), self._places:
                error = await self._send(channel, data)
        except TimeoutError:
            raise Unacknowledged(
                f"NATS Streaming did not acknowledge a publish to {channel} within {self._timeout_s:g} s"
            ) from None
        if error is not None:
            raise error

    def subject(self, channel: str) -> str:
        """Returns the NATS subject of publishes to a channel."""
        return f"{self._session.subjects.pub_prefix}.{channel}"

    async def on_ack(self, message: Msg) -> None:
        """Complete the publish that an acknowledgement belongs to. One without a pending guid (NATS's own 503, say) is
        ignored.
        """
        try:
            ack = decode(PubAck, message.data)
        except CodecError:
            return  # it belongs to no known publish, which then reaches its time limit
        stored = self._pending.get(ack.guid)
        if stored is None or stored.done():
            return
        if not ack.error:
            stored.set_result(None)
            return
        error = refused(ack.error)
        stored.set_result(error)
        if error.verdict is ErrorVerdict.SESSION_GONE:
            self._session.end(str(error))

    def end(self, reason: str) -> None:
        """End all pending publishes: the session is over."""
        for stored in self._pending.values():
            if not stored.done():
                stored.set_result(SessionLost(reason))

    async def _send(self, channel: str, data: bytes) -> StanError | None:
        session = self._session
        if session.lost.is_set():
            return SessionLost(session.reason)
        guid = f"{self._guids}.{next(self._numbers)}"
        message = PubMsg(client_id=session.client_id, guid=guid, subject=channel, data=data, conn_id=session.conn_id)
        # Registered before it is sent: the acknowledgement may arrive before `send` returns.
        stored = self._pending[guid] = asyncio.get_running_loop().create_future()
        try:
            await session.wire.send(self.subject(channel), encode(message), session.acks)
            outcome: StanError | None = await stored
            return outcome
        finally:
            del self._pending[guid]
