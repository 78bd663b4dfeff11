"""The ledger's log lines and counters, by the difference between two confirmed documents."""

from typing import Any

import pytest

from payment.actors.ledger import telemetry as module
from payment.actors.ledger.telemetry import LINE_EVERY_S, TIMED_CHARGES_LIMIT, LedgerTelemetry
from payment.actors.messages import EffectCompleted
from payment.core.messages import ChargeFacts, IntentSucceeded
from payment.core.order import Order
from payment.ops.health import Dependency, Health
from payment.ops.metrics import Metrics
from payment.ports.store import Committed
from tests.support.fakes.clock import FakeClock
from tests.unit.core.builders import (
    CREATED_IS_OUT,
    ORDER,
    T0,
    B,
    Story,
    action,
    cancelled,
    confirming,
    declined,
    dispute_lost,
    exposed,
    given_back,
    paid,
    refund_blocked,
    refunded,
    refunding,
    refused,
    retrieved_success,
    stands,
    succeeded,
    undone,
    withheld,
)
from tests.unit.ops.capture import Log
from tests.unit.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]


class Bench:
    def __init__(self) -> None:
        self.log = Log("debug")
        self.clock = FakeClock(T0)
        self.health, self.metrics = Health(self.clock), Metrics()
        self.health.mark_up(Dependency.STRIPE)
        self.telemetry = LedgerTelemetry(self.health, self.metrics, self.clock)

    def finished(self, before: Order | None, after: Order | None, *messages: Any, store_ms: float = 2.0) -> None:
        self.telemetry.finished(before, after, messages, store_ms)

    def story(self, story: Story, *messages: Any, call_ms: float = 0.0) -> None:
        """The order as it stands is written; then each message is."""
        for message in messages:
            before = story.doc
            story.decide(message)
            self.finished(before, story.doc, EffectCompleted("effect", message, call_ms))

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log.lines if line["event"] == event]

    def counted(self, metric: str) -> bool:
        return metric.encode() in self.metrics.render()


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestCharges:
    def test_a_charge_that_ends_is_one_line(self, bench: Bench) -> None:
        """Outcome, amount, attempts, and where its time went."""
        story = confirming()
        bench.finished(None, story.doc, store_ms=3.0)
        story.later(milliseconds=500)
        bench.clock.oversleep(0.5)
        bench.story(story, succeeded(), call_ms=320.0)
        (line,) = bench.lines("charge_finished")
        assert (line["outcome"], line["amount"], line["currency"], line["charge_id"]) == ("paid", 1999, "usd", "ch_1")
        assert (line["stripe_ms"], line["mongo_ms"], line["total_ms"]) == (320.0, 5.0, 500.0)
        assert line["waiting_ms"] == 175.0
        assert "tok_1" not in bench.log.text
        assert bench.counted('payment_charges_total{outcome="paid"} 1.0')

    def test_time_that_stripe_was_away_is_stripes(self, bench: Bench) -> None:
        """F10: not that of our own queues; in the line and in the metric."""
        story = confirming()
        bench.finished(None, story.doc, store_ms=0.0)
        before = story.doc
        story.later(milliseconds=9_000)
        bench.clock.oversleep(9.0)
        story.decide(succeeded())
        end = EffectCompleted("effect", succeeded(), 300.0, None, 8_500.0)
        bench.finished(before, story.doc, end, store_ms=0.0)
        (line,) = bench.lines("charge_finished")
        assert (line["stripe_ms"], line["stripe_away_ms"], line["waiting_ms"]) == (300.0, 8_500.0, 200.0)
        assert bench.counted('payment_charge_time_seconds_total{where="stripe_away"} 8.5')

    def test_time_that_the_bank_waited_for_its_customer_is_the_customers(self, bench: Bench) -> None:
        """F45: minutes at a bank's page are no queue of ours."""
        story = confirming()
        bench.finished(None, story.doc, store_ms=0.0)
        before = story.doc
        story.decide(action())
        bench.finished(before, story.doc, EffectCompleted("effect", action(), 300.0), store_ms=0.0)
        before = story.doc
        story.later(milliseconds=60_000)
        bench.clock.oversleep(60.0)
        story.decide(succeeded())
        bench.finished(before, story.doc, EffectCompleted("effect", succeeded(), 0.0), store_ms=0.0)
        (line,) = bench.lines("charge_finished")
        assert (line["customer_ms"], line["waiting_ms"] <= 100.0) == (60_000.0, True)

    def test_the_line_of_a_refusal_has_its_reason(self, bench: Bench) -> None:
        """One search for the order answers the customer's question; no other outcome has a refusal."""
        story = confirming()
        bench.finished(None, story.doc)
        bench.story(story, refused())
        (line,) = bench.lines("charge_finished")
        assert (line["outcome"], line["reason"]) == ("refused", f"token: {story.attempt().text}")
        other = confirming()
        bench.finished(None, other.doc)
        bench.story(other, declined())
        assert bench.lines("charge_finished")[1]["reason"] is None

    def test_a_refusal_without_words_is_named(self, bench: Bench) -> None:
        """Ours: it was never sent."""
        story = confirming()
        bench.finished(None, story.doc)
        story.dead()
        bench.story(story, withheld())
        assert bench.lines("charge_finished")[0]["reason"] == "withheld"

    def test_nothing_is_logged_twice(self, bench: Bench) -> None:
        """A write that changes no attempt, a step that writes nothing, an order without a payment."""
        story = confirming()
        bench.finished(None, story.doc)
        bench.story(story, declined())
        bench.finished(story.doc, story.doc)
        bench.finished(None, None)
        assert len(bench.lines("charge_finished")) == 1

    def test_a_charge_on_a_settled_attempt_of_a_dead_order_is_an_alarm(self, bench: Bench) -> None:
        """F46: declined, its secret out, and confirmed by the browser when the order was cancelled."""
        story = exposed().decide(cancelled())
        bench.story(story, retrieved_success())
        (line,) = [line for line in bench.log.lines if line.get("alarm")]
        assert (line["event"], line["charge_id"]) == ("stray_charge_found", "ch_1")
        assert bench.counted("payment_stray_charges_total 1.0")

    def test_a_charge_on_a_settled_attempt_of_an_open_order_pays_it(self, bench: Bench) -> None:
        """F45: the browser has confirmed the order's only intent once more: one more line, and no alarm."""
        bench.story(exposed(), retrieved_success())
        (line,) = bench.lines("charge_finished")
        assert (line["outcome"], line["charge_id"]) == ("paid", "ch_1")
        assert not any(line.get("alarm") for line in bench.log.lines)

    def test_a_charge_refunded_by_hand_is_no_alarm(self, bench: Bench) -> None:
        """F49: it was found with its refund: the line has that outcome, and nothing is to be refunded by us."""
        story = confirming()
        bench.finished(None, story.doc)
        story.due(by=B)
        before = story.doc
        story.decide(retrieved_success(refunded=True), by=B)
        bench.finished(before, story.doc)
        (line,) = bench.lines("charge_finished")
        assert (line["outcome"], line["intent_id"]) == ("refunded_by_hand", "pi_1")
        assert not any(each.get("alarm") for each in bench.log.lines)

    def test_a_customer_who_is_awaited_is_one_line_without_a_secret(self, bench: Bench) -> None:
        bench.story(confirming(), action())
        (line,) = bench.lines("customer_awaited")
        assert (line["order_id"], line["attempt"]) == (ORDER, 1)
        assert "secret" not in bench.log.text

    def test_times_are_forgotten_before_they_fill_the_memory(self, bench: Bench) -> None:
        """F39: what another process has ended goes first, and new charges are timed still."""
        story = confirming()
        times = bench.telemetry._times
        for number in range(TIMED_CHARGES_LIMIT):
            times[f"o{number}", 1] = module.Times()
        bench.finished(None, story.doc, store_ms=3.0)
        assert len(times) == TIMED_CHARGES_LIMIT
        assert times[ORDER, 1].mongo_ms == 3.0


