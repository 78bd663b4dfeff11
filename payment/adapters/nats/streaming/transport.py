"""Events over NATS Streaming: the `EventTransport` of a platform that still has it (`NATS_CLUSTER_ID`).

Owns: the sessions, one after the other, and the durable queue groups of the subjects subscribed to. Must never:
acknowledge by itself, drop an event, unsubscribe a durable, or open a session while inboxes of the last one may still
answer heartbeats. Change together with: `payment.adapters.nats.stan` (the client),
`payment.adapters.nats.streaming.wire` (the connection it uses), and `tests/contract/transport_contract.py` (what every
transport keeps).

A session lives no longer than its connection. On a new connection a new session takes the client id over at once, since
no inbox answers for the old one any more. NATS Streaming has no message ids: an event that is published again after a
lost acknowledgement arrives twice, with the same payment id in it.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial

from payment.adapters.nats.connection import NatsConnection, cancel_all
from payment.adapters.nats.link import INBOX
from payment.adapters.nats.login import NatsLogin
from payment.adapters.nats.stan.client import Client
from payment.adapters.nats.stan.errors import (
    ClientIdTaken,
    ErrorVerdict,
    InvalidName,
    MessageTooLarge,
    NotStreaming,
    RefusedByServer,
    ServerUnreachable,
    SessionLost,
    StanError,
    Unacknowledged,
)
from payment.adapters.nats.stan.messages import MsgProto
from payment.adapters.nats.stan.session import DISCOVER, discover
from payment.adapters.nats.stan.subscription import Durable, Subscription
from payment.adapters.nats.streaming.wire import ConnectionWire
from payment.adapters.nats.transport_health import TransportHealth
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.transport import (
    DeliveryHandler,
    PublishRefused,
    PublishUnanswered,
    TransportListener,
    TransportUnavailable,
)

ACK_WAIT_S = 10
"""Until an unacknowledged event is redelivered, in seconds. An event that can't be written now is handed out again by
this process, so the ack wait is for a lost ack or a dead process. Until the server detects that a process is dead
(minutes, with its own settings) each event for that process waits this long; 10 s is still ten times the duration of a
ledger write.
"""
PERSISTENT_S = 60.0
"""A loss that does not pass by itself (a client id taken, no NATS Streaming) is reported once more after this time, in
seconds.
"""
STOP_GRACE_S = 1.0
"""For the acks of events that are being handled when a member leaves its group, in seconds: unacknowledged ones then go
to another member.
"""
LEAVE_TIMEOUT_S = 0.5
"""How long stopping waits for the server to confirm that an idle member has left, in seconds; after that it goes on in
the background. No event is handed over once stopping has begun.
"""
CHECK_TIMEOUT_S = 10.0
DENIED_CHECK_EVERY_S = 3.0
"""Between two checks for denied acknowledgements, heartbeats and pings, in seconds. They get no other answer."""
DENIED_RECENTLY_S = 30.0
"""How long a denial counts, in seconds. Each of those messages is sent again within it."""
PERMISSIONS = "permissions"
SESSION = "session"
"""A pseudo subject for the session in the transport's health, so that a transport without subjects has a status too."""


class StreamingDelivery:
    """One event of a subscription. `identity` includes the time at which the event was stored: a server that lost its
    data counts from 1 again, and a sequence number alone would then name two events.
    """

    def __init__(self, message: MsgProto, subscription: Subscription, cluster_id: str) -> None:
        self.subject = message.subject
        self.data = message.data
        self.redelivered = subscription.redelivered(message)
        self._message = message
        self._subscription = subscription
        self._cluster_id = cluster_id

    @property
    def identity(self) -> str:
        return f"{self._cluster_id}:{self.subject}:{self._message.sequence}:{self._message.timestamp}"

    async def ack(self) -> None:
        """Acknowledge in the session that delivered the event. Without that session the event is redelivered. Raises
        nothing.
        """
        try:
            await self._subscription.ack(self._message)
        except (ServerUnreachable, SessionLost):
            return  # the port promises no more: an ack that can't be sent means redelivery

    async def retry(self, delay_s: float) -> None:
        """Hand the event over again in `delay_s` seconds, without the server. It comes after the ack wait in any
        case.
        """
        self._subscription.put_back(self._message, delay_s)


