"""A ledger over a fake store, with real mailboxes that the test reads: what went in, and what came out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from payment.actors.ledger.actor import MongoActor
from payment.actors.ledger.commit import ProcessIdentity
from payment.actors.ledger.decline_limit import DeclineLimit
from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import (
    ChargeOrder,
    ChargeReply,
    EffectCompleted,
    EventReceived,
    GetPayment,
    Handling,
    InvalidEventReceived,
    LedgerMessage,
    NatsMessage,
    PaymentReply,
    StripeMessage,
)
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.mailbox import Mailbox
from payment.core.attempts import payment_id_of
from payment.core.messages import (
    Authentication,
    CardDeclined,
    ChargeFacts,
    ChargeRequested,
    ConfirmUnclear,
    ConfirmWithheld,
    Failure,
    Instrument,
    InstrumentKind,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    Message,
    OrderCancelled,
    OrderCreated,
    RetrieveReason,
)
from payment.core.order import Order
from payment.core.replies import Unavailable
from payment.ops.health import Dependency, Health
from payment.ops.metrics import Metrics
from payment.ports.cards import Handover
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.ids import FakeIds
from tests.support.fakes.store import FakeDatabase, FakeStore

USER = "user-1"
DECLINES_WINDOW_S = 3_600.0
CANT = Authentication()


class Ledger:
    """One process's ledger. `lives` counts its incarnations: `restart` begins the next over the same mailboxes."""

    def __init__(
        self,
        store: FakeStore,
        clock: FakeClock,
        client_id: str = "web-1",
        *,
        stripe_room: int = 100,
        in_flight: type[InFlightEffects] = InFlightEffects,
        declines_limit: int = 0,
    ) -> None:
        self.store, self.clock, self.client_id = store, clock, client_id
        self.mailbox: Mailbox[LedgerMessage] = Mailbox("mongo", 10_000)
        self.stripe: Mailbox[StripeMessage] = Mailbox("stripe", stripe_room)
        self.nats: Mailbox[NatsMessage] = Mailbox("nats", 100)
        self.estimate = PublishedEstimate(QueueEstimate(25.0, 25.0))
        self._in_flight = in_flight
        self.health = Health(clock)
        self.metrics = Metrics()
        self.declines = DeclineLimit(declines_limit, DECLINES_WINDOW_S, clock)
        self.lives = 0
        self.settled: list[tuple[str, Handling]] = []
        self._asked = 0
        self._running: asyncio.Task[None] | None = None

    @property
    def process(self) -> str:
        return f"{self.client_id}#run{self.lives}"

    @property
    def up(self) -> bool:
        return self.health.is_up(Dependency.MONGODB)

    # ------------------------------------------------------------------------------------------------------ lifecycle

    async def start(self) -> "Ledger":
        self.lives += 1
        self.in_flight = self._in_flight(self.process, self.stripe, self.nats, self.estimate)
        identity = ProcessIdentity(self.process, self.client_id, "2026-01-01", "payment-service")
        telemetry = LedgerTelemetry(self.health, self.metrics, self.clock)
        self.actor = MongoActor(
            self.mailbox, self.store, self.in_flight, identity, telemetry, self.clock, FakeIds(), self.declines
        )
        await self.actor.setup()
        self._running = asyncio.create_task(self.actor.run())
        await self.clock.settle()
        return self

    async def end(self) -> BaseException | None:
        """As the supervisor ends an actor, by itself or crashed. Returns what it crashed with."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.wait([self._running])
        crash = None if self._running.cancelled() else self._running.exception()
        await self.actor.close()
        self._running = None
        return crash

    async def restart(self) -> "Ledger":
        await self.end()
        return await self.start()

    @property
    def running(self) -> bool:
        return self._running is not None

    @property
    def crashed(self) -> bool:
        return self._running is not None and self._running.done()

    # ----------------------------------------------------------------------------------------------------- what goes in

    async def send(self, *messages: LedgerMessage) -> None:
        """Put messages into the mailbox, and let the ledger do all it can at this instant."""
        for message in messages:
            assert self.mailbox.offer(message)
        await self.clock.settle()

    def asked(
        self,
        order_id: str = "o1",
        token: str = "tok_1",
        user: str = USER,
        wait_s: float = 20.0,
        authentication: Authentication = CANT,
    ) -> ChargeOrder:
        self._asked += 1
        instrument = Instrument(InstrumentKind.TOKEN, token)
        request = ChargeRequested(order_id, user, instrument, authentication)
        now = self.clock.monotonic()
        answer: asyncio.Future[ChargeReply] = asyncio.get_running_loop().create_future()
        return ChargeOrder(request, now + wait_s, now, f"req-{self._asked}", answer)

    async def ask(self, order_id: str = "o1", token: str = "tok_1", **kwargs: Any) -> ChargeOrder:
        message = self.asked(order_id, token, **kwargs)
        await self.send(message)
        return message

    def view(self, payment_id: str | None = None, *, order_id: str | None = None, user: str = USER) -> GetPayment:
        answer: asyncio.Future[PaymentReply | Unavailable | None] = asyncio.get_running_loop().create_future()
        return GetPayment(user, self.clock.monotonic() + 5.0, answer, payment_id, order_id)

    def arrived(
        self, message: OrderCreated | OrderCancelled, identity: str = "", *, redelivered: int = 0
    ) -> EventReceived:
        subject = "order:created" if isinstance(message, OrderCreated) else "order:cancelled"
        name = identity or f"{subject} {message.order_id}"

        def settled(handling: Handling, error: str | None = None) -> None:
            self.settled.append((name, handling))

        return EventReceived(message, subject, name, b"{}", redelivered, settled)

    def invalid(self, identity: str = "bad:1", data: bytes = b"\xff") -> InvalidEventReceived:
        def settled(handling: Handling, error: str | None = None) -> None:
            self.settled.append((identity, handling))

        return InvalidEventReceived("order:created", identity, data, "not JSON", settled)

    def created(self, order_id: str = "o1", *, days: float = 10, amount: int = 1999) -> OrderCreated:
        return OrderCreated(order_id, 0, USER, self.clock.now() + timedelta(days=days), amount, "usd")

    async def order(self, *order_ids: str) -> None:
        """The platform's orders arrive, and are written."""
        await self.send(*(self.arrived(self.created(order_id)) for order_id in order_ids or ("o1",)))
        self.settled.clear()

    async def cancel(self, order_id: str = "o1") -> None:
        await self.send(self.arrived(OrderCancelled(order_id, 1)))

    async def ended(
        self, effect: Any, message: Message, call_ms: float = 0.0, handover: Handover | None = None
    ) -> None:
        await self.send(EffectCompleted(effect.id, message, call_ms, handover))

    # ---------------------------------------------------------------------------------------------------- what came out

    def to_stripe(self) -> list[Any]:
        """Everything that the Stripe actor would find now, taken out."""
        return _emptied(self.stripe)

    def to_nats(self) -> list[Any]:
        return _emptied(self.nats)

    def one_to_stripe(self) -> Any:
        (item,) = self.to_stripe()
        return item

    def doc(self, order_id: str = "o1") -> Order:
        order = self.store.database.get(order_id)
        assert order is not None
        return order


