"""The NATS actor, as transcripts: events are delivered, settled and acknowledged; effects are published."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from payment.actors.messages import (
    EffectCompleted,
    EventReceived,
    Handling,
    InvalidEventReceived,
    LedgerMessage,
    NatsMessage,
)
from payment.actors.nats.actor import HANDLE_AGAIN_AFTER_S, REDELIVERY, UNANSWERED_HANG_S, NatsActor
from payment.actors.nats.event_payloads import ORDER_CANCELLED, ORDER_CREATED
from payment.actors.nats.publisher import ASIDE, REFUSED, UNANSWERED
from payment.actors.nats.refusal_log import ALARM_AGAIN_AFTER_S, UNANSWERED_ALARM_AFTER_S
from payment.actors.runtime.mailbox import Mailbox
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, PublishEvent
from payment.core.messages import EventPublished, OrderCancelled
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.transport import FakeBroker, FakeTransport

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
    """The test plays the ledger: it reads the ledger's mailbox and settles."""

    def __init__(self, ledger_limit: int = 1_000) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(self.clock)
        self.mailbox: Mailbox[NatsMessage] = Mailbox("nats", 16_000)
        self.ledger: Mailbox[LedgerMessage] = Mailbox("mongo", ledger_limit)
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

    async def messages(self) -> list[LedgerMessage]:
        await self.clock.settle()
        taken: list[LedgerMessage] = []
        while (message := self.ledger.get_nowait()) is not None:
            taken.append(message)
            await self.clock.settle()
        return taken

    async def arrived(self) -> EventReceived:
        (message,) = await self.messages()
        assert isinstance(message, EventReceived)
        return message

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
    """F08: no acknowledgement leaves before the write is committed."""
    await world.event(cancel())
    message = await world.arrived()
    assert message.message == OrderCancelled("o1", 1)
    assert not message.redelivered
    assert world.unacknowledged() == 1
    message.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_an_event_whose_process_died_before_the_ack_comes_again(world: NatsWorld) -> None:
    """F08: the next process receives it, finds it stale and acknowledges it."""
    await world.event(cancel())
    await world.messages()
    await world.stop()
    await world.start()
    await world.clock.advance(world.broker.ack_wait_s)
    message = await world.arrived()
    assert message.redelivered
    message.settle(Handling.STALE)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_a_redelivery_is_let_pass_while_its_event_is_being_handled(world: NatsWorld) -> None:
    """F29: the ledger gets one message, and settling it acknowledges the event."""
    await world.event(cancel())
    message = await world.arrived()
    await world.clock.advance(world.broker.ack_wait_s + 1)
    assert await world.messages() == []
    message.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_an_event_whose_message_was_lost_is_handled_again(world: NatsWorld) -> None:
    """L4: a crashed ledger may never settle an event; a later redelivery becomes a message again."""
    await world.event(cancel())
    await world.messages()
    await world.clock.advance(HANDLE_AGAIN_AFTER_S + world.broker.ack_wait_s)
    message = await world.arrived()
    message.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 0


async def test_an_event_cut_off_before_the_ledger_had_room_is_not_taken_for_handled() -> None:
    """L4: the connection broke while the handler waited; the ledger has no message, so the redelivery counts."""
    world = await NatsWorld(ledger_limit=1).start()
    await world.event(cancel("1"))
    await world.event(cancel("2"))
    delivery = Delivered(cancel("9"))
    handler = asyncio.create_task(world.actor._received(delivery))
    await world.clock.settle()
    handler.cancel()
    await world.clock.settle()
    assert len(await world.messages()) == 2
    await world.actor._received(delivery)
    assert len(await world.messages()) == 1
    await world.stop()


async def test_an_invalid_event_is_acknowledged_after_it_is_kept_and_holds_up_no_other(world: NatsWorld) -> None:
    """F30: it is kept with its bytes and its error, and later events are handled."""
    for data in (b"\xff not JSON", cancel("1"), b"{}", cancel("2")):
        await world.event(data)
    messages = await world.messages()
    assert [type(each) for each in messages] == [
        InvalidEventReceived,
        EventReceived,
        InvalidEventReceived,
        EventReceived,
    ]
    poison, good, *_ = messages
    assert isinstance(poison, InvalidEventReceived)
    assert isinstance(good, EventReceived)
    assert (poison.data, bool(poison.error)) == (b"\xff not JSON", True)
    good.settle(Handling.APPLIED)
    await world.clock.settle()
    assert world.unacknowledged() == 3
    poison.settle(Handling.DEAD_LETTER)
    await world.clock.settle()
    assert world.unacknowledged() == 2


