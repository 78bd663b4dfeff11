"""The NATS actor: events in, events out, over whatever transport the settings chose.

Its mailbox takes, from the ledger:

    PublishEvent    ended by exactly one EffectCompleted to the ledger, once the broker has stored the event

It owns the transport. An event is parsed here, once, into a message; the ledger settles it, and only then is it
acknowledged. It must never acknowledge what the ledger has not settled, nor drop what could not be published: that
stays in hand until the broker takes it, or the house stops and the stored `due` brings somebody else to it.
"""

import asyncio
from collections import deque

from payment.actors.messages import (
    EffectCompleted,
    EventReceived,
    Handling,
    InvalidEventReceived,
    LedgerMessage,
    NatsMessage,
)
from payment.actors.nats.event_payloads import (
    ORDER_CANCELLED,
    ORDER_CREATED,
    BadEvent,
    event_payload,
    order_id_in,
    parse_event,
)
from payment.actors.nats.publisher import Outgoing
from payment.actors.nats.refusal_log import Refusals
from payment.actors.runtime.actor import Actor
from payment.actors.runtime.mailbox import Mailbox
from payment.core.effects import OUTGOING_SUBJECTS, PublishEvent
from payment.core.messages import EventPublished
from payment.ops.health import Dependency, Health
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ports.clock import Clock
from payment.ports.transport import Delivery, EventTransport, PublishRefused, PublishUnanswered, TransportUnavailable

REDELIVERY_FIRST_S = 0.5
REDELIVERY_LONGEST_S = 5.0
"""Before an event that can't be written now comes again: it doubles from the one to the other (contract)."""

HANDLED_AGAIN_AFTER_S = 60.0
"""A redelivery is let pass while its event is being handled, but not for longer than this: a ledger that died may have
lost the message, and then nobody would ever settle it. Longer than a write with its retries; handling twice is harmless
(F29)."""

SAID_NOTHING_S = 30.0
"""A publish ends after 5 s in every transport, an acknowledgement is only written: what is older has lost its way."""

REFUSALS_LOOK_EVERY_S = 1.0
"""Between looks whether a refusal has lasted long enough to be reported. Without a refusal there are no looks."""


