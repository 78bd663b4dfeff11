"""Publishing with acknowledgements, and no more than a window of them under way.

Owns: who waits for which acknowledgement, and the window. Must never: give a place of the window back twice, or keep
one. Change together with: `payment.adapters.nats.stan.session`, whose end ends all waiting here.
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
"""Under way at once. The server writes what it has got in one go, so a wide window is what makes it fast."""
ACK_TIMEOUT_S = 5.0
"""For the place in the window and the acknowledgement together. A server that can store a message says so in
milliseconds, and publishing again stores it again (no message ids): so longer than its busiest moment, and no longer
than anybody wants to wait for one that forgot us. A lost session ends it earlier."""
CHANNEL = re.compile(r"[^\s./*>]+(\.[^\s./*>]+)*")


def checked_channel(channel: str) -> str:
    """The channel's name, if it is one; raises InvalidName. The server may drop a publish to another without a word."""
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
        """How many have been sent and not been answered."""
        return len(self._pending)

    async def publish(self, channel: str, data: bytes) -> None:
        """Return once the server has stored it. After any error but InvalidName it may be stored all the same.

        Raises:
            Refused: the server says no.
            Unacknowledged: no acknowledgement in time.
            Unreachable: the connection is lost.
            MessageTooLarge: NATS takes none of this size.
            SessionLost: the session has ended meanwhile.
            InvalidName: this is no channel.
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
        """The NATS subject that a publish to a channel goes to."""
        return f"{self._session.subjects.pub_prefix}.{channel}"

    async def on_ack(self, message: Msg) -> None:
        """An acknowledgement came. What has no guid that is waited for (NATS's own 503, say) is nobody's."""
        try:
            ack = decode(PubAck, message.data)
        except CodecError:
            return  # it can't be told whose it is: its publish comes to its time limit
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
        """The session is over: so is all waiting."""
        for stored in self._pending.values():
            if not stored.done():
                stored.set_result(SessionLost(reason))

    async def _send(self, channel: str, data: bytes) -> StanError | None:
        session = self._session
        if session.lost.is_set():
            return SessionLost(session.reason)
        guid = f"{self._guids}.{next(self._numbers)}"
        message = PubMsg(client_id=session.client_id, guid=guid, subject=channel, data=data, conn_id=session.conn_id)
        # Before it is sent: the acknowledgement may be here before the sending has returned.
        stored = self._pending[guid] = asyncio.get_running_loop().create_future()
        try:
            await session.wire.send(self.subject(channel), encode(message), session.acks)
            outcome: StanError | None = await stored
            return outcome
        finally:
            del self._pending[guid]
