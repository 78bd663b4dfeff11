"""The log lines about what is stuck: when each is written, and on what an order waits, in words.

It owns what was logged of which matter, so that a line comes again after 10 minutes and an hour, not every few seconds,
and so that its end is logged too. It reads nothing: `payment.actors.ledger.backlog` brings what is not settled. In an
outage thousands of orders are stuck by one cause: past `NAMED_LIMIT` they are counted in one line.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.order_queues import OrderQueues
from payment.core.messages import client_id_of
from payment.core.order import TaskKind
from payment.core.waits import Matter, Wait
from payment.ops.health import Dependency, Health
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.redaction import timestamp

NAMED_LIMIT = 50
"""Matters that are logged one by one. More at a time have one cause, and their lines would bury it."""

EXAMPLES_LIMIT = 10
"""Orders that are named where many are counted: the oldest."""

AGAIN_AT_AGES = (timedelta(minutes=10), timedelta(hours=1))
AGAIN_EVERY = timedelta(hours=6)
"""When what is stuck is logged again: at these ages, and then so often."""

ANOTHER_S = timedelta(minutes=5)
"""From this age on also what another process has is logged here: it may be unable to."""

NOT_HELD = "no process has it just now: the next sweep takes it up"


class Stuck(Struct, frozen=True):
    """A matter that has not been settled for a minute. `since` is no later than `wait.since`."""

    wait: Wait
    since: datetime


class Reasons:
    """On what a matter waits, in words."""

    def __init__(self, process: str, in_flight: InFlightEffects, order_queues: OrderQueues, health: Health) -> None:
        """`process` is this one, as tasks name their holder."""
        self._process = process
        self._in_flight = in_flight
        self._order_queues = order_queues
        self._health = health

    def of(self, wait: Wait, at: datetime) -> str:
        """In a sentence, for the field `reason`."""
        store = self._health.trouble(Dependency.MONGODB)
        if store is not None:
            return f"MongoDB: {store}"
        if self.is_another_s(wait, at):
            holder = client_id_of(wait.task.holder or "")
            return f"another process, {holder}, has it until {timestamp(wait.task.due)}"
        if wait.order_id in self._order_queues:
            return "MongoDB: its document is being written, or waits for that"
        if wait.matter is Matter.EVENT:
            return self._of_event(wait)
        return self._at_stripe(wait, at)

    def is_another_s(self, wait: Wait, at: datetime) -> bool:
        """Whether another process works on it."""
        return wait.task.holder not in (None, self._process) and wait.task.due > at

    def _of_event(self, wait: Wait) -> str:
        nats = self._health.trouble(Dependency.NATS)
        if nats is not None:
            return f"NATS: {nats}"
        return "NATS has not stored the event yet" if self._in_flight.holds(wait.order_id) else NOT_HELD

    def _at_stripe(self, wait: Wait, at: datetime) -> str:
        if wait.matter is Matter.BLOCKED_REFUND and wait.task.kind is TaskKind.RECHECK_LATER:
            why = wait.text or "for no reason that it gave"
            return f"Stripe blocks the refund: {why}; looked at again at {timestamp(wait.task.due)}"
        stripe = self._health.trouble(Dependency.STRIPE)
        if stripe is not None:
            return f"Stripe: {stripe}"
        if wait.task.kind is TaskKind.RECHECK_LATER and wait.task.due > at:
            return f"its next look at Stripe, at {timestamp(wait.task.due)}"
        queued_s = self._in_flight.wait_s(wait.order_id)
        if queued_s is not None and queued_s >= 1:
            return f"its turn at Stripe, about {queued_s:.0f} s from now"
        if not self._in_flight.holds(wait.order_id):
            return NOT_HELD
        words = self._health.order_note(Dependency.STRIPE, wait.order_id)
        return f"Stripe: {words}" if words else "Stripe has not settled it yet"


class StuckLog:
    """Writes the lines."""

    def __init__(self, reasons: Reasons) -> None:
        self._reasons = reasons
        self._again_at: dict[tuple[str, str], datetime] = {}
        """When each matter that was logged is logged again, by its key."""
        self._named: dict[tuple[str, str], Stuck] = {}
        self._many_again_at: datetime | None = None
        """There where many are stuck: when that is logged again."""

    def telemetry(self, stuck: Sequence[Stuck], at: datetime, *, complete: bool) -> None:
        """`stuck` is all that is stuck; where it may not be all (`complete` false), nothing is logged as settled."""
        oldest_first = sorted(stuck, key=lambda each: each.since)
        if complete:
            self._log_settled({each.wait.key for each in stuck}, at)
        # Once they are many, they are until half as many are left: a number that goes up and down is no news.
        if len(stuck) > (NAMED_LIMIT if self._many_again_at is None else NAMED_LIMIT // 2):
            self._log_many(oldest_first, at)
            return
        if self._many_again_at is not None and complete:
            self._many_again_at = None
            get_logger().info(Event.ORDERS_UNSTUCK, count=len(stuck))
        for each in oldest_first:
            self._log_one(each, at)

    def _log_one(self, stuck: Stuck, at: datetime) -> None:
        wait, age = stuck.wait, at - stuck.since
        elsewhere = self._reasons.is_another_s(wait, at) and age < ANOTHER_S
        if elsewhere or at < self._again_at.get(wait.key, at):
            return
        self._again_at[wait.key] = stuck.since + _next_age(age)
        self._named[wait.key] = stuck
        get_logger().warning(
            Event.ORDER_STUCK,
            order_id=wait.order_id,
            payment_id=wait.payment_id,
            matter=wait.matter.value,
            attempt=wait.attempt,
            charge_id=wait.charge_id,
            subject=wait.name if wait.matter is Matter.EVENT else None,
            since=stuck.since,
            age_ms=_ms(age),
            reason=self._reasons.of(wait, at),
        )

    def _log_many(self, oldest_first: list[Stuck], at: datetime) -> None:
        if self._many_again_at is not None and at < self._many_again_at:
            return
        oldest = oldest_first[0]
        self._many_again_at = at + _next_age(at - oldest.since) - (at - oldest.since)
        matters = Counter(each.wait.matter.value for each in oldest_first)
        get_logger().warning(
            Event.ORDERS_STUCK,
            count=len(oldest_first),
            matter=", ".join(f"{name}: {count}" for name, count in matters.most_common()),
            order_ids=[each.wait.order_id for each in oldest_first[:EXAMPLES_LIMIT]],
            since=oldest.since,
            age_ms=_ms(at - oldest.since),
            reason=self._reasons.of(oldest.wait, at),
        )

    def _log_settled(self, keys: set[tuple[str, str]], at: datetime) -> None:
        for key in [key for key in self._named if key not in keys]:
            was = self._named.pop(key)
            del self._again_at[key]
            get_logger().info(
                Event.ORDER_UNSTUCK,
                order_id=was.wait.order_id,
                payment_id=was.wait.payment_id,
                matter=was.wait.matter.value,
                attempt=was.wait.attempt,
                since=was.since,
                age_ms=_ms(at - was.since),
            )


def _next_age(age: timedelta) -> timedelta:
    """The age at which what is logged at this age is logged again."""
    return next((each for each in AGAIN_AT_AGES if each > age), age + AGAIN_EVERY)


def _ms(age: timedelta) -> int:
    return round(age.total_seconds() * 1_000)
