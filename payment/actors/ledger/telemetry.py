"""The ledger's log lines and metrics, and the health of MongoDB, all read off confirmed documents.

One line for each charge when it ends, one for each refund, an alarm for what should never be. It reads the difference
between an order before and after, so that of several messages decided together each is logged once. A store that
refuses writes, or answers none, fails every commit: each kind of failure is logged at once, then added up and logged at
most once in `LINE_EVERY_S`. A gauge that stands for a state of the database is not kept here:
`payment.actors.ledger.backlog` reads it there.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field

from payment.actors.ledger.order_queues import QueuedMessage
from payment.actors.ledger.pending_charges import PendingCharge
from payment.actors.messages import EffectCompleted
from payment.core.order import GIVEN_BACK, UNSETTLED, Attempt, AttemptState, Order, TaskKind
from payment.core.waits import Matter, Wait
from payment.ops.health import Dependency, Health
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ports.clock import Clock
from payment.ports.store import Committed

TIMED_CHARGES_LIMIT = 20_000
"""Charges whose times are being added up: above what may be in flight. Beyond it the oldest are forgotten (another
process has ended them), and a line says 0 for what is not known."""

LINE_EVERY_S = 10.0
"""Between two lines of one kind of failure, in seconds."""

FAILURES = {Committed.UNKNOWN: Event.COMMIT_UNKNOWN, Committed.REFUSED: Event.COMMIT_REFUSED}

SETTLED_BY_NOW = frozenset({AttemptState.CLOSED, AttemptState.DECLINED, AttemptState.REFUSED, AttemptState.PAID})


class Times(Struct):
    """Where the time of one charge went, in milliseconds, as far as this process has seen it."""

    asked_at: float | None = None
    """Monotonic seconds; None for a charge that another process, or an earlier run, began."""
    stripe_ms: float = 0.0
    away_ms: float = 0.0
    awaits_from: float | None = None
    """Monotonic seconds: since when the bank waits for the customer."""
    mongo_ms: float = 0.0
    request_id: str | None = None


class _FailureKind(Struct):
    """What was not logged yet of one kind of failure. Times are monotonic seconds."""

    next_at_s: float = 0.0
    documents: int = 0
    example: dict[str, str] = field(default_factory=dict)
    """The field that names the newest of them, and its value."""
    reason: str = ""


class FailureLog:
    """Adds up the documents of failed writes, and logs how many, one of them, and why."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[Event, _FailureKind] = {}

    def note(self, event: Event, order_ids: Sequence[str], reason: str) -> None:
        """Documents of these orders have failed so."""
        self._add(event, len(order_ids), {"order_id": order_ids[0]}, reason)

    def note_dead_letter(self, identity: str, reason: str) -> None:
        """A bad event could not be kept."""
        self._add(Event.DEAD_LETTER_WAITS, 1, {"identity": identity}, reason)

    def _add(self, event: Event, documents: int, example: dict[str, str], reason: str) -> None:
        kind = self._kinds.setdefault(event, _FailureKind())
        kind.documents += documents
        kind.example, kind.reason = example, reason
        self.flush()

    def flush(self) -> None:
        """Log what may be logged by now. To be called about once a second."""
        now_s = self._clock.monotonic()
        for event, kind in self._kinds.items():
            if kind.documents and now_s >= kind.next_at_s:
                get_logger().warning(event, documents=kind.documents, reason=kind.reason, **kind.example)
                kind.documents, kind.next_at_s = 0, now_s + LINE_EVERY_S