async def test_a_dead_letter_is_an_alarm_that_names_the_order_where_it_can(world: NatsWorld) -> None:
    """F30: that order can't be paid, or its cancel is lost: an operator finds it by the order's id."""
    await world.event(b'{"id": "o9", "version": "two", "ticket": {"id": "t"}}')
    await world.event(b"\xff not JSON")
    with capture_logs() as logs:
        for poison in await world.messages():
            assert isinstance(poison, InvalidEventReceived)
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


async def test_a_dead_letter_that_can_be_read_has_a_reason(world: NatsWorld) -> None:
    """F41: its order can't be stored."""
    await world.event(cancel())
    message = await world.arrived()
    error = "the order that it makes can't be stored"
    with capture_logs() as logs:
        message.settle(Handling.DEAD_LETTER, error)
        await world.clock.settle()
    (alarm,) = [line for line in logs if line["event"] == "dead_letter_kept"]
    assert (alarm["order_id"], alarm["error"]) == ("o1", error)


async def test_an_event_that_can_not_be_written_now_comes_again_ever_later(world: NatsWorld) -> None:
    """F25: redelivery is requested after 0.5 s, doubling to 5 s; the event is never acknowledged."""
    await world.event(cancel())
    waits = []
    for _ in range(6):
        message = await world.arrived()
        message.settle(Handling.NOT_NOW)
        began = world.clock.monotonic()
        await world.clock.until(lambda: world.ledger.depth == 1)
        waits.append(world.clock.monotonic() - began)
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 5.0, 5.0])
    assert REDELIVERY.pause_s(10_000) == 5.0


async def test_a_full_ledger_is_back_pressure() -> None:
    """F39: each subject delivers no more than fits; waiting for room is no hang; no event is lost."""
    world = await NatsWorld(ledger_limit=2).start()
    for number in range(20):
        await world.event(cancel(str(number)))
    assert (world.ledger.depth, world.unacknowledged()) == (2, 3)
    await world.clock.advance(20)
    assert world.actor.stuck_for_s() <= 0.0
    assert len(await world.messages()) == 20
    await world.stop()


async def test_a_charge_is_published_once_and_reported_to_the_ledger(world: NatsWorld) -> None:
    """F06, F07: with an id of subject and payment, by which the stream drops a repeated publish."""
    await world.ask(paid())
    assert world.transport.published[0][2] == "payment:created:p1"
    assert await world.messages() == [EffectCompleted(paid().id, EventPublished("o1", paid("1").message_id))]
    await world.ask(paid())
    assert len(await world.messages()) == 1
    assert world.sent() == [{"id": "p1", "orderId": "o1", "stripeId": "ch_1"}]


async def test_a_publish_without_an_answer_is_made_again_with_its_id(world: NatsWorld) -> None:
    """F07: it may have been stored; the stream drops the repeat."""
    world.broker.lost_answers = 1
    await world.ask(paid())
    assert await world.messages() == []
    await world.clock.advance(1)
    assert len(await world.messages()) == 1
    assert (len(world.transport.tries), len(world.sent())) == (2, 1)


async def test_a_payment_and_its_refund_both_arrive(world: NatsWorld) -> None:
    """F42: within the stream's window for duplicates."""
    await world.ask(paid(), refunded())
    assert len(await world.messages()) == 2
    assert len(world.sent()) == len(world.sent(PAYMENT_REFUNDED)) == 1


async def test_an_event_that_a_lost_broker_did_not_take_is_published_when_it_is_back(world: NatsWorld) -> None:
    """F28: it is kept, tried at most once a second, and published at once when the connection is back."""
    world.broker.go_away()
    await world.clock.settle()
    await world.ask(*(paid(str(number)) for number in range(500)))
    await world.clock.advance(30.5)
    assert not world.health.is_up(Dependency.NATS)
    assert len(world.transport.tries) <= 64 + 31
    assert world.actor.children < 20
    world.broker.come_back()
    assert len(await world.messages()) == 500
    assert len(world.sent()) == 500
    assert world.health.is_up(Dependency.NATS)


@pytest.mark.parametrize("how", ["refused", "stalled"])
async def test_a_subject_that_is_not_taken_holds_up_no_other(world: NatsWorld, how: str) -> None:
    """One subject is refused, or never answered; the other is published, and both are once the broker takes them."""
    answer = asyncio.Event()
    if how == "refused":
        world.broker.refused[PAYMENT_REFUNDED] = "no stream"
    else:
        world.transport.stalled[PAYMENT_REFUNDED] = answer
    await world.ask(*(refunded(str(number)) for number in range(300)))
    await world.ask(*(paid(str(number)) for number in range(300)))
    assert len(await world.messages()) == 300
    world.broker.refused.clear()
    answer.set()
    await world.clock.advance(1.5)
    assert len(await world.messages()) == 300


