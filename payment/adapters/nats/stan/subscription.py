"""A member of a durable queue group: it gets its share of a channel's messages, each until it is acknowledged.

Owns: the delivery inbox and the messages received there. Must never: acknowledge by itself, or unsubscribe the durable
(closing keeps it). Change together with: `payment.adapters.nats.stan.buffer`.
"""

import asyncio

from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Listening

from payment.adapters.nats.stan.buffer import Buffer
from payment.adapters.nats.stan.codec import decode, encode
from payment.adapters.nats.stan.errors import (
    CodecError,
    InvalidName,
    NotStreaming,
    ServerUnreachable,
    SessionLost,
    refused,
)
from payment.adapters.nats.stan.messages import (
    DELIVER_ALL,
    Ack,
    MsgProto,
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
)
from payment.adapters.nats.stan.publishing import checked_channel
from payment.adapters.nats.stan.session import REQUEST_TIMEOUT_S, Session

MAX_IN_FLIGHT_MESSAGES = 512
"""Unacknowledged messages of one member: enough to keep it busy over a few round trips, and few for its group to miss.
"""


class Durable(Struct, frozen=True):
    """A durable queue group to join. Its identity is `channel`, `name` and `group`; no client id is part of it."""

    channel: str
    group: str
    name: str
    ack_wait_s: int
    max_in_flight: int = MAX_IN_FLIGHT_MESSAGES


class Subscription:
    """One member of one durable queue group, over one session."""

    def __init__(self, session: Session, durable: Durable, buffer: Buffer) -> None:
        self.durable = durable
        self.buffer = buffer
        self._session = session
        self._inbox = session.wire.new_inbox()
        self._ack_inbox = ""
        self._listening: Listening | None = None
        self._resting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Join the group; messages may be in the buffer before this returns. A new group begins with the oldest.

        Raises:
            RefusedByServer, ServerUnreachable, NotStreaming, InvalidName: as their docstrings say; nothing of the try
            is left.
        """
        checked_channel(self.durable.channel)
        if ":" in self.durable.name:
            raise InvalidName(f"a durable of a queue group has no colon in its name: {self.durable.name!r}")
        self._listening = await self._session.listen(self._inbox, self._on_message)
        opened = False
        try:
            self._ack_inbox = await self._request()
            opened = True
        finally:
            if not opened:
                self.buffer.close()
                await self._session.unlisten(self._listening)

    async def next(self) -> MsgProto | None:
        """Wait for and return the next message; None once `stop` was called. The one before counts as handled."""
        return await self.buffer.next()

    async def ack(self, message: MsgProto) -> None:
        """Acknowledge a message that this subscription handed out. There is no answer: a lost ack means a redelivery.

        Raises:
            SessionLost: the message can't be acknowledged any more. Its sequence may mean another message in the next
            session. ServerUnreachable: the connection is gone.
        """
        if self._session.lost.is_set():
            raise SessionLost(self._session.reason)
        self.buffer.done(message.sequence)
        await self._session.wire.send(self._ack_inbox, encode(Ack(message.subject, message.sequence)))

    def put_back(self, message: MsgProto, delay_s: float) -> None:
        """Hand a message out again in `delay_s` seconds, from the buffer: the server itself has only its ack wait.

        Redeliveries by the server in between are dropped. When the session ends first, the server redelivers the
        message.
        """
        if not self.buffer.put_back(message):
            return
        task = asyncio.create_task(self._rest(message.sequence, delay_s), name="stan message resting")
        self._resting.add(task)
        task.add_done_callback(self._resting.discard)

    def redelivered(self, message: MsgProto) -> int:
        """Returns how often a message was handed out before, by the counts of the server and of the buffer."""
        return self.buffer.redelivered(message)

    def stop(self) -> None:
        """Hand out nothing more. Messages that were handed out may still be acknowledged until `close`."""
        self.buffer.close()
        for task in self._resting:
            task.cancel()

    async def close(self) -> None:
        """Leave the group. Its other members get the unacknowledged messages at once; the durable stays, even without
        members.

        A server that doesn't answer detects it when the session ends; that raises nothing.
        """
        self.stop()
        if self._listening is None or self._session.lost.is_set():
            return
        listening, self._listening = self._listening, None
        try:
            await self._session.wire.request(
                self._session.subjects.sub_close_requests, self._closing(self._ack_inbox), REQUEST_TIMEOUT_S
            )
            await self._session.unlisten(listening)
        except ServerUnreachable as error:
            # The membership is uncertain now: only a new session makes it certain.
            self._session.end(str(error))

    async def _request(self) -> str:
        session, durable = self._session, self.durable
        request = SubscriptionRequest(
            client_id=session.client_id,
            subject=durable.channel,
            queue_group=durable.group,
            inbox=self._inbox,
            max_in_flight=durable.max_in_flight,
            ack_wait_in_secs=durable.ack_wait_s,
            durable_name=durable.name,
            start_position=DELIVER_ALL,
        )
        try:
            answer = await session.wire.request(session.subjects.sub_requests, encode(request), REQUEST_TIMEOUT_S)
            response = decode(SubscriptionResponse, answer)
        except ServerUnreachable:
            # The server may have accepted it all the same. It finds the subscription by its delivery inbox, to close
            # it.
            await session.wire.send(session.subjects.sub_close_requests, self._closing(self._inbox))
            raise
        except CodecError:
            raise NotStreaming("something other than NATS Streaming answers a subscription") from None
        if response.error or not response.ack_inbox:
            raise refused(response.error)
        return response.ack_inbox

    def _closing(self, inbox: str) -> bytes:
        session, durable = self._session, self.durable
        return encode(UnsubscribeRequest(session.client_id, durable.channel, inbox, durable.name))

    async def _on_message(self, message: Msg) -> None:
        try:
            delivered = decode(MsgProto, message.data)
        except CodecError:
            return  # not from the server: no stored message is lost
        if delivered.sequence and delivered.subject == self.durable.channel:
            self.buffer.arrived(delivered)

    async def _rest(self, sequence: int, delay_s: float) -> None:
        await self._session.sleep(delay_s)
        self.buffer.back(sequence)
