"""Orders for the core's tests, made as the world makes them: by telling `decide` one message after another.

A `Story` is one order, a clock that is moved by hand, and two processes. It holds every step to what must be true of
all of them (`checks.check_step`), so each test that tells a story tests that too.
"""

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from payment.core.decide import decide
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, Effect, Pending
from payment.core.messages import (
    CardCharged,
    CardDeclined,
    ChargeErrorStored,
    ChargeRefunded,
    ChargeRefused,
    ChargeRequested,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    Due,
    EventPublished,
    Evidence,
    FoundCharge,
    Message,
    Moment,
    OrderCancelled,
    OrderCreated,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.core.order import Attempt, AttemptState, Order
from payment.core.pending import pending
from payment.core.replies import Reply
from tests.core.checks import check_step

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER, USER, PAYMENT = "order-1", "user-1", "payment-1"
A, A_AGAIN, B = "web-1#run1", "web-1#run2", "web-2#run1"
VERSION, NEWER_VERSION = "2026-01-01", "2027-01-01"
EXPIRES = T0 + timedelta(days=10)
"""Far enough off for a key to grow old first; a test about expiry passes its own."""

E = TypeVar("E")


def created(
    *, expires_at: datetime = EXPIRES, amount: int = 1999, currency: str = "usd", version: int = 0
) -> OrderCreated:
    return OrderCreated(ORDER, version, USER, expires_at, amount, currency)


def cancelled(version: int = 1) -> OrderCancelled:
    return OrderCancelled(ORDER, version)


def request(token: str = "tok_1", user: str = USER, payment: str = PAYMENT) -> ChargeRequested:
    return ChargeRequested(ORDER, user, token, payment)


def charged(charge_id: str = "ch_1", attempt: int = 1) -> CardCharged:
    return CardCharged(ORDER, attempt, charge_id)


def declined(attempt: int = 1) -> CardDeclined:
    return CardDeclined(ORDER, attempt, "card_declined", "insufficient_funds", "Your card has insufficient funds.")


def refused(send: int = 1, reason: RefusalReason = RefusalReason.TOKEN, attempt: int = 1) -> ChargeRefused:
    return ChargeRefused(ORDER, attempt, send, reason, "No such token.")


def unclear(send: int = 1, attempt: int = 1) -> ChargeUnclear:
    return ChargeUnclear(ORDER, attempt, send)


def withheld(send: int = 1, attempt: int = 1) -> ChargeWithheld:
    return ChargeWithheld(ORDER, attempt, send)


def error_stored(attempt: int = 1) -> ChargeErrorStored:
    return ChargeErrorStored(ORDER, attempt)


def found(evidence: Evidence, *charges: tuple[str, int], attempt: int = 1) -> ChargesFound:
    return ChargesFound(
        ORDER, attempt, evidence, tuple(FoundCharge(charge_id, number) for charge_id, number in charges)
    )


def refunded(charge_id: str = "ch_1", refund_id: str = "re_1") -> ChargeRefunded:
    return ChargeRefunded(ORDER, charge_id, refund_id)


def blocked(charge_id: str = "ch_1", refund_id: str | None = "re_1") -> RefundBlocked:
    return RefundBlocked(ORDER, charge_id, refund_id, "the refund is pending")


def refund_error_stored(charge_id: str = "ch_1", number: int = 1) -> RefundErrorStored:
    return RefundErrorStored(ORDER, charge_id, f"refund-{charge_id}-{number}")


def refund_not_found(charge_id: str = "ch_1", number: int = 1) -> RefundNotFound:
    return RefundNotFound(ORDER, charge_id, f"refund-{charge_id}-{number}")


DUE = Due(ORDER)
CREATED_IS_OUT = EventPublished(ORDER, PAYMENT_CREATED)
REFUNDED_IS_OUT = EventPublished(ORDER, PAYMENT_REFUNDED)


class Story:
    """One order and what has happened to it so far. `now` is moved by `later`; messages are decided by process A."""

    def __init__(self, *messages: Message) -> None:
        self.order: Order | None = None
        self.now = T0
        self.tell(*messages)

    def moment(self, by: str = A, *, api_version: str = VERSION) -> Moment:
        return Moment(self.now, by, api_version)

    def tell(self, *messages: Message, by: str = A) -> "Story":
        """Each message in turn, decided by one process."""
        for message in messages:
            self._step(message, by)
        return self

    def ask(self, token: str = "tok_1", user: str = USER, by: str = A) -> Reply:
        """A request to charge, and what the asker is told."""
        reply = self._step(request(token, user), by)
        assert reply is not None
        return reply

    def later(self, **span: float) -> "Story":
        self.now += timedelta(**span)
        return self

    def due(self, by: str = A) -> "Story":
        """The clock goes to the stored deadline, if it isn't there yet, and somebody looks."""
        assert self.doc.due is not None
        self.now = max(self.now, self.doc.due)
        return self.tell(DUE, by=by)

    def grown_old(self) -> "Story":
        """Looks over a request's life, each in its time, find the key too old to send: the last asks as final."""
        self.later(days=2).due()
        for hours in (6, 6, 6, 6, 1):
            self.tell(found(Evidence.PROBE)).later(hours=hours).tell(DUE)
        return self

    @property
    def doc(self) -> Order:
        assert self.order is not None
        return self.order

    def attempt(self, number: int = 1) -> Attempt:
        return self.doc.attempts[number - 1]

    def state(self, number: int = 1) -> AttemptState:
        return self.attempt(number).state

    def owed(self, kind: type[E]) -> list[E]:
        """The pending effects of one kind."""
        return [item.effect for item in pending(self.doc) if isinstance(item.effect, kind)]

    def one(self, kind: type[E]) -> E:
        """The one effect that is pending, and of this kind."""
        (item,) = pending(self.doc)
        assert isinstance(item.effect, kind), item.effect
        return item.effect

    def pending_of(self, effect: Effect) -> Pending:
        """When and in whose hands an effect is pending."""
        return next(item for item in pending(self.doc) if item.effect == effect)

    def history(self) -> list[str]:
        return [entry.what for entry in self.doc.history]

    def _step(self, message: Message, by: str) -> Reply | None:
        step = decide(self.order, message, self.moment(by))
        check_step(self.order, step.order)
        self.order = step.order
        return step.reply


def open_order() -> Story:
    return Story(created())


def charging() -> Story:
    return Story(created(), request())


def unclear_once() -> Story:
    """Charging; the first send ended unclear, the second is counted on paper."""
    return charging().tell(unclear())


def with_error_stored() -> Story:
    return unclear_once().later(seconds=1).tell(error_stored())


def abandoned() -> Story:
    """An error was stored; a minute later the list was empty. The order is payable again, the attempt watched."""
    story = with_error_stored().tell(found(Evidence.PROBE)).due()
    return story.tell(found(Evidence.STORED))


def closed() -> Story:
    """Never found in two days, and closed by an empty list asked as final."""
    return final_look().tell(found(Evidence.FINAL))


def final_look() -> Story:
    """Charging, so old that no request can be executing any more; the list is asked for as final."""
    return charging().grown_old()


def paid() -> Story:
    return charging().tell(charged())


def refunding() -> Story:
    """Paid, and cancelled after payment:created went out."""
    return paid().tell(CREATED_IS_OUT, cancelled())


def refund_blocked() -> Story:
    return refunding().tell(blocked())


def given_back() -> Story:
    return refunding().tell(refunded())


BY_STATE = {
    AttemptState.CHARGING: charging,
    AttemptState.ERROR_STORED: with_error_stored,
    AttemptState.DECLINED: lambda: charging().tell(declined()),
    AttemptState.REFUSED: lambda: charging().tell(refused()),
    AttemptState.ABANDONED: abandoned,
    AttemptState.CLOSED: closed,
    AttemptState.PAID: paid,
    AttemptState.REFUNDING: refunding,
    AttemptState.BLOCKED: refund_blocked,
    AttemptState.REFUNDED: given_back,
}
"""A story in which the first attempt has come to each state there is."""