async def test_an_effect_that_is_sent_twice_is_in_flight_once(world: NatsWorld) -> None:
    """A restarted ledger sends the effect again; one publish completes both."""
    world.broker.go_away()
    await world.clock.settle()
    await world.ask(paid(), paid(), paid())
    world.broker.come_back()
    assert len(await world.messages()) == 1


async def test_a_publish_that_no_timeout_ends_is_a_hang(world: NatsWorld) -> None:
    """F32: a publish without an answer is one; a full ledger is none."""
    world.transport.stalled[PAYMENT_CREATED] = asyncio.Event()
    await world.ask(paid())
    await world.clock.advance(UNANSWERED_HANG_S + 16)
    assert world.actor.stuck_for_s() == pytest.approx(16)


async def test_a_drain_takes_no_more_events_and_still_acknowledges_and_publishes(world: NatsWorld) -> None:
    """F33: effects in flight end; later events wait at the broker."""
    await world.event(cancel())
    message = await world.arrived()
    await world.actor.drain()
    await world.event(cancel("2"))
    await world.ask(paid())
    message.settle(Handling.APPLIED)
    (reported,) = await world.messages()
    assert isinstance(reported, EffectCompleted)
    assert (world.unacknowledged(), len(world.sent())) == (0, 1)


async def test_each_event_has_one_line(world: NatsWorld) -> None:
    """The event, its outcome and its duration; no payload."""
    structlog.reset_defaults()
    get_logger.cache_clear()
    with capture_logs() as lines:
        await world.event(cancel())
        message = await world.arrived()
        await world.clock.advance(0.25)
        message.settle(Handling.APPLIED)
        await world.event(b"poison")
        (poison,) = await world.messages()
        assert isinstance(poison, InvalidEventReceived)
        poison.settle(Handling.NOT_NOW)
    (line,) = [each for each in lines if each["event"] == "event_received"]
    assert (line["log_level"], line["order_id"], line["outcome"], line["handling_ms"]) == (
        "info",
        "o1",
        "applied",
        250.0,
    )
    assert (line["subject"], line["identity"], line["redelivered"]) == (ORDER_CANCELLED, "order:cancelled:1:1", 0)


def lines_of(lines: list[MutableMapping[str, Any]], event: str) -> list[MutableMapping[str, Any]]:
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    structlog.reset_defaults()
    get_logger.cache_clear()
    with capture_logs() as lines:
        yield lines


