"""The unsettled orders of the database: gauges that are read from it, and alarms that last."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from payment.actors.ledger import backlog as module
from payment.actors.ledger.backlog import ALARMS_LIMIT, READ_EVERY_S, REMIND_AFTER, UnsettledCount
from payment.core.messages import ChargeRefunded, EventPublished, RefundBlocked
from payment.core.waits import STUCK_AFTER, Matter
from payment.ops.health import Dependency
from payment.ports.store import DeadLetter
from tests.unit.actors.ledger.ledger_world import Ledger, charged, payment_of, world
from tests.unit.core.builders import T0, confirming, refund_blocked, refunding
from tests.unit.ops.capture import Log
from tests.unit.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]


def gauges(ledger: Ledger) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(ledger.metrics.render().decode())
    return {(s.name.removeprefix("payment_"), *s.labels.values()): s.value for f in families for s in f.samples}


def lines(log: Log, event: str) -> list[dict[str, Any]]:
    return [line for line in log.lines if line["event"] == event]


async def blocked(ledger: Ledger, order_id: str = "o1") -> None:
    """Paid, announced, cancelled, and its refund is blocked."""
    await ledger.order(order_id)
    await ledger.ask(order_id)
    await ledger.ended(ledger.one_to_stripe(), charged(order_id, f"ch_{order_id}"))
    (event,) = ledger.to_nats()
    await ledger.ended(event, EventPublished(order_id, event.message_id))
    await ledger.cancel(order_id)
    await ledger.ended(ledger.one_to_stripe(), RefundBlocked(order_id, f"ch_{order_id}", "re_1", "the bank is shut"))


class TestGauges:
    async def test_a_blocked_refund_is_counted_after_a_restart(self) -> None:
        """F44: the next run has remembered nothing, and reads it in the database."""
        async with world() as w:
            await blocked(await w.ledger("web-1"))
            other = await w.ledger("web-2")
            found = gauges(other)
            assert found["refunds_blocked",] == 1
            assert found["orders_pending", "blocked_refund"] == 1

    async def test_it_is_kept_true_while_other_processes_change_it(self) -> None:
        """F44: the refund is made at last, by the other process: this one reads that too."""
        async with world() as w:
            one, other = await w.ledger("web-1"), await w.ledger("web-2")
            await blocked(one)
            await w.clock.advance(READ_EVERY_S)
            assert gauges(other)["refunds_blocked",] == 1
            await w.clock.advance(61.0 - READ_EVERY_S)
            taken = (one.to_stripe() or other.to_stripe())[0]
            await one.ended(taken, ChargeRefunded("o1", "ch_o1", "re_1"))
            await w.clock.advance(READ_EVERY_S)
            assert gauges(other)["refunds_blocked",] == 0
            assert gauges(other)["events_unpublished",] == 1

    async def test_before_the_database_was_read_a_state_is_no_number(self) -> None:
        """0 would be a claim."""
        async with world() as w:
            w.store.away = "gone"
            ledger = await w.ledger()
            found = gauges(ledger)
            assert math.isnan(found["refunds_blocked",])
            assert ("orders_pending", "outcome") not in found

    async def test_pending_orders_are_counted_with_the_age_of_the_oldest(self) -> None:
        """By matter, in the whole database; 0 where there is none."""
        async with world() as w:
            ledger = await w.ledger()
            await ledger.order("o1", "o2")
            await ledger.ask("o1")
            await w.clock.advance(30.0)
            await ledger.ask("o2")
            await w.clock.advance(READ_EVERY_S * 2)
            found = gauges(ledger)
            assert found["orders_pending", "outcome"] == 2
            assert found["orders_pending_oldest_seconds", "outcome"] == pytest.approx(40.0, abs=READ_EVERY_S)
            assert found["orders_pending", "event"] == found["orders_pending_oldest_seconds", "event"] == 0
            assert found["orders_stuck",] == 0
            read_at = found["backlog_read_timestamp_seconds",]
            assert 0 <= w.clock.now().timestamp() - read_at <= READ_EVERY_S

    async def test_dead_letters_are_counted_where_they_are(self) -> None:
        """Also those that an earlier run has kept, which are logged at the start and after a day."""
        async with world() as w:
            w.store.database.keep(DeadLetter("bad:1", "order:created", b"x", "not JSON", w.clock.now()))
            log = Log("info")
            ledger = await w.ledger()
            assert gauges(ledger)["dead_letters_left",] == 1
            await w.clock.advance(READ_EVERY_S * 3)
            assert [line["count"] for line in lines(log, "dead_letters_left")] == [1]
            w.clock.jump(REMIND_AFTER)
            await w.clock.advance(READ_EVERY_S)
            assert len(lines(log, "dead_letters_left")) == 2

    async def test_where_it_can_not_be_read_the_last_state_stands_and_one_line_is_logged(self) -> None:
        """The gauge of the time of the read shows how old it is."""
        async with world() as w:
            log = Log("info")
            ledger = await w.ledger()
            w.store.backlog_away = "no such index"
            await w.clock.advance(READ_EVERY_S * 3)
            assert [line["error"] for line in lines(log, "backlog_unread")] == ["no such index"]
            assert ledger.up
            before = gauges(ledger)["backlog_read_timestamp_seconds",]
            w.store.backlog_away = None
            await w.clock.advance(READ_EVERY_S)
            assert gauges(ledger)["backlog_read_timestamp_seconds",] > before


class TestAlarms:
    async def test_a_blocked_refund_is_alarmed_again_by_each_run_and_after_a_day(self) -> None:
        """F44: once when it begins, once by the next run, and then daily: not at each hourly recheck."""
        async with world() as w:
            log = Log("info")
            ledger = await w.ledger("web-1")
            await blocked(ledger)
            await w.clock.advance(READ_EVERY_S * 2)
            assert len(lines(log, "refund_blocked")) == 1
            await ledger.end()
            next_run = await w.ledger("web-1")
            (_, again) = lines(log, "refund_blocked")
            assert (again["order_id"], again["charge_id"], again["alarm"]) == ("o1", "ch_o1", True)
            assert again["reason"] == "the bank is shut"
            assert gauges(next_run)["alarms_total", "refund_blocked"] == 1
            await w.clock.advance(READ_EVERY_S * 2)
            assert len(lines(log, "refund_blocked")) == 2
            w.clock.jump(REMIND_AFTER)
            await w.clock.advance(READ_EVERY_S)
            assert len(lines(log, "refund_blocked")) == 3

    async def test_a_hundred_of_them_are_alarmed_a_few_at_a_time(self) -> None:
        """Each has its line in the end."""
        async with world() as w:
            order = refund_blocked().doc
            for number in range(ALARMS_LIMIT + 1):
                name = f"o{number}"
                payment = structs.replace(order.payment, id=payment_of(name)) if order.payment else None
                w.store.database.put(
                    structs.replace(order, id=name, rev=1, payment=payment, due=w.clock.now() + timedelta(hours=1))
                )
            log = Log("info")
            await w.ledger()
            assert len(lines(log, "refund_blocked")) == ALARMS_LIMIT
            await w.clock.advance(READ_EVERY_S)
            assert {line["order_id"] for line in lines(log, "refund_blocked")} == {
                f"o{n}" for n in range(ALARMS_LIMIT + 1)
            }
            await w.clock.advance(READ_EVERY_S)
            assert len(lines(log, "refund_blocked")) == ALARMS_LIMIT + 1


class TestStuck:
    async def test_an_order_that_is_pending_for_a_minute_has_a_line_and_another_when_it_is_settled(self) -> None:
        """The actor's effects in flight show on what it waits."""
        async with world() as w:
            log = Log("info")
            ledger = await w.ledger()
            ledger.health.mark_up(Dependency.STRIPE)
            await ledger.order()
            await ledger.ask(wait_s=2.0)
            await w.clock.advance(STUCK_AFTER.total_seconds() + READ_EVERY_S)
            (line,) = lines(log, "order_stuck")
            assert (line["order_id"], line["payment_id"], line["matter"]) == ("o1", payment_of("o1"), "outcome")
            assert line["reason"] == "Stripe has not settled it yet"
            assert gauges(ledger)["orders_stuck",] == 1
            await ledger.ended(ledger.to_stripe()[0], charged())
            await w.clock.advance(READ_EVERY_S)
            assert [each["order_id"] for each in lines(log, "order_unstuck")] == ["o1"]

    async def test_an_order_open_when_mongodb_went_away_is_logged_as_waiting_for_it(self) -> None:
        """F25: the last read knows which orders those are."""
        async with world() as w:
            log = Log("info")
            ledger = await w.ledger()
            await ledger.order()
            await ledger.ask(wait_s=2.0)
            await w.clock.advance(READ_EVERY_S)
            w.store.away = "no primary"
            await w.clock.advance(STUCK_AFTER.total_seconds() + READ_EVERY_S)
            (line,) = lines(log, "order_stuck")
            assert line["reason"].startswith("MongoDB: no primary, since ")
            assert lines(log, "order_unstuck") == lines(log, "backlog_unread") == []


