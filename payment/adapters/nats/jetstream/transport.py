"""Events over NATS JetStream: the `EventTransport` that a platform without NATS Streaming gets.

Owns: which streams and consumers are used, and publishing with `Nats-Msg-Id`. Must never: acknowledge by itself, drop
an event, use a consumer or a stream whose settings lose events, or let one subject's trouble hold up another. Change
together with: `payment.adapters.nats.jetstream.api` (streams and consumers), `payment.adapters.nats.jetstream.pull`
(reading), `payment.adapters.nats.jetstream.checks` (what others change), `payment.adapters.nats.connection` (the
connection), and `tests/contract/transport_contract.py` (what every transport keeps).

A subject counts as well when its consumer has answered a pull, not before: that it is there proves nothing.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from payment.adapters.nats.connection import (
    NatsConnection,
    NoAnswer,
    NoResponders,
    PermissionDenied,
    TooLarge,
    cancel_all,
)
from payment.adapters.nats.jetstream.api import (
    Consumer,
    JetStreamApi,
    JetStreamRefused,
    NotJetStream,
    Streams,
    durable_name,
    parse_answer,
)
from payment.adapters.nats.jetstream.checks import CHECK_EVERY_S, ConsumerCheck, ConsumerProgress, SettingsChecks
from payment.adapters.nats.jetstream.pull import JetStreamDelivery, Pull
from payment.adapters.nats.jetstream.settings import SettingsVerdict
from payment.adapters.nats.login import NatsLogin
from payment.adapters.nats.presence import ABOUT, Presence
from payment.adapters.nats.transport_health import TransportHealth
from payment.core.effects import OUTGOING_SUBJECTS
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.transport import (
    DeliveryHandler,
    PublishRefused,
    PublishUnanswered,
    TransportDegraded,
    TransportListener,
    TransportUnavailable,
)

PUBLISHED_SUBJECTS = OUTGOING_SUBJECTS
ACK_WAIT_S = 8.0
"""Until an event without an acknowledgement comes again. What a killed process had in hand waits for so long, so it is
short; one that is still being handled by then is known by its identity, and not handled twice (F29)."""
PUBLISH_TIMEOUT_S = 5.0
"""A stream that can store an event says so in milliseconds; after this long the event is kept and sent again."""
CHECK_TIMEOUT_S = 10.0
DENIED_RECENTLY_S = 30.0
"""An acknowledgement that was denied counts for so long: each event comes again within it, and is denied anew."""
SETTINGS, CHECK, PROGRESS = "settings", "check", "progress"
ACKNOWLEDGING = "acknowledging"


class Published(Struct, frozen=True):
    """The answer to a publish: where the event is stored."""

    stream: str
    seq: int


class UnfitConsumer(TransportUnavailable):
    """A consumer or stream has settings with which events would be lost: it is not used."""


class JetStreamTransport:
    """Events over JetStream, as `EventTransport` promises them.

    `servers` are URLs as `NATS_URL` holds them, with credentials or without; `login` holds other credentials. `stream`
    is the one to make for subjects that no stream holds. `consumed` are the subjects whose consumers `check` looks at;
    `run` gets its own.
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
        consumed: Sequence[str] = (),
        login: NatsLogin | None = None,
    ) -> None:
        self._new_connection = partial(NatsConnection, servers, client_name, ids, clock, login)
        self._connection = self._new_connection()
        self._api = JetStreamApi(self._connection)
        self._queue_group = queue_group
        self._stream = stream
        self._clock = clock
        self._ack_wait_s = ack_wait_s
        self._consumed = tuple(consumed)
        self._presence = Presence(self._connection, client_name, ids.new(), clock)
        self._unplaced: dict[str, str] = {}
        """Subjects of ours that no stream takes, each with the reason."""
        self._check_now = {subject: asyncio.Event() for subject in PUBLISHED_SUBJECTS}
        self._pulls: set[Pull] = set()
        self._stopped = False

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        """Connect and deliver for ever. A handler's exception ends it; so does a cancellation."""
        self._stopped = False
        subjects = (*subscriptions, *PUBLISHED_SUBJECTS)
        health = TransportHealth(subjects, listener, self._clock)
        streams = Streams(self._api, self._stream, subjects)

        async def work() -> None:
            self._unplaced.clear()
            settings_checks = SettingsChecks(self._api, self._queue_group, self._ack_wait_s)
            consuming = [self._consume(*each, streams, settings_checks, health) for each in subscriptions.items()]
            publishing = [self._keep_placed(each, streams, settings_checks, health) for each in PUBLISHED_SUBJECTS]
            tasks = [asyncio.ensure_future(each) for each in (*consuming, *publishing, self._announce_presence(health))]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                await cancel_all(tasks)

        await self._connection.keep(work, health.lost)

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Return when the stream has stored it; a stream drops the second of two equal ids in its own window."""
        if subject in self._unplaced:
            raise PublishRefused(self._unplaced[subject])
        try:
            answer = await self._connection.request(subject, data, PUBLISH_TIMEOUT_S, {"Nats-Msg-Id": message_id})
            parse_answer(answer.data, Published)
        except TransportUnavailable as error:
            # The stream is full, or nobody, or somebody other than a stream, answers: its stream may be gone.
            if subject in self._check_now:
                self._check_now[subject].set()
            raise _publish_error(error) from error

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
        """Reach a server over a connection of its own; ask whether JetStream is there, and how our objects are set."""
        connection = self._new_connection()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await connection.reach()
                api = JetStreamApi(connection)
                await api.account()
                found = f"JetStream at {connection.address}, server {connection.server_version}"
                verdict = await self._check_settings(api)
        except TimeoutError:
            raise TransportUnavailable(f"NATS: no answer within {CHECK_TIMEOUT_S:g} s") from None
        finally:
            await connection.close()
        if verdict.refused:
            raise TransportUnavailable(f"{found}, but {'; '.join(verdict.refused + verdict.weak)}")
        if verdict.weak:
            raise TransportDegraded(f"{found}, but {'; '.join(verdict.weak)}")
        return found

    async def _check_settings(self, api: JetStreamApi) -> SettingsVerdict:
        """The verdicts on all that is there of ours; what is not there yet will be made."""
        settings_checks = SettingsChecks(api, self._queue_group, self._ack_wait_s)
        verdicts = []
        for subject in self._consumed:
            if (stream := await api.holder(subject)) is not None:
                verdicts.append((await settings_checks.reading(subject, stream)).verdict)
        for subject in PUBLISHED_SUBJECTS:
            if (stream := await api.holder(subject)) is not None:
                verdicts.append(await settings_checks.publishing(subject, stream))
        refused = dict.fromkeys(each for verdict in verdicts for each in verdict.refused)
        weak = dict.fromkeys(each for verdict in verdicts for each in verdict.weak)
        return SettingsVerdict(tuple(refused), tuple(weak))

    async def _announce_presence(self, health: TransportHealth) -> None:
        try:
            await self._presence.announce(health)
        except TransportUnavailable as error:
            health.failed(ABOUT, str(error))  # the connection is breaking, and its end is reported by itself

    # ------------------------------------------------------------------------------------------------------ events in

    async def _consume(
        self,
        subject: str,
        handler: DeliveryHandler,
        streams: Streams,
        settings_checks: SettingsChecks,
        health: TransportHealth,
    ) -> None:
        failures = 0
        while not self._stopped:
            pull: Pull | None = None
            try:
                consumer = await self._consumer(subject, streams, settings_checks, health)
                pull = Pull(consumer, self._connection, partial(health.well, subject))
                await self._run_pull(
                    pull, handler, subject, self._check_while_reading(subject, consumer, settings_checks, health)
                )
            except TransportUnavailable as error:
                failures = 1 if pull is not None and pull.answered else failures + 1
                health.failed(subject, str(error))
                for about in (CHECK, PROGRESS):
                    health.well(subject, about)  # it was about the consumer that has been left
                await self._connection.pause(failures)
        for about in ("", SETTINGS, CHECK, PROGRESS, ACKNOWLEDGING):
            health.well(subject, about)  # nothing more is wanted of it

    async def _run_pull(
        self, pull: Pull, handler: DeliveryHandler, subject: str, looking: Coroutine[Any, Any, None]
    ) -> None:
        async def hand_over(delivery: JetStreamDelivery) -> None:
            if self._stopped:
                await delivery.retry(0)
            elif delivery.subject == subject:
                await handler(delivery)
            else:
                # Of a consumer whose filter takes more than ours: others read these events with consumers of their own.
                await delivery.ack()

        self._pulls.add(pull)
        tasks = [asyncio.ensure_future(pull.run(hand_over)), asyncio.ensure_future(looking)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel_all(tasks)
            self._pulls.discard(pull)
            await pull.stop()

    async def _consumer(
        self, subject: str, streams: Streams, settings_checks: SettingsChecks, health: TransportHealth
    ) -> Consumer:
        """The subject's consumer, found or made, if its settings are fit."""
        stream = await streams.locate(subject)
        name = durable_name(self._queue_group, subject)
        consumer = await self._api.consumer(stream, name, subject, self._ack_wait_s)
        self._judge(subject, (await settings_checks.reading(subject, stream)).verdict, health)
        return consumer

    async def _check_while_reading(
        self, subject: str, consumer: Consumer, settings_checks: SettingsChecks, health: TransportHealth
    ) -> None:
        """Look at a consumer that is being read; raises TransportUnavailable where it has to be left."""
        progress = ConsumerProgress(self._clock)
        progress.note(consumer)
        while True:
            await self._clock.sleep(CHECK_EVERY_S)
            reading = await self._check_until_answered(subject, consumer.stream_name, settings_checks, health)
            now = reading.consumer
            if now is None:
                raise TransportUnavailable(f"its consumer {consumer.name} was deleted")
            self._judge(subject, reading.verdict, health)
            progress.note(now)
            if (removed := progress.removed()) > 0:
                where = f"the stream {now.stream_name}"
                health.noticed(f"{removed} or more {subject} left {where} before they were read", alarm=True)
            _report(health, subject, progress.stuck(), PROGRESS)
            denied = self._connection.denied("$JS.ACK.", DENIED_RECENTLY_S)
            words = "permission denied to acknowledge events ($JS.ACK.>): each comes again and again"
            _report(health, subject, words if denied else None, ACKNOWLEDGING)

    async def _check_until_answered(
        self, subject: str, stream: str, settings_checks: SettingsChecks, health: TransportHealth
    ) -> ConsumerCheck:
        """A look, tried until JetStream answers it. Meanwhile events may come, and its silence is reported."""
        while True:
            try:
                reading = await settings_checks.reading(subject, stream)
            except NoAnswer as error:
                health.failed(subject, str(error), CHECK)
                await self._connection.pause(1)
            else:
                health.well(subject, CHECK)
                return reading

    def _judge(self, subject: str, verdict: SettingsVerdict, health: TransportHealth) -> None:
        """Say what is weak; raises UnfitConsumer for what is refused."""
        if verdict.refused:
            raise UnfitConsumer("; ".join(verdict.refused + verdict.weak))
        _report(health, subject, "; ".join(verdict.weak), SETTINGS)

    # ----------------------------------------------------------------------------------------------------- events out

    async def _keep_placed(
        self, subject: str, streams: Streams, settings_checks: SettingsChecks, health: TransportHealth
    ) -> None:
        """See that a fit stream holds a subject that we publish: at each look, and whenever a publish failed."""
        failures = 0
        while True:
            self._check_now[subject].clear()
            try:
                verdict = await settings_checks.publishing(subject, await streams.locate(subject))
                self._judge(subject, verdict, health)
            except TransportUnavailable as error:
                failures += 1
                if not isinstance(error, NoAnswer):  # then a publish finds out by itself
                    self._unplaced[subject] = str(error)
                health.failed(subject, str(error))
                await self._connection.pause(failures)
                continue
            failures = 0
            self._unplaced.pop(subject, None)
            health.well(subject)
            await self._wait_for_next_check(subject)

    async def _wait_for_next_check(self, subject: str) -> None:
        waits = [
            asyncio.ensure_future(self._check_now[subject].wait()),
            asyncio.ensure_future(self._clock.sleep(CHECK_EVERY_S)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()


def _report(health: TransportHealth, subject: str, words: str | None, about: str) -> None:
    if words:
        health.failed(subject, words, about)
    else:
        health.well(subject, about)


def _publish_error(error: TransportUnavailable) -> TransportUnavailable:
    """What an error of a request says of a publish: refused, unanswered, or without a connection."""
    match error:
        case NoAnswer():
            return PublishUnanswered(str(error))
        case NoResponders():
            return PublishRefused(f"no stream takes it ({error})")
        case JetStreamRefused() | NotJetStream() | PermissionDenied() | TooLarge():
            return PublishRefused(str(error))
        case _:
            return error