class TestRefunds:
    def test_a_refund_is_one_line(self, bench: Bench) -> None:
        """With its ids."""
        bench.story(refunding(), refunded())
        (line,) = bench.lines("refund_finished")
        assert (line["charge_id"], line["refund_id"], line["amount"]) == ("ch_1", "re_1", 1999)

    def test_a_refund_that_failed_later_is_an_alarm_of_its_own(self, bench: Bench) -> None:
        """F44: with its reason; it counts as blocked until the charge is given back again."""
        story = given_back().recheck()
        bench.story(story, undone())
        (line,) = bench.log.lines
        assert (line["event"], line["alarm"], line["order_id"]) == ("refund_failed", True, ORDER)
        assert line["reason"] == "the refund has failed after all"
        assert bench.counted('payment_refunds_total{outcome="failed"} 1.0')

    def test_a_recheck_that_stands_is_no_news(self, bench: Bench) -> None:
        bench.story(given_back().recheck(), stands())
        assert bench.log.lines == []

    def test_a_lost_dispute_ends_the_alarm(self, bench: Bench) -> None:
        """The bank has given the charge back: a warning, and nothing is blocked any more."""
        story = refund_blocked()
        bench.finished(refunding().doc, story.doc)
        bench.story(story, dispute_lost())
        (line,) = bench.lines("charged_back")
        assert (line["level"], line["charge_id"], line["dispute_id"]) == ("warning", "ch_1", "du_1")
        assert "alarm" not in line
        assert bench.counted('payment_refunds_total{outcome="charged_back"} 1.0')

    def test_a_dispute_that_was_lost_in_part_is_an_alarm_once(self, bench: Bench) -> None:
        """Stripe makes no refund of the rest: an operator has to."""
        bench.story(refund_blocked(), dispute_lost(text="the bank gave back 500 of 1999"))
        (line,) = bench.lines("charged_back")
        assert (line["level"], line["alarm"], line["reason"]) == ("error", True, "the bank gave back 500 of 1999")

    def test_a_payment_that_is_disputed_is_an_alarm_once(self, bench: Bench) -> None:
        """It stays paid; the bank wants evidence within days."""
        story = paid()
        disputed = IntentSucceeded(ORDER, 1, "pi_1", ChargeFacts("ch_1", disputed=True))
        bench.story(story, disputed, CREATED_IS_OUT)
        (line,) = bench.lines("charge_disputed")
        assert (line["charge_id"], line["alarm"]) == ("ch_1", True)

    def test_the_line_of_a_payment_refunded_in_part_has_the_amount(self, bench: Bench) -> None:
        """F49: by hand, before it was seen here."""
        bench.story(confirming(), IntentSucceeded(ORDER, 1, "pi_1", ChargeFacts("ch_1", amount_refunded=500)))
        (line,) = bench.lines("charge_finished")
        assert (line["outcome"], line["amount"], line["amount_refunded"]) == ("paid", 1999, 500)

    def test_a_blocked_refund_is_an_alarm_until_it_is_done(self, bench: Bench) -> None:
        """F44: counted while it is blocked."""
        story = refund_blocked()
        bench.finished(refunding().doc, story.doc)
        (line,) = [line for line in bench.log.lines if line.get("alarm")]
        assert (line["event"], line["charge_id"]) == ("refund_blocked", "ch_1")
        assert bench.counted("payment_refunds_blocked NaN")


