"""The lines about what is stuck: when each comes, and its reason."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.order_queues import OrderQueues
from payment.actors.ledger.stuck_log import ANOTHER_S, EXAMPLES_LIMIT, NAMED_LIMIT, NOT_HELD, Reasons, Stuck, StuckLog
from payment.actors.messages import EffectCompleted, NatsMessage, StripeMessage
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.mailbox import Mailbox
from payment.core.order import Order
from payment.core.waits import Wait, waits
from payment.ops.health import Dependency, Health
from tests.support.fakes.clock import FakeClock
from tests.unit.core.builders import (
    DUE,
    ORDER,
    T0,
    A,
    B,
    Story,
    action,
    confirming,
    exposed,
    paid,
    refund_blocked,
    refunding,
)
from tests.unit.ops.capture import Log
from tests.unit.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Bench:
    """A process that is `A`, its effects in flight, order queues and health, and the lines."""

    def __init__(self) -> None:
        self.log = Log("debug")
        self.clock = FakeClock(T0)
        self.health = Health(self.clock)
        for dependency in Dependency:
            self.health.mark_up(dependency)
        self.stripe: Mailbox[StripeMessage] = Mailbox("stripe", 100)
        nats: Mailbox[NatsMessage] = Mailbox("nats", 100)
        self.estimate = PublishedEstimate(QueueEstimate(1.0, 1.0))
        self.in_flight = InFlightEffects(A, self.stripe, nats, self.estimate)
        self.order_queues = OrderQueues(self.clock)
        self.reasons = Reasons(A, self.in_flight, self.order_queues, self.health)
        self.stuck_log = StuckLog(self.reasons)

    def reason(self, order: Order, after: timedelta = timedelta(0)) -> str:
        (wait,) = waits(order)
        return self.reasons.of(wait, T0 + after)

    def telemetry(self, *stuck: Stuck, after: timedelta, complete: bool = True) -> list[dict[str, Any]]:
        """The lines of one report, as of `after` the beginning of all."""
        before = len(self.log.lines)
        self.stuck_log.telemetry(stuck, T0 + after, complete=complete)
        return self.log.lines[before:]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def stuck(story: Story | None = None, order_id: str = ORDER, since: datetime = T0) -> Stuck:
    (wait,) = waits((story or confirming()).doc)
    return Stuck(structs.replace(wait, order_id=order_id), since)


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


class TestLines:
    def test_a_stuck_order_has_a_line_with_its_names_its_age_and_the_reason(self, bench: Bench) -> None:
        """One search for the order finds since when it waits, and on what."""
        bench.health.mark_down(Dependency.STRIPE, "no connection to Stripe")
        (line,) = bench.telemetry(stuck(), after=MINUTE)
        assert (line["event"], line["level"], line["order_id"]) == ("order_stuck", "warning", ORDER)
        assert (line["matter"], line["attempt"], line["since"]) == ("outcome", 1, "2026-03-01T12:00:00.000Z")
        assert line["age_ms"] == 60_000
        assert line["reason"] == "Stripe: no connection to Stripe, since 2026-03-01T12:00:00.000Z"

    def test_it_comes_again_after_ten_minutes_an_hour_and_then_every_six(self, bench: Bench) -> None:
        """Not every few seconds, and never not at all."""
        said = []
        for seconds in range(60, 14 * 3600, 5):
            if bench.telemetry(stuck(), after=timedelta(seconds=seconds)):
                said.append(seconds)
        assert said == [60, 600, 3600, 7 * 3600, 13 * 3600]

    def test_its_end_is_a_line_too(self, bench: Bench) -> None:
        """Once, with how long it took; what had no line has no end."""
        bench.telemetry(stuck(), after=MINUTE)
        (line,) = bench.telemetry(after=2 * MINUTE)
        assert (line["event"], line["order_id"], line["age_ms"]) == ("order_unstuck", ORDER, 120_000)
        assert bench.telemetry(after=3 * MINUTE) == []

    def test_nothing_is_logged_as_settled_where_not_all_was_read(self, bench: Bench) -> None:
        """The store is away, or there was too much of it."""
        bench.telemetry(stuck(), after=MINUTE)
        assert bench.telemetry(after=2 * MINUTE, complete=False) == []
        assert events(bench.telemetry(after=3 * MINUTE)) == ["order_unstuck"]

    def test_another_process_logs_its_own_orders_for_five_minutes(self, bench: Bench) -> None:
        """Of two processes one logs it; then the other does too, for the first may be unable to."""
        other = confirming().due(by=B)
        held = stuck(other, since=other.now)
        began = other.now - T0
        assert bench.telemetry(held, after=began + timedelta(seconds=30)) == []
        held = structs.replace(held, since=other.now - ANOTHER_S)
        (line,) = bench.telemetry(held, after=began + timedelta(seconds=30))
        assert line["reason"].startswith("another process, web-2, has it until ")

    def test_many_are_one_line_with_a_count_and_the_oldest(self, bench: Bench) -> None:
        """F39: an outage with 10,000 open orders is not 10,000 lines."""
        many = [stuck(order_id=f"o{number}", since=T0 - number * MINUTE) for number in range(NAMED_LIMIT + 1)]
        (line,) = bench.telemetry(*many, after=MINUTE)
        assert (line["event"], line["count"], line["matter"]) == ("orders_stuck", NAMED_LIMIT + 1, "outcome: 51")
        assert line["order_ids"] == [f"o{NAMED_LIMIT - number}" for number in range(EXAMPLES_LIMIT)]
        assert line["age_ms"] == (NAMED_LIMIT + 1) * 60_000
        assert bench.telemetry(*many, after=2 * MINUTE) == []
        assert events(bench.telemetry(*many, after=12 * MINUTE)) == ["orders_stuck"]

    def test_a_number_that_goes_up_and_down_is_no_news(self, bench: Bench) -> None:
        """They are many until half as many are left."""
        many = [stuck(order_id=f"o{number}") for number in range(NAMED_LIMIT + 1)]
        bench.telemetry(*many, after=MINUTE)
        for _ in range(3):
            assert bench.telemetry(*many[:-1], after=2 * MINUTE) == bench.telemetry(*many, after=2 * MINUTE) == []
        few = bench.telemetry(*many[: NAMED_LIMIT // 2], after=3 * MINUTE)
        assert events(few) == ["orders_unstuck", *["order_stuck"] * (NAMED_LIMIT // 2)]

    def test_of_many_the_last_few_have_lines_of_their_own(self, bench: Bench) -> None:
        """The end of the many is logged once."""
        many = [stuck(order_id=f"o{number}") for number in range(NAMED_LIMIT + 1)]
        bench.telemetry(*many, after=MINUTE)
        assert events(bench.telemetry(*many[:2], after=2 * MINUTE, complete=False)) == ["order_stuck", "order_stuck"]
        assert events(bench.telemetry(*many[:2], after=3 * MINUTE)) == ["orders_unstuck"]
        assert events(bench.telemetry(after=4 * MINUTE)) == ["order_unstuck", "order_unstuck"]

    def test_the_line_of_an_event_has_its_subject(self, bench: Bench) -> None:
        (line,) = bench.telemetry(stuck(paid()), after=MINUTE)
        assert (line["matter"], line["subject"]) == ("event", "payment:created")


class TestReasons:
    def test_mongodb_comes_first(self, bench: Bench) -> None:
        """F25: without it nothing goes on, whatever else is away."""
        bench.health.mark_down(Dependency.MONGODB, "no primary")
        bench.health.mark_down(Dependency.STRIPE, "silent")
        assert bench.reason(confirming().doc).startswith("MongoDB: no primary, since ")

    def test_a_write_under_way_is_mongodb_s(self, bench: Bench) -> None:
        """One order whose writes the store keeps failing (F31)."""
        bench.order_queues.add(ORDER, EffectCompleted("x", DUE))
        assert bench.reason(confirming().doc).startswith("MongoDB: its document is being written")

    def test_an_event_waits_for_nats(self, bench: Bench) -> None:
        """F28: with the reason that `/readyz` gives."""
        assert bench.reason(paid().doc) == NOT_HELD
        bench.in_flight.release(paid().doc)
        assert bench.reason(paid().doc) == "NATS has not stored the event yet"
        bench.health.mark_down(Dependency.NATS, "no permission to publish")
        assert bench.reason(paid().doc).startswith("NATS: no permission to publish, since ")

    def test_a_charge_waits_for_its_turn_and_then_for_stripe(self, bench: Bench) -> None:
        """F14: a long queue is no outage."""
        assert bench.reason(confirming().doc) == NOT_HELD
        bench.stripe.accepted = 30
        bench.in_flight.release(confirming().doc)
        assert bench.reason(confirming().doc).startswith("its turn at Stripe, about ")
        bench.estimate.publish(QueueEstimate(1.0, 1.0, 31, 31, 31))
        assert bench.reason(confirming().doc) == "Stripe has not settled it yet"

    def test_an_answer_of_stripe_about_one_order_alone_is_its_reason(self, bench: Bench) -> None:
        """F31: Stripe is well, and refuses this one: an operator reads why."""
        bench.in_flight.release(refunding().doc)
        bench.health.note_order(Dependency.STRIPE, ORDER, "this key may not refund")
        assert bench.reason(refunding().doc) == "Stripe: this key may not refund"
        bench.health.note_order(Dependency.STRIPE, ORDER, None)
        assert bench.reason(refunding().doc) == "Stripe has not settled it yet"

    def test_a_recheck_waits_for_its_time(self, bench: Bench) -> None:
        """A customer's next recheck; once that is due it is the sweep's."""
        order = confirming().decide(action()).doc
        assert bench.reason(order) == "its next look at Stripe, at 2026-03-01T12:00:05.000Z"
        assert bench.reason(order, after=MINUTE) == NOT_HELD
        assert bench.reason(exposed().doc).startswith("its next look at Stripe, at ")

    def test_the_reason_of_a_blocked_refund_has_its_next_try(self, bench: Bench) -> None:
        """F44: in Stripe's words, where there are any."""
        story = refund_blocked()
        (wait,) = waits(story.doc)
        assert bench.reason(story.doc).startswith(f"Stripe blocks the refund: {wait.text}; looked at again at 2026-")
        silent: Wait = structs.replace(wait, text=None)
        assert "for no reason that it gave" in bench.reasons.of(silent, T0)

    def test_a_refund_waits_for_stripe(self, bench: Bench) -> None:
        """F23."""
        bench.in_flight.release(refunding().doc)
        assert bench.reason(refunding().doc) == "Stripe has not settled it yet"
        bench.health.mark_down(Dependency.STRIPE, "401", blocks_charges=True)
        assert bench.reason(refunding().doc).startswith("Stripe: 401, since ")
