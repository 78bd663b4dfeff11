"""Events over NATS JetStream: the `EventTransport` that a platform without NATS Streaming gets.

Owns: the pull consumers of the subjects it subscribes to, and publishing with `Nats-Msg-Id`. Must never: acknowledge
by itself, drop an event, or let one subject's trouble hold up another. Change together with:
`payment.ports.jetstream_api` (streams and consumers), `payment.ports.nats_connection` (the connection), and
`tests/contract/transport_contract.py` (what every transport keeps).

Pulling is done here, on JetStream's own request, rather than with nats-py's `fetch`: that one waits out its whole
time limit after a consumer was deleted, and may hold the events it has until the batch is full or the time is over.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.jetstream_api import (
    NS_PER_S,
    Consumer,
    JetStreamApi,
    Streams,
    durable_name,
    parse_answer,
)
from payment.ports.nats_connection import NatsConnection, cancel_all
from payment.ports.nats_login import NatsLogin
from payment.ports.transport import DeliveryHandler, TransportListener, TransportUnavailable
from payment.ports.transport_health import TransportHealth

PUBLISHED_SUBJECTS = (PAYMENT_CREATED, PAYMENT_REFUNDED)
ACK_WAIT_S = 8.0
"""Until an event without an acknowledgement comes again. What a killed process had in hand waits for so long, so it is
short; one that is still being handled by then is known by its identity, and not handled twice (F29)."""
BATCH_EVENTS = 100
"""Of one pull: what a process may hold without having handed it on; the others of its group go short by no more."""
PULL_EXPIRES_S = 30.0
"""A pull with nothing to bring ends after this long, and the next is asked for."""
HEARTBEAT_S = 2.0
"""The server's sign of life on an idle pull. Three missed mean that the consumer is gone without a word."""
SILENCE_S = 3 * HEARTBEAT_S
PUBLISH_TIMEOUT_S = 5.0
"""A stream that can store an event says so in milliseconds; after this long the event is kept and sent again."""
CHECK_TIMEOUT_S = 10.0

US_PER_S = 1_000_000
HEARTBEAT, NOTHING_THERE, TIME_OVER, CONFLICT = "100", "404", "408", "409"
BATCH_COMPLETED = "Batch Completed"


class Published(Struct, frozen=True):
    """The answer to a publish: where the event is stored."""

    stream: str
    seq: int


class JetStreamDelivery:
    """One event of a pull. `identity` has the time at which it was stored in it: a stream that was deleted and made
    again counts from 1 again, and so does another cluster's; then a number alone would name two events (F30)."""

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
        """Tell the broker, over whatever connection there is now. Without one the event comes again; nothing raises."""
        await self._say(b"+ACK")

    async def retry(self, delay_s: float) -> None:
        """Ask for it again in `delay_s`. Without a connection it comes again after the ack wait; nothing raises."""
        delay = b' {"delay": %d}' % round(delay_s * NS_PER_S) if delay_s > 0 else b""
        await self._say(b"-NAK" + delay)

    async def _say(self, word: bytes) -> None:
        # The port promises no more: what can't be said means redelivery, which changes nothing.
        with contextlib.suppress(TransportUnavailable):
            await self._connection.send(self._reply, word)


class Pull:
    """One consumer's events, asked for batch by batch over one connection."""

    def __init__(self, consumer: Consumer, connection: NatsConnection) -> None:
        limits = consumer.config
        self._batch = min(BATCH_EVENTS, limits.max_batch or BATCH_EVENTS)
        self._expires_s = min(PULL_EXPIRES_S, (limits.max_expires / NS_PER_S) or PULL_EXPIRES_S)
        self._max_bytes = limits.max_bytes
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream_name}.{consumer.name}"
        self._connection = connection
        self._inbox = ""
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()  # never more than one batch, and a heartbeat each 2 s
        self._subscription: Subscription | None = None
        self._stopped = False
        self.answered = False

    async def run(self, hand_over: Callable[[JetStreamDelivery], Awaitable[None]]) -> None:
        """Hand events over, one after the other, until the pull is stopped.

        Raises:
            TransportUnavailable: the consumer is gone, or says nothing any more.
        """
        await self._open()
        while not self._stopped:
            await self._connection.send(self._subject, self._request(), self._inbox)
            await self._work_off(hand_over)

    async def stop(self) -> None:
        """Ask for no more, and give back at once what has arrived but was not handed over."""
        self._stopped = True
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            # A connection that breaks here has nothing left to give back: all comes again after the ack wait.
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
                self.answered = True
                await hand_over(JetStreamDelivery(message, self._connection))
            elif self._is_over(message):
                return

    async def _next(self) -> Msg:
        try:
            async with asyncio.timeout(SILENCE_S):
                return await self._arrived.get()
        except TimeoutError:
            raise TransportUnavailable(f"no sign of life from its consumer for {SILENCE_S:g} s") from None

    def _is_over(self, message: Msg) -> bool:
        """Whether a status ends the pull in peace; raises TransportUnavailable where it ends the consumer."""
        headers = message.headers or {}
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status in (NOTHING_THERE, TIME_OVER) or (status == CONFLICT and text == BATCH_COMPLETED):
            self.answered = True
            return True
        if status in (HEARTBEAT, ""):
            self.answered = True
            return False
        # A 503 has a description of its own making in nats-py: the status alone is the server's.
        raise TransportUnavailable(f"its consumer says {status} {text if status != '503' else 'nobody is there'}")


def is_event(message: Msg) -> bool:
    """Whether it came from a stream. The server's own statuses have no such reply subject, whatever their headers."""
    return message.reply.startswith("$JS.ACK.")


