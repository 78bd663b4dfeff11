"""The NATS actor: receives the platform's events and publishes ours, over the transport that the settings name.

Its mailbox takes, from the ledger:

    PublishEvent    ended by exactly one EffectCompleted to the ledger, once the broker has stored the event

It owns the transport. It parses each event once, into a message for the ledger; after the ledger has settled the event
it is acknowledged. It must never acknowledge an event that the ledger has not settled, nor drop an event that could not
be published: that one stays in flight until the broker stores it, or until the service stops and a later process
publishes it at its stored `due`.
"""

import asyncio

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
from payment.actors.runtime.work_queue import WorkQueue
from payment.backoff import Backoff
from payment.core.effects import OUTGOING_SUBJECTS, PublishEvent
from payment.core.messages import EventPublished
from payment.ops.health import Dependency, Health
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ports.clock import Clock
from payment.ports.transport import Delivery, EventTransport, PublishRefused, PublishUnanswered, TransportUnavailable

REDELIVERY = Backoff(first_s=0.5, longest_s=5.0)
"""Before an event that can't be written now comes again (contract), by how often it has come."""

HANDLE_AGAIN_AFTER_S = 60.0
"""A redelivery is ignored while its event is being handled, but not for longer than this: a ledger that crashed may
have lost the message, and would never settle it. Longer than a write with its retries; handling an event twice is
harmless (F29)."""

UNANSWERED_HANG_S = 30.0
"""A publish ends after 5 s in every transport, and an acknowledgement is only written. One that takes longer hangs."""

REFUSALS_CHECK_EVERY_S = 1.0
"""Between checks whether a refusal has lasted long enough to be reported. Without a refusal there is no check."""


