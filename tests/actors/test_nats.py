"""The NATS actor, as transcripts: what the broker brings, the ledger settles, is acknowledged and is published."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import structlog
from structlog.testing import capture_logs

from payment.actors.letters import (
    UNSTORABLE,
    EffectEnded,
    EventArrived,
    Handling,
    LedgerLetter,
    NatsLetter,
    PoisonArrived,
)
from payment.actors.mailbox import Mailbox
from payment.actors.nats import HANDLED_AGAIN_AFTER_S, SAID_NOTHING_S, NatsActor, redelivery_delay_s
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, PublishEvent
from payment.core.messages import EventPublished, OrderCancelled
from payment.edge.events import ORDER_CANCELLED, ORDER_CREATED
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from tests.fakes.clock import FakeClock
from tests.fakes.transport import FakeBroker, FakeTransport

GROUP = "payment-service"


class CountingTransport(FakeTransport):
    """Counts attempts to publish; `stalled` subjects get no answer until the event is set."""

    def __init__(self, broker: FakeBroker) -> None:
        super().__init__(broker)
        self.tries: list[str] = []
        self.stalled: dict[str, asyncio.Event] = {}

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        self.tries.append(message_id)
        if subject in self.stalled:
            await self.stalled[subject].wait()
        await super().publish(subject, data, message_id)


class NatsWorld:
    """The ledger's end of the mailboxes is in the test's hands."""

    def __init__(self, ledger_limit: int = 1_000) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(self.clock)
        self.mailbox: Mailbox[NatsLetter] = Mailbox("nats", 16_000)
        self.ledger: Mailbox[LedgerLetter] = Mailbox("mongo", ledger_limit)
        self.health = Health(self.clock)
        self.metrics = Metrics()

    async def start(self) -> "NatsWorld":
        self.transport = CountingTransport(self.broker)
        self.actor = NatsActor(self.mailbox, self.ledger, self.transport, "usd", self.health, self.metrics, self.clock)
        await self.actor.setup()
        self._running = asyncio.create_task(self.actor.run())
        await self.clock.settle()
        return self

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        await self.actor.close()
        if not self._running.cancelled():
            self._running.result()

    async def event(self, data: bytes, subject: str = ORDER_CANCELLED) -> None:
        self.broker.put(subject, data)
        await self.clock.settle()

    async def letters(self) -> list[LedgerLetter]:
        await self.clock.settle()
        taken: list[LedgerLetter] = []
        while (letter := self.ledger.get_nowait()) is not None:
            taken.append(letter)
            await self.clock.settle()
        return taken

    async def arrived(self) -> EventArrived:
        (letter,) = await self.letters()
        assert isinstance(letter, EventArrived)
        return letter

    async def ask(self, *effects: PublishEvent) -> None:
        for effect in effects:
            assert self.mailbox.offer(effect)
        await self.clock.settle()

    def unacknowledged(self, subject: str = ORDER_CANCELLED) -> int:
        return self.broker.unacknowledged(GROUP, subject)

    def sent(self, subject: str = PAYMENT_CREATED) -> list[dict[str, str]]:
        return [json.loads(each.data) for each in self.broker.events(subject)]


def cancel(name: str = "1") -> bytes:
    return json.dumps({"id": f"o{name}", "version": 1, "ticket": {"id": "t"}}).encode()


def paid(name: str = "1") -> PublishEvent:
    message_id = f"{PAYMENT_CREATED}:p{name}"
    return PublishEvent(f"o{name}", PAYMENT_CREATED, f"p{name}", f"ch_{name}", None, message_id)


def refunded(name: str = "1") -> PublishEvent:
    message_id = f"{PAYMENT_REFUNDED}:p{name}"
    return PublishEvent(f"o{name}", PAYMENT_REFUNDED, f"p{name}", f"ch_{name}", f"re_{name}", message_id)


@pytest.fixture
async def world() -> AsyncIterator[NatsWorld]:
    world = await NatsWorld().start()
    yield world
    await world.stop()


async def test_an_event_is_acknowledged_only_after_it_is_settled(world: NatsWorld) -> None:
    """F08: nothing leaves the building before it is on paper."""
    await world.event(cancel())
    letter = await world.arrived()
    assert letter.message == OrderCancelled("o1", 1)
    assert not letter.redelivered
    assert world.unacknowledged() == 1
    letter.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_an_event_whose_process_died_before_the_ack_comes_again(world: NatsWorld) -> None:
    """F08: to the next process, which finds it stale and acknowledges it."""
    await world.event(cancel())
    await world.letters()
    await world.stop()
    await world.start()
    await world.clock.advance(world.broker.ack_wait_s)
    letter = await world.arrived()
    assert letter.redelivered
    letter.settle(Handling.STALE)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_a_redelivery_is_let_pass_while_its_event_is_being_handled(world: NatsWorld) -> None:
    """F29: one letter, and its settling acknowledges the event."""
    await world.event(cancel())
    letter = await world.arrived()
    await world.clock.advance(world.broker.ack_wait_s + 1)
    assert await world.letters() == []
    letter.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_an_event_whose_letter_was_lost_is_handled_again(world: NatsWorld) -> None:
    """L4: a ledger that died may never settle it; redelivered later, it is a letter again."""
    await world.event(cancel())
    await world.letters()
    await world.clock.advance(HANDLED_AGAIN_AFTER_S + world.broker.ack_wait_s)
    letter = await world.arrived()
    letter.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_an_event_cut_off_before_the_ledger_had_room_is_not_taken_for_handled() -> None:
    """L4: the connection broke while the handler waited; the ledger never had it, so its redelivery counts."""
    world = await NatsWorld(ledger_limit=1).start()
    await world.event(cancel("1"))
    await world.event(cancel("2"))
    delivery = Delivered(cancel("9"))
    handler = asyncio.create_task(world.actor._arrived(delivery))
    await world.clock.settle()
    handler.cancel()
    await world.clock.settle()
    assert len(await world.letters()) == 2
    await world.actor._arrived(delivery)
    assert len(await world.letters()) == 1
    await world.stop()


async def test_poison_is_acknowledged_after_it_is_kept_and_holds_up_nobody(world: NatsWorld) -> None:
    """F30: whole, as bytes, with its error; those behind it go on."""
    for data in (b"\xff not JSON", cancel("1"), b"{}", cancel("2")):
        await world.event(data)
    letters = await world.letters()
    assert [type(each) for each in letters] == [PoisonArrived, EventArrived, PoisonArrived, EventArrived]
    poison, good, *_ = letters
    assert isinstance(poison, PoisonArrived)
    assert isinstance(good, EventArrived)
    assert (poison.data, bool(poison.error)) == (b"\xff not JSON", True)
    good.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 3
    poison.settle(Handling.DEAD_LETTER)
    await world.clock.settle()
    assert world.unacknowledged() == 2


async def test_a_dead_letter_is_an_alarm_that_names_the_order_where_it_can(world: NatsWorld) -> None:
    """F30: that order can't be paid, or its cancel is lost: the one who is asked finds it by the order's id."""
    await world.event(b'{"id": "o9", "version": "two", "ticket": {"id": "t"}}')
    await world.event(b"\xff not JSON")
    with capture_logs() as logs:
        for poison in await world.letters():
            assert isinstance(poison, PoisonArrived)
            poison.settle(Handling.DEAD_LETTER)
        await world.clock.settle()
    alarms = [line for line in logs if line["event"] == "dead_letter_kept"]
    assert [(line["order_id"], line["subject"], line["alarm"]) for line in alarms] == [
        ("o9", ORDER_CANCELLED, True),
        (None, ORDER_CANCELLED, True),
    ]
    assert alarms[0]["error"].startswith("version must be")
    assert [line["order_id"] for line in logs if line["event"] == "event_received"] == ["o9", None]
    shown = world.metrics.render().decode()
    assert 'payment_alarms_total{event="dead_letter_kept"} 2.0' in shown
    assert 'payment_dead_letters_total{subject="order:cancelled"} 2.0' in shown


async def test_a_dead_letter_that_can_be_read_says_why_it_is_one(world: NatsWorld) -> None:
    """F41: its order can't be stored."""
    await world.event(cancel())
    letter = await world.arrived()
    with capture_logs() as logs:
        letter.settle(Handling.DEAD_LETTER)
        await world.clock.settle()
    (alarm,) = [line for line in logs if line["event"] == "dead_letter_kept"]
    assert (alarm["order_id"], alarm["error"]) == ("o1", UNSTORABLE)


