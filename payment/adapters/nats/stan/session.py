"""One session: its opening, its answers to heartbeats, its pings, which detect its loss, and its closing.

Owns: the heartbeat, ping and acknowledgement inboxes. Must never: be opened twice, answer a heartbeat after `leave`, or
unsubscribe a durable. Change together with: `payment.adapters.nats.stan.client`, which adds publishing.

The server knows a client only by its heartbeat inbox. It sends a request there before it gives the client id to another
session, a new one of the same client included: an inbox of a lost session that still answers would lock the client out
of its own id. So `leave` unsubscribes the inboxes, and waits until NATS has processed that, before a new session is
tried.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from payment.adapters.nats.stan.codec import decode, encode
from payment.adapters.nats.stan.errors import (
    CodecError,
    ErrorVerdict,
    InvalidName,
    NoListener,
    NotStreaming,
    ServerUnreachable,
    refused,
)
from payment.adapters.nats.stan.messages import (
    PROTOCOL,
    CloseRequest,
    ConnectRequest,
    ConnectResponse,
    Ping,
    PingResponse,
)
from payment.adapters.nats.stan.wire import Wire, is_no_responders

REQUEST_TIMEOUT_S = 3.0
"""For an answer of the server, in seconds. The server may itself spend 0.5 s on checking whether the old holder of our
client id lives.
"""
CLOSE_TIMEOUT_S = 1.0
"""In seconds. A stopping service has two seconds for everything, and a running server answers in milliseconds."""
PING_EVERY_S = 2
PINGS_UNANSWERED_MAX = 3
"""A server that answers no ping for 4 x 2 s = 8 s has lost the session; stan.go's own defaults would take 445 s to
detect it. A shorter time would mistake the election of a new leader, which takes a few seconds and keeps all sessions,
for a loss.
"""
DISCOVER = "_STAN.discover"
CLIENT_ID = re.compile(r"[A-Za-z0-9_-]+")

Sleep = Callable[[float], Awaitable[None]]


class Session:
    """A session with one server of one cluster id, from `open` until `lost` is set."""

    def __init__(self, wire: Wire, cluster_id: str, client_id: str, conn_id: str, sleep: Sleep) -> None:
        self.wire = wire
        self.cluster_id = cluster_id
        self.client_id = client_id
        self.conn_id = conn_id.encode()
        self.acks = f"_STAN.acks.{conn_id}"
        self.subjects = ConnectResponse()
        self.lost = asyncio.Event()
        self.reason = "the session is not open yet"
        self.sleep = sleep
        self.when_over: list[Callable[[str], None]] = []
        """Called once, with the reason."""
        self._heartbeats = wire.new_inbox()
        self._pongs = wire.new_inbox()
        self._listening: list[Subscription] = []
        self._pinging: asyncio.Task[None] | None = None
        self._unanswered = 0

    async def open(self, on_ack: Callable[[Msg], Awaitable[None]]) -> None:
        """Register with the server. After any exception no inbox of the try is left that could answer heartbeats.

        Raises:
            ClientIdTaken: a living client has our id. NotStreaming: NATS runs, but no NATS Streaming of this cluster
            id. RefusedByServer, ServerUnreachable, InvalidName: as their docstrings say.
        """
        if CLIENT_ID.fullmatch(self.client_id) is None:
            raise InvalidName(f"a client id has letters, digits, - and _ only: not {self.client_id!r}")
        opened = False
        try:
            await self.listen(self._heartbeats, self._answer_heartbeat)
            await self.listen(self._pongs, self._answered_ping)
            await self.listen(self.acks, on_ack)
            await self.wire.flush()  # the server may send to our heartbeat inbox before it answers
            self.subjects = await self._connect()
            opened = True
        finally:
            if not opened:
                self.end("the session was not opened")
                await self.leave()
        if self.subjects.ping_requests:
            self._pinging = asyncio.create_task(self._ping_on(), name="stan pings")

    async def listen(self, subject: str, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe to a subject until the session ends."""
        subscription = await self.wire.listen(subject, arrived)
        self._listening.append(subscription)
        return subscription

    async def unlisten(self, subscription: Subscription) -> None:
        if subscription in self._listening:
            self._listening.remove(subscription)
            await self.wire.unlisten(subscription)

    def end(self, reason: str) -> None:
        """Mark the session as over; the first reason stays. Sends nothing."""
        if self.lost.is_set():
            return
        self.reason = reason
        self.lost.set()
        if self._pinging is not None and self._pinging is not asyncio.current_task():
            self._pinging.cancel()
        for callback in self.when_over:
            callback(reason)

    async def leave(self) -> None:
        """Unsubscribe all inboxes, the heartbeats' first. Where the connection is lost, they are gone with it."""
        while self._listening:
            try:
                await self.wire.unlisten(self._listening.pop(0))
            except ServerUnreachable:
                self._listening.clear()

    async def close(self) -> None:
        """Send a close request, so that the server need not wait for heartbeats to fail, then leave. Durables stay.

        The server handles earlier acks and publishes first. A server that doesn't answer detects the end by its
        heartbeats, which are not answered any more.
        """
        if self.lost.is_set():
            return
        request = encode(CloseRequest(client_id=self.client_id))
        try:
            await self.wire.request(self.subjects.close_requests, request, CLOSE_TIMEOUT_S)
        except ServerUnreachable as error:
            self.end(str(error))
            return
        self.end("the session was closed")
        await self.leave()

    async def _connect(self) -> ConnectResponse:
        request = ConnectRequest(
            client_id=self.client_id,
            heartbeat_inbox=self._heartbeats,
            protocol=PROTOCOL,
            conn_id=self.conn_id,
            ping_interval=PING_EVERY_S,
            ping_max_out=PINGS_UNANSWERED_MAX,
        )
        response = await discover(self.wire, self.cluster_id, encode(request))
        if response.error:
            raise refused(response.error)
        if not (response.pub_prefix and response.sub_requests and response.close_requests):
            raise NotStreaming(f"something other than NATS Streaming answers for the cluster id '{self.cluster_id}'")
        if not response.sub_close_requests:
            raise NotStreaming("this NATS Streaming is too old: it can't close a subscription and keep its durable")
        return response

    async def _answer_heartbeat(self, message: Msg) -> None:
        if message.reply and not self.lost.is_set():
            try:
                await self.wire.send(message.reply, b"")
            except ServerUnreachable as error:
                self.end(str(error))

    async def _ping_on(self) -> None:
        """Send a ping every PING_EVERY_S, whatever interval an older server requested."""
        ping = encode(Ping(conn_id=self.conn_id))
        while True:
            await self.sleep(PING_EVERY_S)
            self._unanswered += 1
            if self._unanswered > PINGS_UNANSWERED_MAX:
                silent_s = PING_EVERY_S * self._unanswered
                self.end(f"NATS Streaming, cluster id '{self.cluster_id}', has not answered a ping for {silent_s} s")
                return
            try:
                await self.wire.send(self.subjects.ping_requests, ping, self._pongs)
            except ServerUnreachable as error:
                self.end(str(error))
                return

    async def _answered_ping(self, message: Msg) -> None:
        if is_no_responders(message):
            return  # NATS, not the server: the ping had no receiver
        try:
            error = decode(PingResponse, message.data).error
        except CodecError:
            return  # another program's answer, not our server's
        if error and refused(error).verdict is ErrorVerdict.SESSION_GONE:
            self.end(str(refused(error)))
        elif not error:
            self._unanswered = 0


async def discover(wire: Wire, cluster_id: str, request: bytes) -> ConnectResponse:
    """Send an empty connect request for a cluster id. It registers nothing, and the server answers it with an error.

    Raises:
        NotStreaming: the subject has no subscriber, or another program answers. ServerUnreachable: no answer.
    """
    try:
        return decode(ConnectResponse, await wire.request(f"{DISCOVER}.{cluster_id}", request, REQUEST_TIMEOUT_S))
    except NoListener:
        raise NotStreaming(
            f"NATS is there, but no NATS Streaming with the cluster id '{cluster_id}': "
            "either the id is another one, or this is plain NATS"
        ) from None
    except CodecError:
        raise NotStreaming(f"something other than NATS Streaming answers for the cluster id '{cluster_id}'") from None