class NatsActor(Actor[NatsMessage]):
    """Consumes the platform's two subjects and publishes on ours."""

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
        self._any_refused = asyncio.Event()
        self._disconnected_reason: str | None = "NATS: not connected yet"
        """Why the transport is not connected; None where it is."""
        self._shown_reason = ""
        self._settled: WorkQueue[tuple[Delivery, Handling]] = WorkQueue()
        self._acknowledging_since: float | None = None
        self._in_progress: dict[str, float] = {}
        """Events that the ledger has, by identity, with the monotonic second of their delivery, oldest first."""

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        subscriptions = {ORDER_CREATED: self._received, ORDER_CANCELLED: self._received}
        self.spawn(self._transport.run(subscriptions, self), name="transport")
        for subject, outgoing in self._outgoing.items():
            self.spawn(self._publish_all(outgoing), name=f"publish {subject}")
        self.spawn(self._acknowledge_all(), name="acknowledge")
        self.spawn(self._check_refusals(), name="refusals")
        for subject in self._outgoing:
            self._metrics.events_waiting(subject).set(0)

    async def drain(self) -> None:
        """Consume no more events. Events are still published until teardown."""
        await self._transport.stop_consuming()

    async def teardown(self) -> None:
        await self._transport.close()

    def stuck_for_s(self) -> float:
        """Returns how long `receive`, a publish or an acknowledgement has hung (F32), in seconds.

        Waiting for room in the ledger's mailbox does not count: that is the back pressure.
        """
        ages_s = [outgoing.oldest_s for outgoing in self._outgoing.values()]
        if self._acknowledging_since is not None:
            ages_s.append(self.clock.monotonic() - self._acknowledging_since)
        return max(super().stuck_for_s(), max(ages_s) - UNANSWERED_HANG_S)

    # --------------------------------------------------------------------------------------------------- the connection

    def connected(self) -> None:
        self._disconnected_reason = None
        self._refusals.connection_back()
        for outgoing in self._outgoing.values():
            outgoing.connection_back()
        self._show()

    def disconnected(self, reason: str) -> None:
        self._disconnected_reason = reason
        self._show(log_again=True)

    def reason_changed(self, reason: str) -> None:
        self._disconnected_reason = reason
        self._show()

    def noticed(self, text: str, *, alarm: bool) -> None:
        if alarm:
            self._metrics.alarms(Event.BROKER_ALARM).inc()
            get_logger().error(Event.BROKER_ALARM, alarm=True, reason=text)
        else:
            get_logger().info(Event.BROKER_NOTICE, reason=text)

    def _show(self, *, log_again: bool = False) -> None:
        """NATS is up where the transport is connected and the broker takes our events. `log_again`: log the reason."""
        disconnected = [] if self._disconnected_reason is None else [self._disconnected_reason]
        text = "; ".join([*disconnected, *self._refusals.shown("; ".join(disconnected))])
        if not text:
            self._health.mark_up(Dependency.NATS)
        elif log_again or text != self._shown_reason:
            self._health.mark_down(Dependency.NATS, text, again=log_again)
        self._shown_reason = text

    async def _check_refusals(self) -> None:
        while True:
            await self._any_refused.wait()
            self._any_refused.clear()
            while self._refusals:
                self._refusals.judge({subject: len(each) for subject, each in self._outgoing.items()})
                self._show()
                await self.clock.sleep(REFUSALS_CHECK_EVERY_S)

    # ------------------------------------------------------------------------------------------------------- publishing

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
        self._log_published(effect, self.clock.monotonic() - started)
        await self._ledger.put(EffectCompleted(effect.id, EventPublished(effect.order_id, effect.message_id)))
        outgoing.done(effect)
        self._metrics.events_waiting(effect.subject).set(len(outgoing))

    def _not_taken(self, outgoing: Outgoing, effect: PublishEvent, error: TransportUnavailable, began: float) -> None:
        """Keep the event. Without a connection the transport has reported that; else the broker itself refuses."""
        alone = outgoing.refused(effect, answered=not isinstance(error, PublishUnanswered))
        if isinstance(error, PublishRefused | PublishUnanswered):
            self._refusals.add(effect, error, began, alone=alone)
            self._any_refused.set()
        else:
            self._refusals.interrupted(effect.subject)

    def _log_published(self, effect: PublishEvent, took_s: float) -> None:
        self._metrics.events_published(effect.subject).inc()
        get_logger().info(
            Event.EVENT_PUBLISHED,
            subject=effect.subject,
            order_id=effect.order_id,
            payment_id=effect.payment_id,
            took_ms=round(took_s * 1_000, 1),
        )

    # -------------------------------------------------------------------------------------------------------- consuming

    async def _received(self, delivery: Delivery) -> None:
        """Parse an event once, and wait until the ledger has room for it: that is the back pressure."""
        if self._is_in_progress(delivery.identity):
            return  # the acknowledgement of the first delivery counts for this one too
        self._in_progress[delivery.identity] = self.clock.monotonic()
        try:
            await self._ledger.put(self._message(delivery))
        except asyncio.CancelledError:
            # The connection broke while the mailbox was full: the ledger does not have the event, and the broker will
            # deliver it again.
            self._in_progress.pop(delivery.identity, None)
            raise

    def _is_in_progress(self, identity: str) -> bool:
        """Whether the ledger has this event. One that it has had for too long may be lost, and is forgotten here."""
        long_ago = self.clock.monotonic() - HANDLE_AGAIN_AFTER_S
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
        """The ledger has settled an event: acknowledge it, or request its redelivery."""
        self._in_progress.pop(delivery.identity, None)
        self._settled.add((delivery, handling))
        if handling is Handling.NOT_NOW:
            return  # the outage of the store is logged already, and the broker delivers the event again
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
        """Without its creation an order can't be paid; without its cancel a customer pays for a cancelled order."""
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
            delivery, handling = await self._settled.first()
            self._acknowledging_since = self.clock.monotonic()
            await self._acknowledge(delivery, handling)
            self._acknowledging_since = None
            self._settled.done()

    async def _acknowledge(self, delivery: Delivery, handling: Handling) -> None:
        try:
            if handling is Handling.NOT_NOW:
                await delivery.retry(REDELIVERY.pause_s(1 + delivery.redelivered))
            else:
                await delivery.ack()
        except TransportUnavailable:
            # A lost acknowledgement causes a redelivery, which changes nothing (F08). The transport has reported why.
            return


def _level(handling: Handling) -> int:
    return 30 if handling is Handling.DEAD_LETTER else 20