async def test_what_can_not_be_written_now_comes_again_ever_later(world: NatsWorld) -> None:
    """F25: asked for again after 0.5 s, doubling to 5 s; never acknowledged."""
    await world.event(cancel())
    waits = []
    for _ in range(6):
        letter = await world.arrived()
        letter.settle(Handling.NOT_NOW)
        began = world.clock.monotonic()
        await world.clock.until(lambda: world.ledger.depth == 1)
        waits.append(world.clock.monotonic() - began)
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 5.0, 5.0])
    assert redelivery_delay_s(10_000) == 5.0


async def test_a_full_ledger_is_back_pressure() -> None:
    """F39: no more is taken from the broker than fits, each subject by itself; waiting is no hang; nothing is lost."""
    world = await NatsWorld(ledger_limit=2).start()
    for number in range(20):
        await world.event(cancel(str(number)))
    assert (world.ledger.depth, world.unacknowledged()) == (2, 3)
    await world.clock.advance(20)
    assert world.actor.stuck_for_s() <= 0.0
    assert len(await world.letters()) == 20
    await world.stop()


async def test_a_charge_is_announced_once_and_told(world: NatsWorld) -> None:
    """F06, F07: with an id of subject and payment; asked for again, the stream drops it."""
    await world.ask(paid())
    assert world.transport.published[0][2] == "payment:created:p1"
    assert await world.letters() == [EffectEnded(paid().id, EventPublished("o1", paid("1").message_id))]
    await world.ask(paid())
    assert len(await world.letters()) == 1
    assert world.sent() == [{"id": "p1", "orderId": "o1", "stripeId": "ch_1"}]


