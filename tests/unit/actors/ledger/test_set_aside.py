"""An error about one order affects no other (F50): corrupt documents, and unexpected exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import msgspec
import pytest

from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.set_aside import (
    ALARM_AGAIN_AFTER_S,
    DELIVERIES_LIMIT,
    FORGOTTEN_AFTER_S,
    LINES_LIMIT,
    LINES_WITHIN_S,
    POSTPONED_LIMIT,
    REMEMBERED_LIMIT,
    REST_S,
    SetAside,
)
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import ChargeOrder, Handling
from payment.adapters.mongo.documents import CODEC
from payment.core.messages import OrderCancelled
from payment.core.order import FORMAT, Order
from payment.core.replies import PaymentView, Unavailability, Unavailable
from payment.core.schedule import LEASE
from payment.ops.health import Health
from payment.ops.metrics import Metrics
from payment.ports.store import CorruptDocument
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.store import FakeDatabase
from tests.unit.actors.ledger.ledger_world import Ledger, World, charged, payment_of, reply, waits, world

UNREADABLE, FAILED = (
    b'payment_alarms_total{event="document_unreadable"}',
    b'payment_alarms_total{event="order_set_aside"}',
)


@pytest.fixture
async def stack() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def ledger(stack: World) -> Ledger:
    return await stack.ledger()


def unchecked(document: bytes) -> Order:
    """As if what a state implies had been forgotten in the check: whatever decodes is an order."""
    return msgspec.convert(bson.decode(document, codec_options=CODEC), Order, builtin_types=(datetime,))


@pytest.fixture
async def credulous() -> AsyncIterator[World]:
    """A store whose reads check nothing: so deciding raises."""
    async with world(database=FakeDatabase(unchecked)) as made:
        yield made


def reason(message: ChargeOrder) -> Unavailability:
    answer = reply(message)
    assert isinstance(answer, Unavailable)
    return answer.reason


def corrupt(stack: World, order_id: str = "o1", **fields: Any) -> bytes:
    """An operator's edit, by which the revision grows: what is cached is out of date. Returns what stood there."""
    order = stack.store.database.get(order_id)
    assert order is not None
    return stack.store.database.edit(order_id, rev=order.rev + 1, **(fields or {"status": "tok_secret"}))


def corrected(stack: World, before: bytes, order_id: str = "o1") -> None:
    """It is put back, one revision on."""
    stack.store.database.documents[order_id] = before
    order = stack.store.database.get(order_id)
    assert order is not None
    stack.store.database.edit(order_id, rev=order.rev + 2)


def dead_letters(stack: World) -> list[tuple[str, str]]:
    return [(name, message.error) for name, message in stack.store.database.dead_letters.items()]


def count(ledger: Ledger, metric: bytes) -> float:
    lines = [line for line in ledger.metrics.render().splitlines() if line.startswith(metric + b" ")]
    return float(lines[0].split()[-1]) if lines else 0.0