class TestStore:
    def test_an_outage_is_one_line_and_its_end_one(self, bench: Bench) -> None:
        """However often it is noticed."""
        bench.telemetry.store_up()
        for reason in ("gone", "gone", "still gone"):
            bench.telemetry.store_down(reason)
        assert not bench.health.is_up(Dependency.MONGODB)
        bench.telemetry.store_up()
        assert bench.health.is_up(Dependency.MONGODB)
        assert [line["event"] for line in bench.log.lines] == ["dependency_lost", "dependency_back"]

    def test_the_results_of_a_commit_are_counted(self, bench: Bench) -> None:
        """And logged where it is out of the ordinary."""
        results = [Committed.WRITTEN, Committed.CONFLICT, Committed.UNKNOWN]
        bench.telemetry.committed(["o1", "o2", "o3"], results, "no majority")
        bench.telemetry.commit_done(0.1)
        bench.telemetry.swept(0)
        bench.telemetry.swept(3)
        bench.telemetry.second(7)
        (unknown,) = [line for line in bench.log.lines if line["event"] == "commit_unknown"]
        assert (unknown["documents"], unknown["order_id"], unknown["reason"]) == (1, "o3", "no majority")
        assert [line["event"] for line in bench.log.lines] == ["commit_conflict", "commit_unknown", "sweep_finished"]
        assert bench.counted('"unknown"} 1.0')

    async def test_a_storm_of_failed_writes_is_a_few_lines(self, bench: Bench) -> None:
        """F52: one at once, then one in ten seconds with all since; each with an order and the store's words."""
        for number in range(100):
            results = [Committed.REFUSED, Committed.WRITTEN, Committed.REFUSED]
            bench.telemetry.committed([f"a{number}", "good", f"b{number}"], results, f"disk full {number}")
        logged = [(line["documents"], line["order_id"], line["reason"]) for line in bench.log.lines]
        assert logged == [(2, "a0", "disk full 0")]
        await bench.clock.advance(LINE_EVERY_S)
        bench.telemetry.second(0)
        bench.telemetry.second(0)
        logged = [(line["documents"], line["order_id"], line["reason"]) for line in bench.log.lines]
        assert logged[1:] == [(198, "a99", "disk full 99")]
        assert {line["event"] for line in bench.log.lines} == {"commit_refused"}

    def test_an_invalid_event_that_can_not_be_kept_is_logged(self, bench: Bench) -> None:
        """F30, F52: by its identity, with the store's words, and not each time that it is delivered."""
        for _ in range(50):
            bench.telemetry.dead_letter_waits("orders:7", "not authorized")
        (line,) = bench.log.lines
        assert (line["event"], line["identity"], line["reason"]) == ("dead_letter_waits", "orders:7", "not authorized")

    def test_indexes_that_are_made_are_logged_and_degrade(self, bench: Bench) -> None:
        """F52: readiness has the reason in words while MongoDB is up; an ordinary start logs nothing."""
        bench.telemetry.store_up()
        bench.telemetry.indexes_there((), 0.01)
        assert bench.log.lines == []
        bench.telemetry.indexes_missing(("due_ms", "payment"))
        shown = bench.health.view().dependencies["mongodb"]
        assert (shown.up, "due_ms, payment" in (shown.why or "")) == (True, True)
        bench.telemetry.indexes_failed("not authorized")
        assert "not authorized" in (bench.health.view().dependencies["mongodb"].why or "")
        bench.telemetry.indexes_there(("due_ms", "payment"), 61.0)
        assert bench.health.view().dependencies["mongodb"].why is None
        events = [line["event"] for line in bench.log.lines]
        assert events == ["indexes_missing", "indexes_failed", "indexes_made"]
        assert bench.log.lines[-1]["took_ms"] == 61_000

    def test_a_document_that_can_not_be_written_is_an_alarm(self, bench: Bench) -> None:
        """F41."""
        bench.telemetry.rejected_document(ORDER)
        (line,) = bench.log.lines
        assert (line["event"], line["alarm"], line["order_id"]) == ("document_unwritable", True, ORDER)