class LedgerTelemetry:
    """What the ledger logs, counts, and says of the health of MongoDB."""

    def __init__(self, health: Health, metrics: Metrics, clock: Clock) -> None:
        self.health = health
        """Of every dependency: also what a stuck order waits for."""
        self._metrics = metrics
        self._clock = clock
        self._times: dict[tuple[str, int], Times] = {}
        self._failures = FailureLog(clock)

    # ------------------------------------------------------------------------------------------------------ the store

    def store_up(self) -> None:
        self.health.mark_up(Dependency.MONGODB)

    def store_down(self, reason: str, *, again: bool = False) -> None:
        """`again`: the reason is news, and is logged though the loss was."""
        self.health.mark_down(Dependency.MONGODB, reason, again=again)

    def indexes_missing(self, missing: Sequence[str]) -> None:
        """They are about to be made. Charges are taken meanwhile."""
        self.health.note(Dependency.MONGODB, f"indexes are being made, beside charges: {', '.join(missing)}")
        get_logger().info(Event.INDEXES_MISSING, reason=", ".join(missing))

    def indexes_there(self, made: Sequence[str], seconds: float) -> None:
        """All of them are there, after these were made."""
        self.health.note(Dependency.MONGODB, None)
        if made:
            get_logger().info(Event.INDEXES_MADE, reason=", ".join(made), took_ms=round(seconds * 1_000))

    def indexes_failed(self, reason: str) -> None:
        self.health.note(Dependency.MONGODB, f"an index of the orders can't be made: {reason}")
        get_logger().warning(Event.INDEXES_FAILED, reason=reason)

    def committed(self, order_ids: Sequence[str], results: Sequence[Committed], trouble: str) -> None:
        """What became of each document of a commit. `trouble`: why some were refused, or may or may not be written."""
        for result, documents in Counter(results).items():
            self._metrics.ledger_commits(result.value).inc(documents)
        self._metrics.ledger_batch_documents.observe(len(results))
        if (conflicts := results.count(Committed.CONFLICT)) > 0:
            get_logger().debug(Event.COMMIT_CONFLICT, documents=conflicts)
        for result, event in FAILURES.items():
            failed = [order_id for order_id, each in zip(order_ids, results, strict=True) if each is result]
            if failed:
                self._failures.note(event, failed, trouble)

    def dead_letter_waits(self, identity: str, reason: str) -> None:
        self._failures.note_dead_letter(identity, reason)

    def commit_done(self, seconds: float) -> None:
        self._metrics.ledger_commit_seconds.observe(seconds)

    def swept(self, orders: int) -> None:
        self._metrics.sweep_due.set(orders)
        if orders:
            get_logger().debug(Event.SWEEP_FINISHED, count=orders)

    def second(self, mailbox: int) -> None:
        """Once a second: what has been added up since, and how many messages the ledger's mailbox holds."""
        self._failures.flush()
        self._metrics.actor_mailbox("mongo").set(mailbox)

    def rejected_document(self, order_id: str) -> None:
        get_logger().error(Event.DOCUMENT_UNWRITABLE, order_id=order_id, alarm=True)
        self._metrics.alarms(Event.DOCUMENT_UNWRITABLE).inc()

    def corrupt(self, order_id: str, reason: str) -> None:
        get_logger().error(Event.DOCUMENT_UNREADABLE, order_id=order_id, error=reason, alarm=True)
        self._metrics.alarms(Event.DOCUMENT_UNREADABLE).inc()

    def failed(self, order_id: str, error: Exception) -> None:
        get_logger().error(Event.ORDER_SET_ASIDE, order_id=order_id, alarm=True, exc_info=error)
        self._metrics.alarms(Event.ORDER_SET_ASIDE).inc()

    def set_aside(self, orders: int) -> None:
        self._metrics.orders_set_aside.set(orders)

    # ----------------------------------------------------------------------------------------------------- the orders

    def finished(
        self, before: Order | None, after: Order | None, messages: Sequence[QueuedMessage], store_ms: float
    ) -> None:
        """An order's document stands as `after`: log and count what ended with it.

        `messages` have led to it from `before`, and `store_ms` is the time that its calls to the store took.
        """
        if after is None or after.payment is None:
            return
        if after is not before and before is not None and before.payment is after.payment:
            return  # an event was published, or came from the platform: no charge has changed
        self._add_times(after, messages, store_ms)
        states = {attempt.number: attempt for attempt in before.attempts} if before is not None else {}
        for attempt in after.attempts:
            was = states.get(attempt.number)
            if attempt.disputed and attempt.state is AttemptState.PAID and not (was is not None and was.disputed):
                self._alarm(Event.CHARGE_DISPUTED, after, attempt)
            if was is not None and was.state is attempt.state:
                continue
            self._state_entered(after, attempt, was)

    def _add_times(self, order: Order, messages: Sequence[QueuedMessage], store_ms: float) -> None:
        current = order.unsettled or (order.attempts[-1] if order.attempts else None)
        if current is None:
            return
        name = (order.id, current.number)
        times = self._times.get(name)
        if times is None:
            if current.state not in UNSETTLED:
                return
            if len(self._times) >= TIMED_CHARGES_LIMIT:
                del self._times[next(iter(self._times))]
            times = self._times[name] = Times()
        times.mongo_ms += store_ms
        for message in messages:
            if isinstance(message, EffectCompleted):
                times.stripe_ms += message.call_ms
                times.away_ms += message.away_ms
            elif isinstance(message, PendingCharge) and times.request_id is None:
                times.request_id, times.asked_at = message.message.request_id, message.message.asked_at

    def _state_entered(self, order: Order, attempt: Attempt, was: Attempt | None) -> None:
        if was is not None and was.state in UNSETTLED and attempt.state not in UNSETTLED:
            self._charge_finished(order, attempt)
        match attempt.state:
            case AttemptState.REFUNDING if _given_back_by_hand(attempt):
                return
            case AttemptState.REFUNDING if was is not None and was.state in SETTLED_BY_NOW - {AttemptState.PAID}:
                self._alarm(Event.STRAY_CHARGE_FOUND, order, attempt)
                self._metrics.stray_charges.inc()
            case AttemptState.PAID if was is not None and was.state in SETTLED_BY_NOW:
                # The customer's browser has confirmed the intent again, with its client secret: the order is paid.
                self._charge_finished(order, attempt)
            case AttemptState.AWAITING:
                times = self._times.get((order.id, attempt.number))
                if times is not None:
                    times.awaits_from = self._clock.monotonic()
                self._awaits_customer(order, attempt)
            case AttemptState.REFUNDED:
                self._refunded(order, attempt)
            case AttemptState.CHARGED_BACK:
                self._charged_back(order, attempt)
            case AttemptState.BLOCKED if was is not None and was.state in GIVEN_BACK:
                self._alarm(Event.REFUND_FAILED, order, attempt)
                self._metrics.refunds("failed").inc()
            case AttemptState.BLOCKED:
                self._alarm(Event.REFUND_BLOCKED, order, attempt)
                self._metrics.refunds("blocked").inc()
            case _:
                return

    def _charge_finished(self, order: Order, attempt: Attempt) -> None:
        """The canonical line. The time is from the request until its outcome is committed.

        Of a charge that another process began it is the time since its intent. Rechecks while the bank waits are the
        customer's time.
        """
        times = self._times.pop((order.id, attempt.number), None) or Times()
        now_s = self._clock.monotonic()
        if times.asked_at is not None:
            total_ms = (now_s - times.asked_at) * 1_000
        else:
            total_ms = max(0.0, (self._clock.now() - attempt.first_sent).total_seconds() * 1_000)
        spent_ms = {
            "stripe_ms": times.stripe_ms,
            "stripe_away_ms": times.away_ms,
            "mongo_ms": times.mongo_ms,
            "customer_ms": 0.0 if times.awaits_from is None else (now_s - times.awaits_from) * 1_000,
        }
        spent_ms["waiting_ms"] = max(0.0, total_ms - sum(spent_ms.values()))
        outcome = attempt.state.value
        if attempt.state is AttemptState.REFUNDING:
            outcome = "refunded_by_hand" if _given_back_by_hand(attempt) else "charged_too_late"
        self._metrics.charges(outcome).inc()
        self._metrics.charge_seconds.observe(total_ms / 1_000)
        for where, ms in spent_ms.items():
            self._metrics.charge_time_seconds(where.removesuffix("_ms")).inc(ms / 1_000)
        get_logger().info(
            Event.CHARGE_FINISHED,
            order_id=order.id,
            payment_id=order.payment.id if order.payment else None,
            request_id=times.request_id,
            attempt=attempt.number,
            attempts=len(order.attempts),
            send=attempt.sends,
            outcome=outcome,
            amount=attempt.amount,
            currency=attempt.currency,
            charge_id=attempt.charge_id,
            amount_refunded=attempt.amount_refunded or None,
            intent_id=_intent_id(order, attempt),
            decline_code=attempt.decline_code,
            reason=_refusal(attempt),
            total_ms=round(total_ms, 1),
            **{name: round(ms, 1) for name, ms in spent_ms.items()},
        )

    def _awaits_customer(self, order: Order, attempt: Attempt) -> None:
        get_logger().info(
            Event.CUSTOMER_AWAITED,
            order_id=order.id,
            payment_id=order.payment.id if order.payment else None,
            intent_id=_intent_id(order, attempt),
            attempt=attempt.number,
        )

    def _refunded(self, order: Order, attempt: Attempt) -> None:
        self._metrics.refunds("refunded").inc()
        get_logger().info(
            Event.REFUND_FINISHED,
            order_id=order.id,
            payment_id=order.payment.id if order.payment else None,
            attempt=attempt.number,
            amount=attempt.amount,
            currency=attempt.currency,
            charge_id=attempt.charge_id,
            refund_id=attempt.refund.id if attempt.refund else None,
        )

    def _charged_back(self, order: Order, attempt: Attempt) -> None:
        """An end, and no alarm, unless the bank gave back a part only: Stripe makes no refund of the rest."""
        self._metrics.refunds("charged_back").inc()
        refund = attempt.refund
        partly = refund is not None and refund.text is not None
        if partly:
            self._metrics.alarms(Event.CHARGED_BACK).inc()
        get_logger().log(
            logging.ERROR if partly else logging.WARNING,
            Event.CHARGED_BACK,
            order_id=order.id,
            payment_id=order.payment.id if order.payment else None,
            attempt=attempt.number,
            amount=attempt.amount,
            currency=attempt.currency,
            charge_id=attempt.charge_id,
            dispute_id=refund.dispute_id if refund else None,
            **({"alarm": True, "reason": refund.text} if refund is not None and partly else {}),
        )

    def _alarm(self, event: Event, order: Order, attempt: Attempt) -> None:
        self._metrics.alarms(event).inc()
        get_logger().error(
            event,
            alarm=True,
            order_id=order.id,
            payment_id=order.payment.id if order.payment else None,
            attempt=attempt.number,
            charge_id=attempt.charge_id,
            reason=attempt.refund.text if attempt.refund else None,
        )

    # ------------------------------------------------------------------------------- what is not settled, in all orders

    def backlog(
        self,
        pending: Mapping[Matter, int],
        oldest: Mapping[Matter, datetime],
        unpublished: int,
        dead_letters: int,
        at: datetime,
    ) -> None:
        """The database was read at `at`: what is not settled, since when the oldest is not; events that are not out."""
        metrics = self._metrics
        for matter in Matter:
            age_s = (at - oldest[matter]).total_seconds() if matter in oldest else 0.0
            metrics.orders_pending(matter.value).set(pending.get(matter, 0))
            metrics.orders_pending_oldest_seconds(matter.value).set(max(0.0, age_s))
        metrics.refunds_blocked.set(pending.get(Matter.BLOCKED_REFUND, 0))
        metrics.events_unpublished.set(unpublished)
        metrics.dead_letters_left.set(dead_letters)
        metrics.backlog_read_timestamp_seconds.set(at.timestamp())

    def backlog_unread(self, error: str) -> None:
        get_logger().warning(Event.BACKLOG_UNREAD, error=error)

    def stuck(self, count: int) -> None:
        self._metrics.orders_stuck.set(count)

    def still_blocked(self, wait: Wait) -> None:
        """A refund that was blocked before this process began, or a day ago."""
        self._metrics.alarms(Event.REFUND_BLOCKED).inc()
        get_logger().error(
            Event.REFUND_BLOCKED,
            alarm=True,
            order_id=wait.order_id,
            payment_id=wait.payment_id,
            attempt=wait.attempt,
            charge_id=wait.charge_id,
            reason=wait.text,
        )

    def dead_letters_left(self, count: int) -> None:
        get_logger().warning(Event.DEAD_LETTERS_LEFT, count=count)


def _refusal(attempt: Attempt) -> str | None:
    """Why an attempt was refused, in words: the kind of refusal, and Stripe's own words where it gave any."""
    if attempt.state is not AttemptState.REFUSED or attempt.refusal is None:
        return None
    return f"{attempt.refusal.value}: {attempt.text}" if attempt.text else attempt.refusal.value


def _given_back_by_hand(attempt: Attempt) -> bool:
    """Whether its charge was refunded at Stripe before it was known here: the refund is read, not made."""
    return attempt.task is not None and attempt.task.kind is TaskKind.FIND_REFUND


def _intent_id(order: Order, attempt: Attempt) -> str | None:
    """The id of the attempt's intent, where the document has it: only of the order's last intent."""
    intent = order.intent
    return intent.id if intent is not None and intent.number == attempt.intent else None