class TestCorruptDocuments:
    async def test_its_requests_get_503_its_events_are_kept_and_others_go_on(
        self, stack: World, ledger: Ledger, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """F50: never 404; logged once with the order and the reason, and without any value of the document."""
        await ledger.order("o1", "o2")
        before = corrupt(stack)
        await ledger.restart()
        asked, other, view = ledger.asked(), ledger.asked("o2"), ledger.view(order_id="o1")
        cancel = ledger.arrived(OrderCancelled("o1", 1), "cancel")
        await ledger.send(asked, cancel, other, view, ledger.arrived(ledger.created("o3"), "o3"))
        assert reason(asked) is Unavailability.CORRUPT_DOCUMENT
        assert view.answer.result() == Unavailable(Unavailability.CORRUPT_DOCUMENT)
        assert waits(other)
        assert sorted(ledger.settled) == [("cancel", Handling.DEAD_LETTER), ("o3", Handling.APPLIED)]
        [(name, error)] = dead_letters(stack)
        assert (name, "`status`" in error or "status" in error, "tok_" in error) == ("cancel", True, False)
        await ledger.ask()
        said = capsys.readouterr().out
        assert said.count("document_unreadable") == 1
        assert "o1" in said
        assert "tok_secret" not in said
        await stack.clock.advance(2)
        assert (count(ledger, UNREADABLE), count(ledger, b"payment_orders_set_aside")) == (1, 1)
        corrected(stack, before)
        assert waits(await ledger.ask())
        await stack.clock.advance(2)
        assert count(ledger, b"payment_orders_set_aside") == 0

    async def test_a_payment_of_a_corrupt_document_is_no_unknown_payment(self, stack: World, ledger: Ledger) -> None:
        """F50: 503 by the payment's id too, where that stands in the document."""
        await ledger.order()
        await ledger.ask()
        before = corrupt(stack, payment__kept=7)
        view, gone = ledger.view(payment_of("o1")), ledger.view("another")
        await ledger.send(view, gone)
        assert view.answer.result() == Unavailable(Unavailability.CORRUPT_DOCUMENT)
        assert gone.answer.result() is None
        corrected(stack, before)
        await stack.clock.advance(2)
        again = ledger.view(payment_of("o1"))
        await ledger.send(again)
        assert isinstance(again.answer.result().view, PaymentView)  # type: ignore[union-attr]
        await stack.clock.advance(2)
        assert count(ledger, b"payment_orders_set_aside") == 0

    async def test_an_outcome_is_found_when_the_order_is_corrected(self, stack: World, ledger: Ledger) -> None:
        """F50: it can't be noted, nothing of it is held, and the stored deadline brings a process to recheck it."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        before = corrupt(stack)
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert len(ledger.in_flight) == 0
        corrected(stack, before)
        await stack.clock.advance(62)
        assert [type(each).__name__ for each in ledger.to_stripe()] == ["RetrieveIntent"]

    async def test_a_request_that_waits_is_answered_at_its_deadline(self, stack: World, ledger: Ledger) -> None:
        """F50: a write was sent for it, so the outcome is unknown; it waits for no document that may never come."""
        await ledger.order()
        message = await ledger.ask(wait_s=5.0)
        corrupt(stack)
        await stack.clock.advance(6)
        assert reason(message) is Unavailability.WRITE_UNKNOWN

    async def test_its_lease_is_not_renewed_each_second(self, stack: World, ledger: Ledger) -> None:
        """F50: nothing can be written for it, and reading it again and again is of no use."""
        await ledger.order()
        await ledger.ask(wait_s=1.0)
        corrupt(stack)
        await stack.clock.advance(50)
        before = stack.store.calls["load"]
        await stack.clock.advance(30)
        assert stack.store.calls["load"] - before <= 2

    async def test_an_event_for_a_newer_release_is_put_off_for_a_while(self, stack: World, ledger: Ledger) -> None:
        """F33, F50: one of its processes may take it; not for ever, and not so many that a subject stands still."""
        await ledger.order()
        corrupt(stack, format=FORMAT + 1)
        cancel = OrderCancelled("o1", 1)
        await ledger.send(
            ledger.arrived(cancel, "early", redelivered=DELIVERIES_LIMIT - 1),
            ledger.arrived(cancel, "late", redelivered=DELIVERIES_LIMIT),
        )
        assert sorted(ledger.settled) == [("early", Handling.NOT_NOW), ("late", Handling.DEAD_LETTER)]
        ledger.settled.clear()
        await ledger.send(*(ledger.arrived(cancel, f"e{number}") for number in range(POSTPONED_LIMIT + 1)))
        put_off = [handling for _, handling in ledger.settled].count(Handling.NOT_NOW)
        assert put_off == POSTPONED_LIMIT - 1, "one is away already"
        await stack.clock.advance(FORGOTTEN_AFTER_S)
        ledger.settled.clear()
        await ledger.send(ledger.arrived(cancel, "after"))
        assert ledger.settled == [("after", Handling.NOT_NOW)]

    async def test_very_many_events_for_them_stop_no_other_order(self, stack: World, ledger: Ledger) -> None:
        """F50: 1,200 of them, for as many orders; each becomes a dead letter, and the order behind them pays."""
        ids = [f"bad{number}" for number in range(1_200)]
        await ledger.order("good")
        for order_id in ids:
            stack.store.database.documents[order_id] = bson.encode({"_id": order_id, "rev": 1, "status": "perhaps"})
        await ledger.send(*(ledger.arrived(OrderCancelled(order_id, 1), order_id) for order_id in ids))
        await ledger.send(ledger.arrived(ledger.created("bad0"), "created again"))
        await stack.clock.advance(1)
        assert {handling for _, handling in ledger.settled} == {Handling.DEAD_LETTER}
        assert len(stack.store.database.dead_letters) == 1_201
        assert waits(await ledger.ask("good"))

    async def test_one_that_is_corrected_or_deleted_is_counted_no_more_though_nothing_meets_it(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F50: the gauge is true of the database; one that stays corrupt stays counted, and is an alarm each hour."""
        await ledger.order("o1", "o2", "o3")
        before = corrupt(stack, "o1")
        for order_id in ("o2", "o3"):
            corrupt(stack, order_id)
        await ledger.restart()
        await ledger.send(*(ledger.asked(order_id) for order_id in ("o1", "o2", "o3")))
        await stack.clock.advance(2)
        assert count(ledger, b"payment_orders_set_aside") == 3
        corrected(stack, before)
        del stack.store.database.documents["o2"]
        await stack.clock.advance(REST_S + 2)
        assert count(ledger, b"payment_orders_set_aside") == 1
        await stack.clock.advance(ALARM_AGAIN_AFTER_S + 2)
        assert count(ledger, b"payment_orders_set_aside") == 1
        assert count(ledger, UNREADABLE) == 4

    async def test_it_is_read_again_only_while_the_store_is_there(self, stack: World, ledger: Ledger) -> None:
        """F25: an outage neither clears it nor is made worse by it."""
        await ledger.order()
        corrupt(stack)
        await ledger.restart()
        await ledger.send(ledger.asked())
        stack.store.away = "gone"
        await stack.clock.advance(REST_S + 10)
        assert count(ledger, b"payment_orders_set_aside") == 1
        stack.store.away = None
        await stack.clock.advance(REST_S + 10)
        assert count(ledger, b"payment_orders_set_aside") == 1

    async def test_due_ones_hide_no_order(self, stack: World, ledger: Ledger) -> None:
        """F50: 600 of them, all due earlier than the order."""
        await ledger.order("good")
        await ledger.ask("good", wait_s=1.0)
        await ledger.end()
        for number in range(600):
            document = {"_id": f"bad{number}", "rev": 1, "status": "perhaps", "due": stack.clock.now()}
            stack.store.database.documents[f"bad{number}"] = bson.encode(document)
        other = await stack.ledger("web-2")
        await stack.clock.advance(63)
        assert [each.order_id for each in other.to_stripe()] == ["good"]

    async def test_a_deadline_that_was_edited_away_is_written_again(self, stack: World, ledger: Ledger) -> None:
        """F50: by the next message for its order, whatever that is; and one that is there for nothing goes."""
        await ledger.order("o1", "o2")
        await ledger.ask("o1", wait_s=1.0)
        due = ledger.doc("o1").due
        await ledger.end()
        corrupt(stack, "o1", due=None)
        corrupt(stack, "o2", due=datetime(1970, 1, 1, tzinfo=UTC))
        other = await stack.ledger("web-2")
        await stack.clock.advance(2)
        assert ledger.doc("o2").due is None
        await other.send(other.arrived(other.created("o1"), "again"))
        assert ledger.doc("o1").due == due


class TestExceptions:
    async def test_one_order_s_bug_spoils_no_other_s(
        self, credulous: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """F50: in one commit; named, with its traceback, once; a request gets 503; the actor lives."""
        ledger = await credulous.ledger()
        await ledger.order("o1", "o2")
        await ledger.ask("o1")
        corrupt(credulous, payment__kept=7)
        await ledger.restart()
        bad, good, again = ledger.asked("o1", "tok_2"), ledger.asked("o2"), ledger.asked("o1", "tok_3")
        await ledger.send(bad, good, again)
        assert (reason(bad), reason(again)) == (Unavailability.SET_ASIDE, Unavailability.SET_ASIDE)
        assert waits(good)
        assert not ledger.crashed
        said = capsys.readouterr().out
        assert said.count("order_set_aside") == 1
        assert "IndexError" in said
        await credulous.clock.advance(2)
        assert count(ledger, FAILED) == 1

    async def test_its_event_is_put_off_and_then_kept(self, credulous: World) -> None:
        """F50: a process of another release may lack the bug; else it is a dead letter, whole."""
        ledger = await credulous.ledger()
        await ledger.order("o1")
        await ledger.ask("o1", wait_s=1.0)
        corrupt(credulous, payment__intent__task__kind="create", expiresAt=None)
        await ledger.restart()
        cancel = OrderCancelled("o1", 1)
        await ledger.send(ledger.arrived(cancel, "early"), ledger.arrived(cancel, "late", redelivered=DELIVERIES_LIMIT))
        assert sorted(ledger.settled) == [("early", Handling.NOT_NOW), ("late", Handling.DEAD_LETTER)]
        [(name, error)] = dead_letters(credulous)
        assert (name, "Error" in error) == ("late", True)

    async def test_a_sweep_takes_it_up_once_a_minute(self, credulous: World) -> None:
        """F50: not each second, and it is back by itself when all is well."""
        ledger = await credulous.ledger()
        await ledger.order("o1")
        await ledger.ask("o1", wait_s=1.0)
        await ledger.end()
        now = credulous.clock.now()
        task = {"kind": "watch", "due": now, "issued": now}
        before = corrupt(credulous, due=now, payment__attempts__0__state="refunded", payment__attempts__0__task=task)
        other = await credulous.ledger("web-2")
        await credulous.clock.advance(3)
        loads = credulous.store.calls["load"]
        await credulous.clock.advance(REST_S - 10)
        assert credulous.store.calls["load"] == loads
        corrected(credulous, before)
        await credulous.clock.advance(LEASE.total_seconds() + 3)
        assert [type(each).__name__ for each in other.to_stripe()] == ["RetrieveIntent"]

    async def test_a_view_that_can_not_be_made_is_one_request_s(self, credulous: World) -> None:
        """F50: the other requests of the same read are answered."""
        ledger = await credulous.ledger()
        await ledger.order("o1", "o2")
        await ledger.ask("o1")
        await ledger.ask("o2")
        corrupt(credulous, payment__kept=7)
        bad, good = ledger.view(order_id="o1"), ledger.view(order_id="o2")
        await ledger.send(bad, good)
        assert bad.answer.result() == Unavailable(Unavailability.SET_ASIDE)
        assert not isinstance(good.answer.result(), Unavailable)

    async def test_requests_that_wait_for_it_are_answered(self, credulous: World) -> None:
        """F50: a read for an overdue request raises: that request's outcome is unknown, and others' is not."""
        ledger = await credulous.ledger()
        await ledger.order("o1", "o2")
        bad, good = await ledger.ask("o1", wait_s=5.0), await ledger.ask("o2", wait_s=5.0)
        corrupt(credulous, payment__attempts=[], payment__kept=7)
        await credulous.clock.advance(6)
        assert reason(bad) is Unavailability.WRITE_UNKNOWN
        assert not isinstance(reply(good), Unavailable)
        assert not ledger.crashed


class BrokenHands(InFlightEffects):
    """Can release nothing of one order."""

    def release(self, order: Order) -> bool:
        if order.id == "bad":
            raise RuntimeError("it can't be released")
        return super().release(order)


class TestReleasing:
    async def test_a_failed_release_keeps_no_reply_back(self, stack: World) -> None:
        """F50: its document is confirmed, so its events are settled; the others of the commit are released."""
        ledger = await stack.ledger(in_flight=BrokenHands)
        await ledger.send(ledger.arrived(ledger.created("bad"), "bad"), ledger.arrived(ledger.created("o2"), "o2"))
        assert sorted(ledger.settled) == [("bad", Handling.APPLIED), ("o2", Handling.APPLIED)]
        bad, good = ledger.asked("bad"), ledger.asked("o2")
        await ledger.send(bad, good)
        assert [each.order_id for each in ledger.to_stripe()] == ["o2"]
        assert waits(bad, good)
        assert not ledger.crashed
        assert count(ledger, FAILED) == 1

    async def test_an_effect_that_was_forfeited_is_never_released_as_if_it_had_not_been(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F41, F50: a day later too, when its order is written: it was sent, so its intent is retrieved first."""
        await ledger.order()
        await ledger.ask(wait_s=1.0)
        charge = ledger.one_to_stripe()
        ledger.in_flight.forfeit("o1", charge.id)
        list(ledger.in_flight.renewals(stack.clock.now() + timedelta(days=1)))
        ledger.in_flight.release(ledger.doc())
        assert ledger.to_stripe() == []


class TestAlarms:
    """How often they are logged."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def metrics(self) -> Metrics:
        return Metrics()

    @pytest.fixture
    def aside(self, clock: FakeClock, metrics: Metrics) -> SetAside:
        return SetAside(LedgerTelemetry(Health(clock), metrics, clock), clock)

    def said(self, metrics: Metrics) -> float:
        lines = [line for line in metrics.render().splitlines() if line.startswith(UNREADABLE)]
        return float(lines[0].split()[-1]) if lines else 0.0

    async def test_an_order_is_an_alarm_once_and_again_after_an_hour(
        self, clock: FakeClock, metrics: Metrics, aside: SetAside
    ) -> None:
        """F50: also where it was well in between: an alarm that repeats each minute is none."""
        document = CorruptDocument("o1", "reason")
        aside.corrupt(document)
        aside.well("o1")
        aside.corrupt(document)
        assert (self.said(metrics), len(aside)) == (1, 1)
        for _ in range(2):
            await clock.advance(ALARM_AGAIN_AFTER_S / 2)
            aside.forget()
            aside.corrupt(document)
        assert self.said(metrics) == 2
        await clock.advance(ALARM_AGAIN_AFTER_S)
        aside.forget()
        assert len(aside) == 0

    async def test_a_disaster_floods_no_log_and_takes_no_memory_without_a_bound(
        self, clock: FakeClock, metrics: Metrics, aside: SetAside
    ) -> None:
        """F39, F50: an alarm that is not logged for this reason is logged when the order is met again."""
        for _ in range(2):
            for number in range(LINES_LIMIT + 10):
                aside.corrupt(CorruptDocument(f"o{number}", "reason"))
        assert self.said(metrics) == LINES_LIMIT
        await clock.advance(LINES_WITHIN_S)
        for number in range(LINES_LIMIT + 10):
            aside.corrupt(CorruptDocument(f"o{number}", "reason"))
        assert self.said(metrics) == LINES_LIMIT + 10
        for number in range(REMEMBERED_LIMIT + 10):
            aside.corrupt(CorruptDocument(f"p{number}", "reason"))
        assert len(aside) == REMEMBERED_LIMIT

    async def test_a_failed_one_rests_and_a_corrected_one_does_not(self, clock: FakeClock, aside: SetAside) -> None:
        """F50: an exception comes again each time it is taken up; a document is well as soon as it is corrected."""
        aside.corrupt(CorruptDocument("corrupt", "reason"))
        aside.failed("failed", RuntimeError())
        assert [aside.rests(name) for name in ("corrupt", "failed", "other")] == [True, True, False]
        assert [aside.failed_lately(name) for name in ("corrupt", "failed", "other")] == [False, True, False]
        aside.legible("failed")
        aside.legible("corrupt")
        assert [aside.rests(name) for name in ("corrupt", "failed")] == [False, True]
        await clock.advance(REST_S)
        assert not aside.rests("failed")