class JetStreamTransport:
    """Events over JetStream, as `EventTransport` promises them.

    `servers` are URLs as `NATS_URL` holds them, with credentials or without; `login` holds other credentials. `stream`
    is the one to make for subjects that no stream holds.
    """

    def __init__(
        self,
        servers: list[str],
        client_name: str,
        queue_group: str,
        stream: str,
        ids: Ids,
        clock: Clock,
        ack_wait_s: float = ACK_WAIT_S,
        login: NatsLogin | None = None,
    ) -> None:
        self._new_connection = partial(NatsConnection, servers, client_name, ids, clock, login)
        self._connection = self._new_connection()
        self._api = JetStreamApi(self._connection)
        self._queue_group = queue_group
        self._stream = stream
        self._clock = clock
        self._ack_wait_s = ack_wait_s
        self._homeless: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._doubted = {subject: asyncio.Event() for subject in PUBLISHED_SUBJECTS}
        self._pulls: set[Pull] = set()
        self._stopped = False

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        """Connect and deliver for ever. A handler's exception ends it; so does a cancellation."""
        self._stopped = False
        subjects = (*subscriptions, *PUBLISHED_SUBJECTS)
        health = TransportHealth(subjects, listener, self._clock)
        streams = Streams(self._api, self._stream, subjects)

        async def work() -> None:
            self._homeless.clear()
            self._refused.clear()
            consuming = [self._consume(each, handler, streams, health) for each, handler in subscriptions.items()]
            publishing = [self._keep_placed(each, streams, health) for each in PUBLISHED_SUBJECTS]
            tasks = [asyncio.ensure_future(each) for each in (*consuming, *publishing)]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                await cancel_all(tasks)

        await self._connection.keep(work, health.lost)

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Return when the stream has stored it; a stream drops the second of two equal ids in its own window."""
        if subject in self._homeless:
            raise TransportUnavailable(self._homeless[subject])
        try:
            answer = await self._connection.request(subject, data, PUBLISH_TIMEOUT_S, {"Nats-Msg-Id": message_id})
            parse_answer(answer.data, Published)
        except TransportUnavailable as error:
            # The stream is full, or nobody, or somebody other than a stream, answers: its stream may be gone.
            if subject in self._doubted:
                self._refused[subject] = str(error)
                self._doubted[subject].set()
            raise
        if self._refused.pop(subject, None) is not None:
            self._doubted[subject].set()

    async def stop_consuming(self) -> None:
        """Pull no more; what was fetched and not handed over goes back at once, to be delivered to others."""
        self._stopped = True
        await asyncio.gather(*(pull.stop() for pull in tuple(self._pulls)))
        with contextlib.suppress(TransportUnavailable):  # without a connection there is nothing to flush
            await self._connection.flush()

    async def close(self) -> None:
        """Flush and close. The durable consumers stay as they are."""
        self._stopped = True
        with contextlib.suppress(TransportUnavailable):  # without a connection there is nothing to flush
            await self._connection.flush()
        await self._connection.close()

    async def check(self) -> str:
        """Reach a server over a connection of its own and ask whether JetStream is there."""
        connection = self._new_connection()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await connection.reach()
                await JetStreamApi(connection).account()
                return f"JetStream at {connection.address}, server {connection.server_version}"
        except TimeoutError:
            raise TransportUnavailable(f"NATS: no answer within {CHECK_TIMEOUT_S:g} s") from None
        finally:
            await connection.close()

    async def _consume(self, subject: str, handler: DeliveryHandler, streams: Streams, health: TransportHealth) -> None:
        failures = 0
        while not self._stopped:
            pull: Pull | None = None
            try:
                pull = Pull(await self._consumer(subject, streams), self._connection)
                health.well(subject)
                await self._run_pull(pull, subject, handler)
            except TransportUnavailable as error:
                failures = 1 if pull is not None and pull.answered else failures + 1
                health.failed(subject, str(error))
                await self._connection.pause(failures)
        health.well(subject)  # nothing more is wanted of it

    async def _run_pull(self, pull: Pull, subject: str, handler: DeliveryHandler) -> None:
        async def hand_over(delivery: JetStreamDelivery) -> None:
            if self._stopped:
                await delivery.retry(0)
            elif delivery.subject == subject:
                await handler(delivery)
            else:
                # A consumer that somebody made by this name without our filter: no event of ours, and no one else's.
                await delivery.ack()

        self._pulls.add(pull)
        try:
            await pull.run(hand_over)
        finally:
            self._pulls.discard(pull)
            await pull.stop()

    async def _consumer(self, subject: str, streams: Streams) -> Consumer:
        name = durable_name(self._queue_group, subject)
        consumer = await self._api.consumer(await streams.locate(subject), name, subject, self._ack_wait_s)
        if consumer.config.deliver_subject:
            raise TransportUnavailable(f"the consumer {name} is a push consumer: only a pull consumer will do")
        return consumer

    async def _keep_placed(self, subject: str, streams: Streams, health: TransportHealth) -> None:
        """See that a stream holds a subject that we publish, now and whenever a publish came to nothing."""
        failures = 0
        while True:
            self._doubted[subject].clear()
            try:
                await streams.locate(subject)
            except TransportUnavailable as error:
                failures += 1
                self._homeless[subject] = str(error)
                health.failed(subject, str(error))
                await self._connection.pause(failures)
                continue
            failures = 0
            self._homeless.pop(subject, None)
            if subject in self._refused:
                # Its stream is there and takes nothing: until it takes something, that is what there is to say.
                health.failed(subject, self._refused[subject])
            else:
                health.well(subject)
            await self._doubted[subject].wait()
