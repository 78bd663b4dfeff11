"""Replies to clients about an order, read off the document as it is written.

The ledger calls `reply_to` when a request arrives, and again after every write of its order while the request is
pending. `payment.actors.http.responses` gives each reply its HTTP status.

Change together: `Reply`, `Conflict`, `Denied` and `Unavailability` here with `payment.actors.http.responses`.
"""

import enum
import hashlib
from datetime import datetime
from typing import assert_never

from msgspec import Struct

from payment.core.messages import ChargeRequested, InstrumentKind, RefusalReason
from payment.core.money import within_stripe_limits
from payment.core.order import (
    ATTEMPTS_LIMIT,
    GIVEN_BACK,
    GIVING_BACK,
    UNSETTLED,
    Attempt,
    AttemptState,
    CancelReason,
    Order,
    Payment,
)


class Paid(Struct, frozen=True):
    """The order is paid by the request's own instrument. `replayed`: it was paid before the request arrived."""

    payment_id: str
    order_id: str
    stripe_id: str
    replayed: bool = False


class OutcomePending(Struct, frozen=True):
    """The document has the attempt, and its outcome is not known yet."""

    payment_id: str
    order_id: str


class RequiresAction(Struct, frozen=True):
    """The customer has to authenticate, and the request named a way in which its client can let that happen.

    The client secret is not part of the reply: it goes beside it (`payment.ports.cards.Handover`).
    """

    payment_id: str
    order_id: str


class CardWasDeclined(Struct, frozen=True):
    """This card was tried and declined, now or before; the order can be paid with another one.

    `authentication`: the customer had to authenticate, but could not be asked, failed, or did not come back.
    """

    payment_id: str
    decline_code: str | None
    text: str
    authentication: bool = False


class InstrumentRefused(Struct, frozen=True):
    """Stripe can't use this token, payment method or confirmation token; the order can be paid with another one."""

    kind: InstrumentKind
    text: str


class AmountRefused(Struct, frozen=True):
    """Stripe can't take this amount, or this request, in this currency."""

    text: str


class Conflict(enum.Enum):
    """Why the order can't be charged with this instrument, though the order is the client's own."""

    CANCELLED = "the order has been cancelled"
    EXPIRED = "the order has expired"
    PAID = "the order has already been paid"
    UNDER_WAY = "another attempt to pay this order is not settled yet"


class Denied(enum.Enum):
    """Why the client receives nothing about the order."""

    UNKNOWN = "no such order"
    NOT_YOURS = "the order belongs to somebody else"
    TOO_MANY_ATTEMPTS = "too many attempts to pay this order"
    TOO_MANY_DECLINES = "too many of your payments were declined"


class PaymentStatus(enum.Enum):
    """The `status` of a payment in the body of `GET /api/v1/payments/{id}`."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    PAID = "paid"
    DECLINED = "declined"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


class Start(enum.Enum):
    """Not a reply: a new attempt may begin, now or once the last one's intent is cancelled."""

    NEW_ATTEMPT = "new attempt"
    SUPERSEDE = "another card's attempt awaits its customer: its intent is cancelled first"
    AFTER_CANCEL = "the intent is being cancelled or retrieved"


Reply = Paid | OutcomePending | RequiresAction | CardWasDeclined | InstrumentRefused | AmountRefused | Conflict | Denied


class Unavailability(enum.Enum):
    """Why a request was not answered by the document. The client must learn whether a charge may exist."""

    BUSY = "too many requests are waiting"
    STORE_AWAY = "the database can't be used now"
    STOPPING = "the service is stopping"
    OTHERS_UNDER_WAY = "other payments of yours have to end first"
    CRASHED = "the request was interrupted"
    CORRUPT_DOCUMENT = "the stored order can't be read, which has been reported"
    SET_ASIDE = "the order is set aside after an error of ours, which has been reported"
    WRITE_UNKNOWN = "the outcome of a write is unknown"
    """The only reason after which a reply must not claim that nothing was charged."""


class Unavailable(Struct, frozen=True):
    """The request was not accepted, or its outcome is unknown. `retry_after_s`: when to try again, in seconds."""

    reason: Unavailability
    retry_after_s: int = 1


class PaymentView(Struct, frozen=True):
    """A payment as its owner may see it. `stripe_id` is its charge's, once a charge pays the order or has paid it."""

    payment_id: str
    order_id: str
    user_id: str
    status: PaymentStatus
    stripe_id: str | None


NOT_COMPLETED = "The payment could not be completed. Nothing was kept. Try again with another card."
"""The text where Stripe's failure was final, or the attempt was never sent: Stripe gave no decline."""


NOT_TRIED = "The payment could not be made, and nothing was charged. The fault is ours, and was reported."
"""The text where Stripe rejected our request itself. Stripe's own text is in the log, for an operator."""


AUTHENTICATION_CODES = frozenset(
    {
        "authentication_required",
        "authentication_not_handled",
        "payment_intent_authentication_failure",
        CancelReason.AUTHENTICATION_FAILED.value,
    }
)
"""Codes and decline codes where the customer had to authenticate: Stripe's (docs.stripe.com/error-codes), and ours
for a customer who did not come back."""


