"""What the ledger tells people: log lines, metrics, and the health of MongoDB, all read off confirmed documents.

One line for each charge when it ends, one for each refund, an alarm for what should never be. It reads the difference
between an order before and after, so that several messages folded into one write are told once each.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from payment.actors.commit import Work
from payment.actors.letters import ChargeAsked, EffectEnded
from payment.core.order import UNSETTLED, Attempt, AttemptState, Order, TaskKind
from payment.ops.health import Dependency, Health
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.vocabulary import Event
from payment.ports.clock import Clock
from payment.ports.store import Committed

TIMED_CHARGES_LIMIT = 20_000
"""Charges whose times are being added up: above what may be in hand. Beyond it the oldest are forgotten (another
process has ended them), and a line says 0 for what is not known."""

SETTLED_BY_NOW = frozenset({AttemptState.CLOSED, AttemptState.DECLINED, AttemptState.REFUSED, AttemptState.PAID})


class Times:
    """Where the time of one charge went, in milliseconds, as far as this process has seen it."""

    __slots__ = ("asked_at", "awaits_from", "away_ms", "mongo_ms", "request_id", "stripe_ms")

    def __init__(self) -> None:
        self.asked_at: float | None = None
        """Monotonic seconds; None for a charge that another process, or an earlier run, began."""
        self.stripe_ms = 0.0
        self.away_ms = 0.0
        self.awaits_from: float | None = None
        """Monotonic seconds: since when the bank waits for the customer."""
        self.mongo_ms = 0.0
        self.request_id: str | None = None


class Report:
    """The ledger's voice."""

    def __init__(self, health: Health, metrics: Metrics, clock: Clock) -> None:
        self._health = health
        self._metrics = metrics
        self._clock = clock
        self._times: dict[tuple[str, int], Times] = {}
        self._blocked: set[str | None] = set()
        self._unreadable: set[str] = set()

    # ------------------------------------------------------------------------------------------------------ the store

    def store_up(self) -> None:
        self._health.mark_up(Dependency.MONGODB)

    def store_down(self, reason: str) -> None:
        self._health.mark_down(Dependency.MONGODB, reason)

    def committed(self, results: Sequence[Committed]) -> None:
        for result, documents in Counter(results).items():
            self._metrics.ledger_commits(result.value).inc(documents)
        self._metrics.ledger_batch_documents.observe(len(results))
        if (conflicts := results.count(Committed.CONFLICT)) > 0:
            get_logger().debug(Event.COMMIT_CONFLICT, documents=conflicts)
        if (unknown := results.count(Committed.UNKNOWN)) > 0:
            get_logger().warning(Event.COMMIT_UNKNOWN, documents=unknown)

    def commit_done(self, seconds: float) -> None:
        self._metrics.ledger_commit_seconds.observe(seconds)

    def swept(self, orders: int) -> None:
        self._metrics.sweep_due.set(orders)
        if orders:
            get_logger().debug(Event.SWEEP_FINISHED, count=orders)

    def depth(self, mailbox: int) -> None:
        self._metrics.actor_mailbox("mongo").set(mailbox)

    def unwritable(self, work: Work) -> None:
        get_logger().error(Event.DOCUMENT_UNWRITABLE, order_id=work.order_id, alarm=True)
        self._metrics.alarms(Event.DOCUMENT_UNWRITABLE).inc()

    def unreadable(self, documents: Mapping[str, str]) -> None:
        """Each is said once, for as long as it can't be read."""
        for order_id in documents.keys() - self._unreadable:
            get_logger().error(Event.DOCUMENT_UNREADABLE, order_id=order_id, error=documents[order_id], alarm=True)
            self._metrics.alarms(Event.DOCUMENT_UNREADABLE).inc()
        self._unreadable = set(documents)

    # ----------------------------------------------------------------------------------------------------- the orders

    def finished(self, work: Work) -> None:
        """An order's document stands: say what ended with it."""
        if work.after is None or work.after.payment is None:
            return
        if work.changed and work.before is not None and work.before.payment is work.after.payment:
            return  # an event is out, the platform has said something: no charge has moved
        self._add_times(work, work.after)
        before = {attempt.number: attempt for attempt in work.before.attempts} if work.before else {}
        for attempt in work.after.attempts:
            was = before.get(attempt.number)
            self._note_blocked(attempt)
            if was is not None and was.state is attempt.state:
                continue
            self._state_entered(work.after, attempt, was)

    def _add_times(self, work: Work, order: Order) -> None:
        current = order.unsettled or (order.attempts[-1] if order.attempts else None)
        if current is None:
            return
        name = (order.id, current.number)
        if name not in self._times:
            if current.state not in UNSETTLED:
                return
            if len(self._times) >= TIMED_CHARGES_LIMIT:
                del self._times[next(iter(self._times))]
        times = self._times.setdefault(name, Times())
        times.mongo_ms += work.store_ms
        for letter in work.letters:
            if isinstance(letter, EffectEnded):
                times.stripe_ms += letter.call_ms
                times.away_ms += letter.away_ms
            elif isinstance(letter, ChargeAsked) and times.request_id is None:
                times.request_id, times.asked_at = letter.request_id, letter.asked_at

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
            case AttemptState.BLOCKED:
                self._alarm(Event.REFUND_BLOCKED, order, attempt)
                self._metrics.refunds("blocked").inc()
            case _:
                return

    def _charge_finished(self, order: Order, attempt: Attempt) -> None:
        """The canonical line."""
        times = self._times.pop((order.id, attempt.number), None) or Times()
        total_ms = self._total_ms(times, attempt)
        outcome = attempt.state.value
        if attempt.state is AttemptState.REFUNDING:
            outcome = "refunded_by_hand" if _given_back_by_hand(attempt) else "charged_too_late"
        self._metrics.charges(outcome).inc()
        self._metrics.charge_seconds.observe(total_ms / 1_000)
        spent_ms = self._spent_ms(times, total_ms)
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
            intent_id=_intent_id(order, attempt),
            decline_code=attempt.decline_code,
            total_ms=round(total_ms, 1),
            **{name: round(ms, 1) for name, ms in spent_ms.items()},
        )

    def _spent_ms(self, times: Times, total_ms: float) -> dict[str, float]:
        """Where the time of a charge went, by the fields of its line. Looks while the bank waits are the customer's."""
        customer_ms = 0.0 if times.awaits_from is None else (self._clock.monotonic() - times.awaits_from) * 1_000
        spent_ms = {
            "stripe_ms": times.stripe_ms,
            "stripe_away_ms": times.away_ms,
            "mongo_ms": times.mongo_ms,
            "customer_ms": customer_ms,
        }
        return spent_ms | {"waiting_ms": max(0.0, total_ms - sum(spent_ms.values()))}

    def _awaits_customer(self, order: Order, attempt: Attempt) -> None:
        get_logger().info(
            Event.CUSTOMER_AWAITED,
            order_id=order.id,
            payment_id=order.payment.id if order.payment else None,
            intent_id=_intent_id(order, attempt),
            attempt=attempt.number,
        )

    def _total_ms(self, times: Times, attempt: Attempt) -> float:
        """From the request until its outcome is on paper; of a charge that somebody else began, since its intent."""
        if times.asked_at is not None:
            return (self._clock.monotonic() - times.asked_at) * 1_000
        return max(0.0, (self._clock.now() - attempt.first_sent).total_seconds() * 1_000)

    def _note_blocked(self, attempt: Attempt) -> None:
        """The gauge counts charges by name, so that it is right whoever blocks and unblocks them, and after a restart.

        A blocked refund is looked at once an hour at the latest: by then every run knows it.
        """
        if attempt.state is AttemptState.BLOCKED:
            self._blocked.add(attempt.charge_id)
        elif attempt.charge_id in self._blocked:
            self._blocked.discard(attempt.charge_id)
        else:
            return
        self._metrics.refunds_blocked.set(len(self._blocked))

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


def _given_back_by_hand(attempt: Attempt) -> bool:
    """Whether its charge was refunded at Stripe before it was known here: the refund is looked at, not made."""
    return attempt.task is not None and attempt.task.kind is TaskKind.LOOK_REFUND


def _intent_id(order: Order, attempt: Attempt) -> str | None:
    """The id of the attempt's intent, where the document has it: only of the order's last intent."""
    intent = order.intent
    return intent.id if intent is not None and intent.number == attempt.intent else None
