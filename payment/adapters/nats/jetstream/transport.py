"""Events over NATS JetStream: the `EventTransport` that a platform without NATS Streaming gets.

Owns: which streams and consumers are used, and publishing with `Nats-Msg-Id`. Must never: acknowledge by itself, drop
an event, use a consumer or a stream whose settings lose events, or let the trouble of one subject delay another. Change
together with: `payment.adapters.nats.jetstream.api` (streams and consumers), `payment.adapters.nats.jetstream.pull`
(reading), `payment.adapters.nats.jetstream.checks` (changes by other programs), `payment.adapters.nats.connection` (the
connection), and `tests/contract/transport_contract.py` (what every transport keeps).

A subject counts as well once its consumer has answered a pull, not before: that the consumer exists proves nothing.
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
    run_until,
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
"""Until an unacknowledged event is redelivered, in seconds. It is short because the events of a killed process wait
that long; an event that is still being handled by then is recognised by its identity, and not handled twice (F29).
"""
PUBLISH_TIMEOUT_S = 5.0
"""A stream that can store an event confirms it in milliseconds; after this time, in seconds, the event is kept and sent
again.
"""
CHECK_TIMEOUT_S = 10.0
DENIED_RECENTLY_S = 30.0
"""How long a denied acknowledgement is reported, in seconds: within it each event is redelivered, and its
acknowledgement denied again.
"""
SETTINGS, CHECK, PROGRESS = "settings", "check", "progress"
ACKNOWLEDGING = "acknowledging"


class Published(Struct, frozen=True):
    """The answer to a publish: where the event is stored."""

    stream: str
    seq: int


class UnfitConsumer(TransportUnavailable):
    """A consumer or stream has settings that would lose events, so the service does not use it."""


class JetStreamTransport:
    """Events over JetStream, as `EventTransport` promises them.

    `servers` are URLs as `NATS_URL` holds them, with credentials or without; `login` holds other credentials. `stream`
    is the name of the stream to create for subjects that no stream stores. `consumed` are the subjects whose consumers
    `check` checks; `run` gets its subjects as an argument.
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
        """Published subjects that no stream stores, each with the reason."""
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
            await run_until([*consuming, *publishing, self._announce_presence(health)], asyncio.FIRST_EXCEPTION)

        await self._connection.keep(work, health.lost)

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Return when the stream has stored the event. A stream drops the second event with an id within its duplicate
        window.
        """
        if subject in self._unplaced:
            raise PublishRefused(self._unplaced[subject])
        try:
            answer = await self._connection.request(subject, data, PUBLISH_TIMEOUT_S, {"Nats-Msg-Id": message_id})
            parse_answer(answer.data, Published)
        except TransportUnavailable as error:
            # The stream is full, or no stream answers: it may be gone.
            if subject in self._check_now:
                self._check_now[subject].set()
            raise _publish_error(error) from error

    async def stop_consuming(self) -> None:
        """Stop pulling. Events that were fetched and not handed over go back at once, to be delivered to other
        members.
        """
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
        """Connect to a server over a separate connection; check that JetStream is enabled, and the settings of our
        streams and consumers.
        """
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
        """The verdicts on the streams and consumers that exist; missing ones will be created."""
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
                    health.well(subject, about)  # the trouble was the former consumer's
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
                # An event of another subject, from a consumer with a wider filter: other services read it with their
                # own consumers.
                await delivery.ack()

        self._pulls.add(pull)
        try:
            await run_until([pull.run(hand_over), looking], asyncio.FIRST_COMPLETED)
        finally:
            self._pulls.discard(pull)
            await pull.stop()

    async def _consumer(
        self, subject: str, streams: Streams, settings_checks: SettingsChecks, health: TransportHealth
    ) -> Consumer:
        """Returns the subject's consumer, found or created. Raises UnfitConsumer where its settings would lose
        events.
        """
        stream = await streams.locate(subject)
        name = durable_name(self._queue_group, subject)
        consumer = await self._api.consumer(stream, name, subject, self._ack_wait_s)
        self._judge(subject, (await settings_checks.reading(subject, stream)).verdict, health)
        return consumer

    async def _check_while_reading(
        self, subject: str, consumer: Consumer, settings_checks: SettingsChecks, health: TransportHealth
    ) -> None:
        """Check a consumer repeatedly while it is read. Raises TransportUnavailable where it can't be used any more."""
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
            words = "permission denied to acknowledge events ($JS.ACK.>): each is redelivered again and again"
            _report(health, subject, words if denied else None, ACKNOWLEDGING)

    async def _check_until_answered(
        self, subject: str, stream: str, settings_checks: SettingsChecks, health: TransportHealth
    ) -> ConsumerCheck:
        """Repeat a check until JetStream answers it. Meanwhile events may come, and the missing answer is reported."""
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
        """Report weak settings; raises UnfitConsumer for refused ones."""
        if verdict.refused:
            raise UnfitConsumer("; ".join(verdict.refused + verdict.weak))
        _report(health, subject, "; ".join(verdict.weak), SETTINGS)

    # ----------------------------------------------------------------------------------------------------- events out

    async def _keep_placed(
        self, subject: str, streams: Streams, settings_checks: SettingsChecks, health: TransportHealth
    ) -> None:
        """Ensure that a fit stream stores a published subject: at each check, and whenever a publish failed."""
        failures = 0
        while True:
            self._check_now[subject].clear()
            try:
                verdict = await settings_checks.publishing(subject, await streams.locate(subject))
                self._judge(subject, verdict, health)
            except TransportUnavailable as error:
                failures += 1
                if not isinstance(error, NoAnswer):  # where JetStream did not answer, a publish may still pass
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
    """Returns the publish error for a request error: refused, unanswered, or without a connection."""
    match error:
        case NoAnswer():
            return PublishUnanswered(str(error))
        case NoResponders():
            return PublishRefused(f"no stream stores it ({error})")
        case JetStreamRefused() | NotJetStream() | PermissionDenied() | TooLarge():
            return PublishRefused(str(error))
        case _:
            return error