def instrument_hash(value: str) -> str:
    """Returns the SHA-256 of an instrument's value, in hexadecimal digits.

    The value begins with its kind, so the hash covers both.
    """
    return hashlib.sha256(value.encode()).hexdigest()


def reply_to(order: Order | None, request: ChargeRequested, at: datetime) -> Reply | Start:
    """Returns the reply to a request to charge, by the document alone; a `Start` where a new attempt may begin."""
    if order is None or order.user_id is None:
        return Denied.UNKNOWN
    if order.user_id != request.user_id:
        return Denied.NOT_YOURS
    if order.cancelled:
        return Conflict.CANCELLED
    attempt = _attempt_with(order, request)
    if order.payment is not None and attempt is not None:
        return _reply_of(order, order.payment, attempt, request, at)
    return _why_not(order, at) or _start(order)


def payment_status(order: Order, at: datetime) -> PaymentStatus:
    """Returns the status of an order's payment over all its attempts."""
    if order.cancelled:
        return _cancelled_status(order)
    if order.kept is not None:
        return PaymentStatus.PAID
    if order.unsettled is not None:
        awaiting = order.unsettled.state is AttemptState.AWAITING
        return PaymentStatus.REQUIRES_ACTION if awaiting else PaymentStatus.PENDING
    if not order.attempts:
        # Only its intent was created: nothing was tried, so nothing has failed.
        return PaymentStatus.PENDING if order.open_at(at) else PaymentStatus.EXPIRED
    last = order.attempts[-1].state
    if last in GIVING_BACK:
        return PaymentStatus.REFUNDED if last in GIVEN_BACK else PaymentStatus.REFUNDING
    return PaymentStatus.DECLINED if order.open_at(at) else PaymentStatus.EXPIRED


def _cancelled_status(order: Order) -> PaymentStatus:
    """An unfinished refund decides first, then an unknown outcome, then what is over."""
    charged = [attempt.state for attempt in order.attempts if attempt.state in GIVING_BACK]
    if any(state not in GIVEN_BACK for state in charged):
        return PaymentStatus.REFUNDING
    if order.unsettled is not None:
        return PaymentStatus.PENDING
    return PaymentStatus.REFUNDED if charged else PaymentStatus.CANCELLED


def _attempt_with(order: Order, request: ChargeRequested) -> Attempt | None:
    if not order.attempts:
        return None
    hashed = instrument_hash(request.instrument.value)
    return next((attempt for attempt in reversed(order.attempts) if attempt.token_hash == hashed), None)


def _why_not(order: Order, at: datetime) -> Reply | None:
    """Returns why another instrument is refused, or None.

    An attempt that awaits its customer is no reason: it is superseded.
    """
    if order.kept is not None:
        return Conflict.PAID
    unsettled = order.unsettled
    if unsettled is not None and not unsettled.gives_way:
        return Conflict.UNDER_WAY
    if any(attempt.undone for attempt in order.attempts):
        # A charge that counted as given back is not. Until it is refunded again, a new charge would be the second.
        return Conflict.UNDER_WAY
    if not order.open_at(at):
        return Conflict.EXPIRED
    if len(order.attempts) >= ATTEMPTS_LIMIT:
        return Denied.TOO_MANY_ATTEMPTS
    if order.amount is None or order.currency is None or not within_stripe_limits(order.amount, order.currency):
        return AmountRefused("The order's amount is outside what a card can be charged in its currency.")
    return None


def _start(order: Order) -> Start:
    if order.unsettled is not None:
        return Start.SUPERSEDE if order.unsettled.state is AttemptState.AWAITING else Start.AFTER_CANCEL
    return Start.AFTER_CANCEL if order.intent_busy else Start.NEW_ATTEMPT


def _reply_of(order: Order, payment: Payment, attempt: Attempt, request: ChargeRequested, at: datetime) -> Reply:
    """Returns the stored outcome of an instrument that was used for the order before, without a request to Stripe."""
    if attempt.state is AttemptState.AWAITING and request.authentication.possible and order.open_at(at):
        return RequiresAction(payment.id, order.id)
    if attempt.state in UNSETTLED:
        return OutcomePending(payment.id, order.id)
    if payment.kept == attempt.number and attempt.charge_id is not None:
        return Paid(payment.id, order.id, attempt.charge_id)
    match attempt.refusal:
        case RefusalReason.TOKEN | RefusalReason.TOKEN_USED:
            return InstrumentRefused(request.instrument.kind, attempt.text or "")
        case RefusalReason.AMOUNT:
            return AmountRefused(attempt.text or "")
        case RefusalReason.REQUEST:
            return AmountRefused(NOT_TRIED)
        case RefusalReason.WITHHELD if not order.open_at(at):
            return Conflict.EXPIRED
        case None if attempt.state is AttemptState.CLOSED and not order.open_at(at):
            return Conflict.EXPIRED
        case None if attempt.code is not None:
            authentication = not AUTHENTICATION_CODES.isdisjoint((attempt.code, attempt.decline_code))
            return CardWasDeclined(payment.id, attempt.decline_code, attempt.text or "", authentication)
        case RefusalReason.WITHHELD | None:
            return CardWasDeclined(payment.id, "processing_error", NOT_COMPLETED)
        case _:
            assert_never(attempt.refusal)