async def test_a_publish_without_an_answer_is_made_again_with_its_id(world: NatsWorld) -> None:
    """F07: it may have been stored; the stream drops the second."""
    world.broker.lost_answers = 1
    await world.ask(paid())
    assert await world.letters() == []
    await world.clock.advance(1)
    assert len(await world.letters()) == 1
    assert (len(world.transport.tries), len(world.sent())) == (2, 1)


async def test_a_payment_and_its_refund_both_arrive(world: NatsWorld) -> None:
    """F42: within the stream's window for duplicates."""
    await world.ask(paid(), refunded())
    assert len(await world.letters()) == 2
    assert len(world.sent()) == len(world.sent(PAYMENT_REFUNDED)) == 1


async def test_what_a_broker_that_is_away_does_not_take_goes_out_when_it_is_back_at_once(world: NatsWorld) -> None:
    """F28: kept, at no more than one try a second, and nobody waits for a delay to end."""
    world.broker.go_away()
    await world.clock.settle()
    await world.ask(*(paid(str(number)) for number in range(500)))
    await world.clock.advance(30.5)
    assert not world.health.is_up(Dependency.NATS)
    assert len(world.transport.tries) <= 64 + 31
    assert world.actor.children < 20
    world.broker.come_back()
    assert len(await world.letters()) == 500
    assert len(world.sent()) == 500
    assert world.health.is_up(Dependency.NATS)


@pytest.mark.parametrize("how", ["refused", "stalled"])
async def test_a_subject_that_is_not_taken_holds_up_no_other(world: NatsWorld, how: str) -> None:
    """One subject may be refused, or never answered; the other goes on, and so do all once it is taken."""
    answer = asyncio.Event()
    if how == "refused":
        world.broker.refused[PAYMENT_REFUNDED] = "no stream"
    else:
        world.transport.stalled[PAYMENT_REFUNDED] = answer
    await world.ask(*(refunded(str(number)) for number in range(300)))
    await world.ask(*(paid(str(number)) for number in range(300)))
    assert len(await world.letters()) == 300
    world.broker.refused.clear()
    answer.set()
    await world.clock.advance(1.5)
    assert len(await world.letters()) == 300


async def test_an_event_asked_for_twice_is_in_hand_once(world: NatsWorld) -> None:
    """A ledger that was restarted asks again; one end serves for both."""
    world.broker.go_away()
    await world.clock.settle()
    await world.ask(paid(), paid(), paid())
    world.broker.come_back()
    assert len(await world.letters()) == 1


async def test_a_publish_that_no_timeout_ends_is_a_hang(world: NatsWorld) -> None:
    """F32: a publish that was never answered; a full ledger is none."""
    world.transport.stalled[PAYMENT_CREATED] = asyncio.Event()
    await world.ask(paid())
    await world.clock.advance(SAID_NOTHING_S + 16)
    assert world.actor.stuck_for_s() == pytest.approx(16)


async def test_a_drain_takes_no_more_events_and_still_acknowledges_and_publishes(world: NatsWorld) -> None:
    """F33: what is in hand ends; what comes later waits at the broker."""
    await world.event(cancel())
    letter = await world.arrived()
    await world.actor.drain()
    await world.event(cancel("2"))
    await world.ask(paid())
    letter.settle(Handling.APPLIED)
    (told,) = await world.letters()
    assert isinstance(told, EffectEnded)
    assert (world.unacknowledged(), len(world.sent())) == (0, 1)


async def test_each_event_has_one_line(world: NatsWorld) -> None:
    """What came, what became of it, how long it took; no payload."""
    structlog.reset_defaults()
    get_logger.cache_clear()
    with capture_logs() as lines:
        await world.event(cancel())
        letter = await world.arrived()
        await world.clock.advance(0.25)
        letter.settle(Handling.APPLIED)
        await world.event(b"poison")
        (poison,) = await world.letters()
        assert isinstance(poison, PoisonArrived)
        poison.settle(Handling.NOT_NOW)
    (line,) = [each for each in lines if each["event"] == "event_received"]
    assert (line["log_level"], line["order_id"], line["outcome"], line["handling_ms"]) == (
        "info",
        "o1",
        "applied",
        250.0,
    )
    assert (line["subject"], line["identity"], line["redelivered"]) == (ORDER_CANCELLED, "order:cancelled:1:1", 0)


class Delivered:
    """A delivery of no broker."""

    subject, identity, redelivered = ORDER_CREATED, "x:1", 0

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def ack(self) -> None:
        return

    async def retry(self, delay_s: float) -> None:
        return