class TestRefusedPublishes:
    """F54: the broker works and takes no event of a subject: `/readyz`, the alarm, the tries, and the end."""

    def why(self, world: NatsWorld) -> str:
        return world.health.view().dependencies["nats"].why or ""

    async def test_it_is_shown_after_four_seconds_with_its_reason(
        self, world: NatsWorld, lines: list[MutableMapping[str, Any]]
    ) -> None:
        """F54: not while a stream elects a leader. One alarm with the number of waiting events; its end is logged."""
        world.broker.refused[PAYMENT_CREATED] = "too many channels"
        await world.ask(*(paid(str(number)) for number in range(3)))
        await world.clock.advance(3.5)
        assert (world.health.is_up(Dependency.NATS), lines_of(lines, "publish_refused")) == (True, [])
        await world.clock.advance(1.5)
        assert self.why(world) == "events on payment:created are refused: too many channels"
        (alarm,) = lines_of(lines, "publish_refused")
        assert (alarm["subject"], alarm["reason"], alarm["count"], alarm["alarm"], alarm["log_level"]) == (
            PAYMENT_CREATED,
            "too many channels",
            3,
            True,
            "error",
        )
        world.broker.refused.clear()
        await world.clock.advance(REFUSED.longest_s)
        assert len(world.sent()) == 3
        assert world.health.is_up(Dependency.NATS)
        assert [line["reason"] for line in lines_of(lines, "dependency_lost")] == [
            "events on payment:created are refused: too many channels"
        ]

    async def test_it_is_repeated_rarely_and_a_new_reason_at_once(
        self, world: NatsWorld, lines: list[MutableMapping[str, Any]]
    ) -> None:
        """F54: a line every ten minutes while it lasts, and one for another reason."""
        world.broker.refused[PAYMENT_CREATED] = "full"
        await world.ask(paid())
        await world.clock.advance(ALARM_AGAIN_AFTER_S - 60)
        world.broker.refused[PAYMENT_CREATED] = "sealed"
        await world.clock.advance(50)
        assert [line["reason"] for line in lines_of(lines, "publish_refused")] == ["full", "sealed"]
        world.broker.refused[PAYMENT_CREATED] = "full"
        await world.clock.advance(ALARM_AGAIN_AFTER_S)
        assert [line["reason"] for line in lines_of(lines, "publish_refused")] == ["full", "sealed", "full"]

    async def test_missing_acknowledgements_are_shown_within_ten_seconds(
        self, world: NatsWorld, lines: list[MutableMapping[str, Any]]
    ) -> None:
        """F54: over a connection that works. The alarm comes only after a minute, and tries become rarer."""
        world.broker.lost_answers = 1_000
        await world.ask(paid())
        await world.clock.advance(9)
        assert self.why(world) == "events on payment:created are not acknowledged: no answer"
        assert lines_of(lines, "publish_refused") == []
        await world.clock.advance(UNANSWERED_ALARM_AFTER_S)
        assert len(lines_of(lines, "publish_refused")) == 1
        await world.clock.advance(230)
        assert len(world.transport.tries) <= 6 + 300 / UNANSWERED.longest_s

    async def test_an_event_that_is_refused_alone_is_set_aside(
        self, world: NatsWorld, lines: list[MutableMapping[str, Any]]
    ) -> None:
        """F54: the others of its subject are published without a pause, and the alarm names its order."""
        bad = paid("bad")
        world.broker.refused[bad.message_id] = "message size exceeds maximum allowed"
        await world.ask(bad, *(paid(str(number)) for number in range(100)))
        await world.clock.advance(1.5)
        assert len(world.sent()) == 100
        await world.clock.advance(30)
        for number in range(100, 110):
            await world.ask(paid(str(number)))
        assert len(world.sent()) == 110
        assert "1 of the events on payment:created are refused alone: message size" in self.why(world)
        assert [line["order_id"] for line in lines_of(lines, "publish_refused")] == ["obad"]
        world.broker.refused.clear()
        await world.clock.advance(ASIDE.longest_s)
        assert len(world.sent()) == 111
        assert world.health.is_up(Dependency.NATS)

    async def test_a_lost_connection_is_no_refusal(
        self, world: NatsWorld, lines: list[MutableMapping[str, Any]]
    ) -> None:
        """F28: it has a line of its own, and no alarm."""
        world.broker.go_away("NATS at h:4222: Connection refused")
        await world.ask(paid())
        await world.clock.advance(100)
        assert self.why(world) == "NATS at h:4222: Connection refused"
        assert lines_of(lines, "publish_refused") == []

    async def test_a_server_that_refuses_as_it_goes_is_a_lost_connection(
        self, world: NatsWorld, lines: list[MutableMapping[str, Any]]
    ) -> None:
        """F28: refusals just before a loss do not count: only those that last over a working connection do."""
        world.broker.refused[PAYMENT_CREATED] = "no stream takes it"
        await world.ask(paid())
        world.broker.go_away("the server is shutting down")
        await world.clock.advance(60)
        assert (self.why(world), lines_of(lines, "publish_refused")) == ("the server is shutting down", [])

    async def test_a_subject_stays_degraded_while_the_transport_is_well(self, world: NatsWorld) -> None:
        """F54: a new connection is no evidence that the broker takes a refused subject."""
        world.broker.refused[PAYMENT_CREATED] = "full"
        await world.ask(paid())
        await world.clock.advance(5)
        world.broker.go_away("gone")
        await world.clock.settle()
        world.broker.come_back()
        await world.clock.advance(1)
        assert "events on payment:created are refused: full" in self.why(world)
        assert not world.health.is_up(Dependency.NATS)

    async def test_the_gauge_shows_what_waits(self, world: NatsWorld) -> None:
        """It is 0 from the start, for each subject."""

        def waiting(subject: str) -> float | None:
            return world.metrics.registry.get_sample_value("payment_events_waiting", {"subject": subject})

        assert (waiting(PAYMENT_CREATED), waiting(PAYMENT_REFUNDED)) == (0, 0)
        world.broker.refused[PAYMENT_CREATED] = "full"
        await world.ask(paid("1"), paid("2"))
        assert waiting(PAYMENT_CREATED) == 2
        world.broker.refused.clear()
        await world.clock.advance(2)
        await world.messages()
        assert waiting(PAYMENT_CREATED) == 0


async def test_a_notice_of_the_transport_is_logged(world: NatsWorld, lines: list[MutableMapping[str, Any]]) -> None:
    """An alarm where events were lost, else a line; another reason of an outage is shown and not logged."""
    world.actor.noticed("5 events were removed", alarm=True)
    world.actor.noticed("can't be seen", alarm=False)
    world.actor.disconnected("refused")
    world.actor.reason_changed("wrong password")
    shown = [(line["event"], line["log_level"], line["reason"]) for line in lines]
    assert shown == [
        ("broker_alarm", "error", "5 events were removed"),
        ("broker_notice", "info", "can't be seen"),
        ("dependency_lost", "warning", "refused"),
    ]
    assert world.health.view().dependencies["nats"].why == "wrong password"


class Delivered:
    """A delivery without a broker."""

    subject, identity, redelivered = ORDER_CREATED, "x:1", 0

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def ack(self) -> None:
        return

    async def retry(self, delay_s: float) -> None:
        return
