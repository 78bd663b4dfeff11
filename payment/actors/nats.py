"""The NATS actor: events in, events out, over whatever transport the settings chose.

Its mailbox takes, from the ledger:

    PublishEvent    ended by exactly one EffectEnded to the ledger, once the broker has stored the event

It owns the transport. An event is parsed here, once, into a message; the ledger settles it, and only then is it
acknowledged. It must never acknowledge what the ledger has not settled, nor drop what could not be published: that
stays in hand until the broker takes it, or the house stops and the stored `due` brings somebody else to it.
"""

import asyncio
from collections import deque

from payment.actors.actor import Actor
from payment.actors.letters import EffectEnded, EventArrived, Handling, LedgerLetter, NatsLetter, PoisonArrived
from payment.actors.mailbox import Mailbox
from payment.core.effects import PublishEvent
from payment.core.messages import EventPublished
from payment.edge.events import ORDER_CANCELLED, ORDER_CREATED, BadEvent, event_payload, parse_event
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.vocabulary import Event
from payment.ports.clock import Clock
from payment.ports.transport import Delivery, EventTransport, TransportUnavailable

PUBLISHES_UNDER_WAY_LIMIT = 128
"""Publishes without an acknowledgement. More than that only queues at the broker."""

REDELIVERY_FIRST_S = 0.5
REDELIVERY_LONGEST_S = 5.0
"""Before an event that can't be written now comes again: it doubles from the one to the other (contract)."""

REPUBLISH_AFTER_S = 1.0
"""Before an event that the broker did not take is tried again, unless the connection comes back sooner."""


class NatsActor(Actor[NatsLetter]):
    """Consumes the platform's two subjects, publishes our two."""

    def __init__(
        self,
        mailbox: Mailbox[NatsLetter],
        ledger: Mailbox[LedgerLetter],
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
        self._to_publish: deque[PublishEvent] = deque()
        self._publishing = 0
        self._publish_again = asyncio.Event()
        self._settled: deque[tuple[Delivery, Handling]] = deque()
        self._settled_some = asyncio.Event()
        self._in_progress: set[str] = set()

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def setup(self) -> None:
        subscriptions = {ORDER_CREATED: self._arrived, ORDER_CANCELLED: self._arrived}
        self.spawn(self._transport.run(subscriptions, self), name="transport")
        self.spawn(self._publish_all(), name="publish")
        self.spawn(self._acknowledge_all(), name="acknowledge")

    async def drain(self) -> None:
        """Take no more events. What is published meanwhile still goes out until the house is torn down."""
        await self._transport.stop_consuming()

    async def teardown(self) -> None:
        await self._transport.close()

    def connected(self) -> None:
        self._health.mark_up(Dependency.NATS)
        self._publish_again.set()

    def disconnected(self, reason: str) -> None:
        self._health.mark_down(Dependency.NATS, reason)

    # ----------------------------------------------------------------------------------------------------- events out

    async def receive(self, item: NatsLetter) -> None:
        self._to_publish.append(item)
        self._publish_again.set()

    async def _publish_all(self) -> None:
        while True:
            await self._publish_again.wait()
            self._publish_again.clear()
            while self._to_publish and self._publishing < PUBLISHES_UNDER_WAY_LIMIT:
                self._publishing += 1
                self.spawn(self._publish(self._to_publish.popleft()), name="publish")

    async def _publish(self, effect: PublishEvent) -> None:
        started = self.clock.monotonic()
        try:
            await self._transport.publish(effect.subject, event_payload(effect), effect.message_id)
        except TransportUnavailable:
            # The transport has said so, once. What it does not take waits here, whichever subject it is of.
            self._publishing -= 1
            await self.clock.sleep(REPUBLISH_AFTER_S)
            self._to_publish.append(effect)
            self._publish_again.set()
            return
        self._publishing -= 1
        self._publish_again.set()
        self._say_published(effect, self.clock.monotonic() - started)
        await self._ledger.put(EffectEnded(effect.id, EventPublished(effect.order_id, effect.subject)))

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
        if delivery.identity in self._in_progress:
            return  # redelivered while it is being handled: the acknowledgement of the first delivery counts for both
        self._in_progress.add(delivery.identity)
        await self._ledger.put(self._letter(delivery))

    def _letter(self, delivery: Delivery) -> EventArrived | PoisonArrived:
        started = self.clock.monotonic()
        try:
            message = parse_event(delivery.subject, delivery.data, self._default_currency)
        except BadEvent as error:
            reason = str(error)

            def poison_settled(handling: Handling) -> None:
                self._settle(delivery, handling, started, None, reason)

            return PoisonArrived(delivery.subject, delivery.identity, delivery.data, reason, poison_settled)

        def settled(handling: Handling) -> None:
            self._settle(delivery, handling, started, message.order_id, None)

        return EventArrived(message, delivery.subject, delivery.identity, delivery.data, settled)

    def _settle(
        self, delivery: Delivery, handling: Handling, started: float, order_id: str | None, error: str | None
    ) -> None:
        """The ledger is done with an event: acknowledge it, or ask for it again later."""
        self._in_progress.discard(delivery.identity)
        self._settled.append((delivery, handling))
        self._settled_some.set()
        if handling is Handling.NOT_NOW:
            return  # the loss of the store has been said, and the event comes again
        self._metrics.events_received(delivery.subject, handling.value).inc()
        if handling is Handling.DEAD_LETTER:
            self._metrics.dead_letters(delivery.subject).inc()
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

    async def _acknowledge_all(self) -> None:
        while True:
            await self._settled_some.wait()
            self._settled_some.clear()
            while self._settled:
                delivery, handling = self._settled.popleft()
                await self._acknowledge(delivery, handling)

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