class StreamingTransport:
    """Events over NATS Streaming, as `EventTransport` promises them.

    `servers` are URLs as `NATS_URL` holds them, with credentials or without; `login` holds other credentials.
    """

    def __init__(
        self,
        servers: list[str],
        cluster_id: str,
        client_id: str,
        queue_group: str,
        ids: Ids,
        clock: Clock,
        ack_wait_s: int = ACK_WAIT_S,
        login: NatsLogin | None = None,
    ) -> None:
        self._new_connection = partial(NatsConnection, servers, client_id, ids, clock, login)
        self._connection = self._new_connection()
        self._wire = ConnectionWire(self._connection)
        self._cluster_id = cluster_id
        self._client_id = client_id
        self._queue_group = queue_group
        self._ids = ids
        self._clock = clock
        self._ack_wait_s = ack_wait_s
        self._client: Client | None = None
        self._reason: str | None = None
        self._subscriptions: set[Subscription] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._closed = False

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        """Connect and deliver for ever. A handler's exception ends it; so does a cancellation."""
        self._stopped = self._closed = False
        self._end_session("the transport was started again")
        health = TransportHealth((*subscriptions, SESSION), listener, self._clock)

        async def work() -> None:
            await self._keep_session(subscriptions, health)

        def lost(reason: str) -> None:
            self._end_session(reason)
            health.lost(reason)

        await self._connection.keep(work, lost)

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Return when the server has stored the event. It has no message ids: a repeated publish is stored twice."""
        client = self._client
        if client is None:
            raise TransportUnavailable(self._reason or self._connection.reason)
        try:
            await client.publish(subject, data)
        except StanError as error:
            raise self._publish_error(error, client.publish_subject(subject)) from error

    def _publish_error(self, error: StanError, subject: str) -> TransportUnavailable:
        """Returns the publish error for a client error: refused, unanswered, or without a session."""
        match error:
            case RefusedByServer() if error.verdict is not ErrorVerdict.SESSION_GONE:
                return PublishRefused(self._describe(error, self._connection))
            case MessageTooLarge() | InvalidName():
                return PublishRefused(str(error))
            case Unacknowledged() if self._connection.denied(subject):
                return PublishRefused(f"NATS{_place(self._connection)}: permission denied for {subject}")
            case Unacknowledged():
                return PublishUnanswered(str(error))
            case _:
                return TransportUnavailable(str(error))

    async def stop_consuming(self) -> None:
        """Hand over no further event. An idle member leaves its groups at once, a busy one with its last ack or after
        STOP_GRACE_S.
        """
        self._stopped = True
        idle = []
        for subscription in tuple(self._subscriptions):
            subscription.stop()
            task = asyncio.create_task(self._leave_group(subscription), name="leave group")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
            if subscription.buffer.settled.is_set():
                idle.append(task)
        if idle:
            await asyncio.wait(idle, timeout=LEAVE_TIMEOUT_S)

    async def close(self) -> None:
        """Close the session and the connection. The durables stay as they are."""
        self._stopped = self._closed = True
        await cancel_all(self._leaving)
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        with contextlib.suppress(TransportUnavailable):  # without a connection there is nothing to flush
            await self._connection.flush()
        await self._connection.close()

    async def check(self) -> str:
        """Connect to NATS over a separate connection and check that NATS Streaming runs. Registers nothing."""
        connection = self._new_connection()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await connection.reach()
                await discover(ConnectionWire(connection), self._cluster_id, b"")
                where = f"{connection.address}, NATS server {connection.server_version}"
                return f"NATS Streaming, cluster id '{self._cluster_id}', at {where}"
        except TimeoutError:
            raise TransportUnavailable(f"NATS: no answer within {CHECK_TIMEOUT_S:g} s") from None
        except StanError as error:
            raise TransportUnavailable(self._describe(error, connection)) from error
        finally:
            await connection.close()

    async def _keep_session(self, subscriptions: Mapping[str, DeliveryHandler], health: TransportHealth) -> None:
        """Open a session over the current connection, serve it until it is lost, and repeat for ever."""
        failures, since = 0, self._clock.monotonic()
        while not self._closed:
            try:
                client = await self._open()
            except StanError as error:
                failures += 1
                self._reason = self._describe(error, self._connection)
                health.lost(self._reason)
                if self._clock.monotonic() - since >= PERSISTENT_S and not isinstance(error, ServerUnreachable):
                    health.persists(self._reason)
                await self._connection.pause(failures)
                continue
            self._client, self._reason = client, None
            await self._serve(client, subscriptions, health)
            self._end_session(client.reason)
            if not self._closed:
                health.lost(client.reason)
            await client.leave()
            failures, since = 1, self._clock.monotonic()
            await self._connection.pause(failures)
        await asyncio.Event().wait()  # closing ends the connection, and with it this

    async def _open(self) -> Client:
        connect = Client.connect(self._wire, self._cluster_id, self._client_id, self._ids.new(), self._clock.sleep)
        return await connect

    def _end_session(self, reason: str) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._reason = reason
            client.end(reason)

    async def _serve(
        self, client: Client, subscriptions: Mapping[str, DeliveryHandler], health: TransportHealth
    ) -> None:
        """Return when the session is lost; raises what a handler raises."""
        health.well(SESSION)
        consuming = [asyncio.ensure_future(self._consume(client, *each, health)) for each in subscriptions.items()]
        pending = {asyncio.ensure_future(self._report_denials_until_lost(client, health)), *consuming}
        tasks = tuple(pending)
        try:
            while not client.lost.is_set():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            await cancel_all(tasks)

    async def _report_denials_until_lost(self, client: Client, health: TransportHealth) -> None:
        """Return when the session is lost. Until then report denied acknowledgements, heartbeats and pings, which
        nothing else shows.
        """
        while not client.lost.is_set():
            denied = self._denied()
            if denied is None:
                health.well(SESSION, PERMISSIONS)
            else:
                health.failed(SESSION, f"NATS{_place(self._connection)}: permission denied for {denied}", PERMISSIONS)
            waits = [
                asyncio.ensure_future(client.lost.wait()),
                asyncio.ensure_future(self._clock.sleep(DENIED_CHECK_EVERY_S)),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()

    def _denied(self) -> str | None:
        found = (self._connection.denied(each, DENIED_RECENTLY_S) for each in (INBOX, DISCOVER))
        return next((each for each in found if each), None)

    async def _consume(self, client: Client, subject: str, handler: DeliveryHandler, health: TransportHealth) -> None:
        failures = 0
        durable = Durable(subject, self._queue_group, self._queue_group, self._ack_wait_s)
        while not (self._stopped or client.lost.is_set()):
            try:
                subscription = await client.subscribe(durable)
            except StanError as error:
                failures += 1
                if isinstance(error, RefusedByServer) and error.verdict is ErrorVerdict.SESSION_GONE:
                    client.end(str(error))
                    return
                health.failed(subject, self._describe(error, self._connection))
                await self._connection.pause(failures)
            else:
                health.well(subject)
                await self._hand_over(subscription, handler)
        health.well(subject)  # the subscription is not used any more

    async def _hand_over(self, subscription: Subscription, handler: DeliveryHandler) -> None:
        if self._stopped:  # stopped while the server was subscribing
            await subscription.close()
            return
        self._subscriptions.add(subscription)
        try:
            while (message := await subscription.next()) is not None:
                await handler(StreamingDelivery(message, subscription, self._cluster_id))
        finally:
            if not self._stopped:
                self._subscriptions.discard(subscription)

    async def _leave_group(self, subscription: Subscription) -> None:
        pending = {
            asyncio.ensure_future(subscription.buffer.settled.wait()),
            asyncio.ensure_future(self._clock.sleep(STOP_GRACE_S)),
        }
        try:
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pending:
                each.cancel()
        await subscription.close()
        self._subscriptions.discard(subscription)

    def _describe(self, error: StanError, connection: NatsConnection) -> str:
        """Returns the error for an operator: the problem, the address, and the setting that may be wrong."""
        match error:
            case ServerUnreachable() | SessionLost():
                return str(error)
            case ClientIdTaken():
                return (
                    f"NATS Streaming{_place(connection)}: another living client has the client id "
                    f"'{self._client_id}'. Stop it, or give this process another NATS_CLIENT_ID "
                    "(each needs its own; where there is DYNO, it is appended)"
                )
            case NotStreaming():
                return f"NATS{_place(connection)}: {error}. The cluster id is set by NATS_CLUSTER_ID"
            case _:
                return f"NATS Streaming{_place(connection)}: {error}"


def _place(connection: NatsConnection) -> str:
    """Returns the connection's address, or an empty text where it has just been lost."""
    try:
        return f" at {connection.address}"
    except TransportUnavailable:
        return ""