class NatsActor(Actor[NatsMessage]):
    """Consumes the platform's two subjects, publishes ours."""

    def __init__(
        self,
        mailbox: Mailbox[NatsMessage],
        ledger: Mailbox[LedgerMessage],
        transport: EventTransport,
        default_currency: str,
        health: Health,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        super().__init__("nats", mailbox, clock)
        self._ledger = ledger
        self._transport = transport
        self._default_currency = default_currency
        self._health = health
        self._metrics = metrics
        self._outgoing = {subject: Outgoing(clock) for subject in OUTGOING_SUBJECTS}
        self._refusals = Refusals(clock, metrics)
        self._some_refused = asyncio.Event()
        self._away: str | None = "NATS: not connected yet"
        """Why the transport is not well; None where it is."""
        self._shown = ""
        self._settled: deque[tuple[Delivery, Handling]] = deque()
        self._settled_some = asyncio.Event()
        self._acknowledging_since: float | None = None
        self._in_progress: dict[str, float] = {}
        """Since when, in monotonic seconds, by the event's identity: the first is the oldest."""

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        subscriptions = {ORDER_CREATED: self._arrived, ORDER_CANCELLED: self._arrived}
        self.spawn(self._transport.run(subscriptions, self), name="transport")
        for subject, outgoing in self._outgoing.items():
            self.spawn(self._publish_all(outgoing), name=f"publish {subject}")
        self.spawn(self._acknowledge_all(), name="acknowledge")
        self.spawn(self._watch_refusals(), name="refusals")
        for subject in self._outgoing:
            self._metrics.events_waiting(subject).set(0)

    async def drain(self) -> None:
        """Take no more events. What is published meanwhile still goes out until the house is torn down."""
        await self._transport.stop_consuming()

    async def teardown(self) -> None:
        await self._transport.close()

    def stuck_for_s(self) -> float:
        """Not only `receive`: a publish or an acknowledgement that no timeout ends is no sign of life either (F32).

        Waiting for room in the ledger's mailbox is none of these: that is the back pressure.
        """
        ages_s = [outgoing.oldest_s for outgoing in self._outgoing.values()]
        if self._acknowledging_since is not None:
            ages_s.append(self.clock.monotonic() - self._acknowledging_since)
        return max(super().stuck_for_s(), max(ages_s) - SAID_NOTHING_S)

    # --------------------------------------------------------------------------------------------- how the broker is

    def connected(self) -> None:
        self._away = None
        self._refusals.connection_back()
        for outgoing in self._outgoing.values():
            outgoing.connection_back()
        self._show()

    def disconnected(self, reason: str) -> None:
        self._away = reason
        self._show(news=True)

    def reason_changed(self, reason: str) -> None:
        self._away = reason
        self._show()

    def noticed(self, text: str, *, alarm: bool) -> None:
        if alarm:
            self._metrics.alarms(Event.BROKER_ALARM).inc()
            get_logger().error(Event.BROKER_ALARM, alarm=True, reason=text)
        else:
            get_logger().info(Event.BROKER_NOTICE, reason=text)

    def _show(self, *, news: bool = False) -> None:
        """NATS is up where the transport is well and it takes what we publish. `news`: the reason is to be logged."""
        away = [] if self._away is None else [self._away]
        text = "; ".join([*away, *self._refusals.shown("; ".join(away))])
        if not text:
            self._health.mark_up(Dependency.NATS)
        elif news or text != self._shown:
            self._health.mark_down(Dependency.NATS, text, again=news)
        self._shown = text

    async def _watch_refusals(self) -> None:
        while True:
            await self._some_refused.wait()
            self._some_refused.clear()
            while self._refusals:
                self._refusals.judge({subject: len(each) for subject, each in self._outgoing.items()})
                self._show()
                await self.clock.sleep(REFUSALS_LOOK_EVERY_S)

    # ----------------------------------------------------------------------------------------------------- events out

    async def receive(self, item: NatsMessage) -> None:
        outgoing = self._outgoing[item.subject]
        outgoing.add(item)
        self._metrics.events_waiting(item.subject).set(len(outgoing))

    async def _publish_all(self, outgoing: Outgoing) -> None:
        while True:
            effect = await outgoing.next()
            self.spawn(self._publish(outgoing, effect), name="publish")

    async def _publish(self, outgoing: Outgoing, effect: PublishEvent) -> None:
        started = self.clock.monotonic()
        try:
            await self._transport.publish(effect.subject, event_payload(effect), effect.message_id)
        except TransportUnavailable as error:
            self._not_taken(outgoing, effect, error, started)
            return
        outgoing.taken(effect)
        if self._refusals:
            self._refusals.taken(effect)
            self._show()
        self._say_published(effect, self.clock.monotonic() - started)
        await self._ledger.put(EffectCompleted(effect.id, EventPublished(effect.order_id, effect.message_id)))
        outgoing.done(effect)
        self._metrics.events_waiting(effect.subject).set(len(outgoing))

    def _not_taken(self, outgoing: Outgoing, effect: PublishEvent, error: TransportUnavailable, began: float) -> None:
        """It waits. Where there is no connection, the transport has said so; else the broker itself takes no more."""
        alone = outgoing.refused(effect, answered=not isinstance(error, PublishUnanswered))
        if isinstance(error, PublishRefused | PublishUnanswered):
            self._refusals.add(effect, error, began, alone=alone)
            self._some_refused.set()
        else:
            self._refusals.interrupted(effect.subject)

    def _say_published(self, effect: PublishEvent, took_s: float) -> None:
        self._metrics.events_published(effect.subject).inc()
        get_logger().info(
            Event.EVENT_PUBLISHED,
            subject=effect.subject,
            order_id=effect.order_id,
            payment_id=effect.payment_id,
            took_ms=round(took_s * 1_000, 1),
        )

    # ------------------------------------------------------------------------------------------------------ events in

    async def _arrived(self, delivery: Delivery) -> None:
        """Parse an event, once, and wait until the ledger has room for it: that is the back pressure."""
        if self._is_in_progress(delivery.identity):
            return  # redelivered while it is being handled: the acknowledgement of the first delivery counts for both
        self._in_progress[delivery.identity] = self.clock.monotonic()
        try:
            await self._ledger.put(self._message(delivery))
        except asyncio.CancelledError:
            # The connection broke while there was no room: the ledger has not got it, and it will come again.
            self._in_progress.pop(delivery.identity, None)
            raise

    def _is_in_progress(self, identity: str) -> bool:
        """Whether the ledger has this event; what it has had for too long is forgotten, for it may be lost."""
        long_ago = self.clock.monotonic() - HANDLED_AGAIN_AFTER_S
        while self._in_progress and (oldest := next(iter(self._in_progress.items())))[1] <= long_ago:
            del self._in_progress[oldest[0]]
        return identity in self._in_progress

    def _message(self, delivery: Delivery) -> EventReceived | InvalidEventReceived:
        started = self.clock.monotonic()
        try:
            message = parse_event(delivery.subject, delivery.data, self._default_currency)
        except BadEvent as error:
            reason, order_id = str(error), order_id_in(delivery.data)

            def invalid_settled(handling: Handling, error: str | None = None) -> None:
                self._settle(delivery, handling, started, order_id, reason)

            return InvalidEventReceived(delivery.subject, delivery.identity, delivery.data, reason, invalid_settled)

        def settled(handling: Handling, error: str | None = None) -> None:
            self._settle(delivery, handling, started, message.order_id, error)

        subject, identity, data = delivery.subject, delivery.identity, delivery.data
        return EventReceived(message, subject, identity, data, delivery.redelivered, settled)

    def _settle(
        self, delivery: Delivery, handling: Handling, started: float, order_id: str | None, error: str | None
    ) -> None:
        """The ledger is done with an event: acknowledge it, or ask for it again later."""
        self._in_progress.pop(delivery.identity, None)
        self._settled.append((delivery, handling))
        self._settled_some.set()
        if handling is Handling.NOT_NOW:
            return  # the loss of the store has been said, and the event comes again
        self._metrics.events_received(delivery.subject, handling.value).inc()
        if handling is Handling.DEAD_LETTER:
            self._alarm_dead_letter(delivery, order_id, error)
        get_logger().log(
            _level(handling),
            Event.EVENT_RECEIVED,
            subject=delivery.subject,
            identity=delivery.identity,
            order_id=order_id,
            outcome=handling.value,
            error=error,
            redelivered=delivery.redelivered,
            handling_ms=round((self.clock.monotonic() - started) * 1_000, 1),
        )

    def _alarm_dead_letter(self, delivery: Delivery, order_id: str | None, error: str | None) -> None:
        """An order that never comes can't be paid, and a cancel that never comes is a customer who pays for nothing."""
        self._metrics.dead_letters(delivery.subject).inc()
        self._metrics.alarms(Event.DEAD_LETTER_KEPT).inc()
        get_logger().error(
            Event.DEAD_LETTER_KEPT,
            alarm=True,
            subject=delivery.subject,
            identity=delivery.identity,
            order_id=order_id,
            error=error,
        )

    async def _acknowledge_all(self) -> None:
        while True:
            await self._settled_some.wait()
            self._settled_some.clear()
            while self._settled:
                delivery, handling = self._settled.popleft()
                self._acknowledging_since = self.clock.monotonic()
                await self._acknowledge(delivery, handling)
                self._acknowledging_since = None

    async def _acknowledge(self, delivery: Delivery, handling: Handling) -> None:
        try:
            if handling is Handling.NOT_NOW:
                await delivery.retry(redelivery_delay_s(delivery.redelivered))
            else:
                await delivery.ack()
        except TransportUnavailable:
            # A lost acknowledgement means redelivery, which changes nothing (F08). The transport has said why.
            return


def redelivery_delay_s(redelivered: int) -> float:
    """How long an event that can't be written now stays away, by how often it has come before. In seconds."""
    doublings = min(redelivered, 10)
    return min(REDELIVERY_LONGEST_S, REDELIVERY_FIRST_S * 2.0**doublings)


def _level(handling: Handling) -> int:
    return 30 if handling is Handling.DEAD_LETTER else 20