def payment_of(order_id: str) -> str:
    return payment_id_of("payment-service", order_id)


def charged(order_id: str = "o1", charge_id: str = "ch_1") -> IntentSucceeded:
    return IntentSucceeded(order_id, 1, f"pi_{order_id}", ChargeFacts(charge_id))


def declined(order_id: str = "o1", attempt: int = 1) -> CardDeclined:
    failure = Failure("card_declined", "insufficient_funds", "No.")
    return CardDeclined(order_id, attempt, 1, f"pi_{order_id}", failure)


def unclear(order_id: str = "o1", attempt: int = 1, send: int = 1) -> ConfirmUnclear:
    return ConfirmUnclear(order_id, attempt, send, 1, f"pi_{order_id}")


def withheld(order_id: str = "o1", attempt: int = 1, send: int = 1) -> ConfirmWithheld:
    return ConfirmWithheld(order_id, attempt, send, 1)


def seen(
    order_id: str = "o1",
    status: IntentStatus = IntentStatus.REQUIRES_PAYMENT_METHOD,
    charge_id: str | None = None,
    reason: RetrieveReason = RetrieveReason.RECHECK,
) -> IntentRetrieved:
    """An intent as it is retrieved; with a charge it has succeeded."""
    if charge_id is not None:
        return IntentRetrieved(order_id, 1, f"pi_{order_id}", reason, IntentStatus.SUCCEEDED, ChargeFacts(charge_id))
    return IntentRetrieved(order_id, 1, f"pi_{order_id}", reason, status)


def _emptied(mailbox: Mailbox[Any]) -> list[Any]:
    taken = []
    while (item := mailbox.get_nowait()) is not None:
        taken.append(item)
    return taken


def reply(message: ChargeOrder) -> Any:
    """The reply to a request."""
    assert message.answer.done(), "the request still waits"
    return message.answer.result().reply


def waits(*messages: ChargeOrder) -> bool:
    return not any(message.answer.done() for message in messages)


class World:
    """One database, one clock, and the ledgers of several processes."""

    def __init__(self, clock: FakeClock | None = None, database: FakeDatabase | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = FakeStore(database)
        self.ledgers: list[Ledger] = []

    async def ledger(self, client_id: str = "web-1", *, own_store: bool = False, **kwargs: Any) -> Ledger:
        store = FakeStore(self.store.database) if own_store else self.store
        ledger = Ledger(store, self.clock, client_id, **kwargs)
        self.ledgers.append(ledger)
        return await ledger.start()


@asynccontextmanager
async def world(ends: Sequence[BaseException] = (), database: FakeDatabase | None = None) -> AsyncIterator[World]:
    """Ends what runs at the end, and fails on any crash."""
    made = World(database=database)
    yield made
    made.store.go_on()
    for ledger in made.ledgers:
        ledger.store.go_on()
        if ledger.running:
            crash = await ledger.end()
            assert crash is None, repr(crash)
