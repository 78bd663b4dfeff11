"""What the ledger tells people, read off the difference between two confirmed documents."""

from typing import Any

import pytest

from payment.actors import report as module
from payment.actors.commit import Work
from payment.actors.letters import EffectEnded
from payment.actors.report import TIMED_CHARGES_LIMIT, Report
from payment.core.order import Order
from payment.ops.health import Dependency, Health
from payment.ops.metrics import Metrics
from payment.ports.store import Committed
from tests.core.builders import (
    ORDER,
    T0,
    B,
    Story,
    action,
    cancelled,
    confirming,
    declined,
    exposed,
    refund_blocked,
    refunded,
    refunding,
    seen_charged,
    succeeded,
)
from tests.fakes.clock import FakeClock
from tests.ops.capture import Log
from tests.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]


class Bench:
    def __init__(self) -> None:
        self.log = Log("debug")
        self.clock = FakeClock(T0)
        self.health, self.metrics = Health(self.clock), Metrics()
        self.report = Report(self.health, self.metrics, self.clock)

    def finished(self, before: Order | None, after: Order | None, *letters: Any, store_ms: float = 2.0) -> None:
        work = Work(ORDER, list(letters), before=before, after=after, store_ms=store_ms)
        self.report.finished(work)

    def story(self, story: Story, *messages: Any, call_ms: float = 0.0) -> None:
        """The order as it stands is written; then each message is."""
        for message in messages:
            before = story.doc
            story.tell(message)
            self.finished(before, story.doc, EffectEnded("effect", message, call_ms))

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
        story.tell(succeeded())
        end = EffectEnded("effect", succeeded(), 300.0, None, 8_500.0)
        bench.finished(before, story.doc, end, store_ms=0.0)
        (line,) = bench.lines("charge_finished")
        assert (line["stripe_ms"], line["stripe_away_ms"], line["waiting_ms"]) == (300.0, 8_500.0, 200.0)
        assert bench.counted('payment_charge_time_seconds_total{where="stripe_away"} 8.5')

    def test_time_that_the_bank_waited_for_its_customer_is_the_customers(self, bench: Bench) -> None:
        """F45: minutes at a bank's page are no queue of ours."""
        story = confirming()
        bench.finished(None, story.doc, store_ms=0.0)
        before = story.doc
        story.tell(action())
        bench.finished(before, story.doc, EffectEnded("effect", action(), 300.0), store_ms=0.0)
        before = story.doc
        story.later(milliseconds=60_000)
        bench.clock.oversleep(60.0)
        story.tell(succeeded())
        bench.finished(before, story.doc, EffectEnded("effect", succeeded(), 0.0), store_ms=0.0)
        (line,) = bench.lines("charge_finished")
        assert (line["customer_ms"], line["waiting_ms"] <= 100.0) == (60_000.0, True)

    def test_nothing_is_told_twice(self, bench: Bench) -> None:
        """A write that changes no attempt, a step that writes nothing, an order without a payment."""
        story = confirming()
        bench.finished(None, story.doc)
        bench.story(story, declined())
        bench.finished(story.doc, story.doc)
        bench.finished(None, None)
        assert len(bench.lines("charge_finished")) == 1

    def test_a_charge_on_a_settled_attempt_of_a_dead_order_is_an_alarm(self, bench: Bench) -> None:
        """F46: declined, its secret out, and confirmed by the browser when the order was cancelled."""
        story = exposed().tell(cancelled())
        bench.story(story, seen_charged())
        (line,) = [line for line in bench.log.lines if line.get("alarm")]
        assert (line["event"], line["charge_id"]) == ("stray_charge_found", "ch_1")
        assert bench.counted("payment_stray_charges_total 1.0")

    def test_a_charge_on_a_settled_attempt_of_an_open_order_pays_it(self, bench: Bench) -> None:
        """F45: the browser has confirmed the order's only intent once more: one more line, and no alarm."""
        bench.story(exposed(), seen_charged())
        (line,) = bench.lines("charge_finished")
        assert (line["outcome"], line["charge_id"]) == ("paid", "ch_1")
        assert not any(line.get("alarm") for line in bench.log.lines)

    def test_a_charge_refunded_by_hand_is_no_alarm(self, bench: Bench) -> None:
        """F49: it was found with its refund: the line says so, and nothing is to be refunded by us."""
        story = confirming()
        bench.finished(None, story.doc)
        story.due(by=B)
        before = story.doc
        story.tell(seen_charged(refunded=True), by=B)
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
        times = bench.report._times
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

    def test_a_blocked_refund_is_an_alarm_until_it_is_done(self, bench: Bench) -> None:
        """F44: counted while it is blocked."""
        story = refund_blocked()
        bench.finished(refunding().doc, story.doc)
        assert bench.counted("payment_refunds_blocked 1.0")
        assert [line["event"] for line in bench.log.lines if line.get("alarm")] == ["refund_blocked"]
        story.later(minutes=2)
        bench.story(story, refunded())
        assert bench.counted("payment_refunds_blocked 0.0")


class TestStore:
    def test_an_outage_is_one_line_and_its_end_one(self, bench: Bench) -> None:
        """However often it is noticed."""
        bench.report.store_up()
        for reason in ("gone", "gone", "still gone"):
            bench.report.store_down(reason)
        assert not bench.health.is_up(Dependency.MONGODB)
        bench.report.store_up()
        assert bench.health.is_up(Dependency.MONGODB)
        assert [line["event"] for line in bench.log.lines] == ["dependency_lost", "dependency_back"]

    def test_what_became_of_a_commit_is_counted(self, bench: Bench) -> None:
        """And said where it is out of the ordinary."""
        bench.report.committed([Committed.WRITTEN, Committed.CONFLICT, Committed.UNKNOWN])
        bench.report.commit_done(0.1)
        bench.report.swept(0)
        bench.report.swept(3)
        bench.report.depth(7)
        assert [line["event"] for line in bench.log.lines] == ["commit_conflict", "commit_unknown", "sweep_finished"]
        assert bench.counted('"unknown"} 1.0')

    def test_a_document_that_can_not_be_written_is_an_alarm(self, bench: Bench) -> None:
        """F41."""
        bench.report.unwritable(Work(ORDER, []))
        (line,) = bench.log.lines
        assert (line["event"], line["alarm"], line["order_id"]) == ("document_unwritable", True, ORDER)