class TestFound:
    def test_an_order_that_comes_twice_counts_once(self) -> None:
        """It was renewed while the others were read, and stands further behind now."""
        found = UnsettledCount({})
        found.add([confirming().doc])
        found.add([confirming().later(seconds=30).doc])
        assert (len(found), found.pending) == (1, {Matter.OUTCOME: 1})

    def test_the_earliest_time_that_was_seen_counts(self) -> None:
        """A refund whose task was taken up anew has waited since the first one."""
        known = UnsettledCount({})
        known.add([refunding().doc])
        (key,) = known.since
        later = refunding().later(minutes=5)
        later.due()
        found = UnsettledCount(known.since)
        found.add([later.doc])
        assert found.since[key] == found.oldest[Matter.REFUND] == T0
        assert [each.since for each in found.stuck(T0 + STUCK_AFTER)] == [T0]

    def test_at_the_limit_there_may_be_more(self) -> None:
        """Then nothing is logged as settled."""
        found = UnsettledCount({}, limit=1)
        assert found.complete
        found.add([confirming().doc])
        assert not found.complete


def test_a_read_takes_a_small_share_of_the_time() -> None:
    """The pause after it is many times as long, within bounds."""
    assert module.SHARE >= 20
    assert module.READ_EVERY_S <= 10 < module.READ_AT_LEAST_EVERY_S
