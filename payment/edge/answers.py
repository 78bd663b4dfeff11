"""Every answer that HTTP can give: one table of cases, and what makes a reply of the ledger one of them.

`Case` is the contract's HTTP table. The HTTP actor renders through it and `payment.edge.openapi` describes it, so
the two can't say different things. Everything here is a function of its arguments; nothing of the inside (an exception,
a path, a version) is ever put into a body.

Two sentences carry weight: "nothing was charged" stands only where the request never entered a write, and
"outcome unknown: repeat the same request" wherever it may have. Change together: `Case`, and the contract's HTTP table.
"""

import enum
from collections.abc import Iterable
from typing import Literal, assert_never

import msgspec
from msgspec import Struct

from payment.core.replies import (
    AmountRefused,
    Answer,
    CardWasDeclined,
    Conflict,
    Denied,
    Paid,
    PaymentStatus,
    PaymentView,
    Pending,
    TokenRefused,
    Unavailability,
    Unavailable,
)
from payment.edge.requests import FieldError

PAYMENTS_PATH = "/api/v1/payments"

JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

RETRY_AFTER_S = 1
"""When to ask again, where nothing better is known: what is away is looked for about once a second."""

NOTHING_CHARGED = "nothing was charged by this request"
OUTCOME_UNKNOWN = "outcome unknown: repeat the same request"


class PaidBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge that succeeded."""

    id: str
    order_id: str
    stripe_id: str
    status: Literal["paid"] = "paid"


class PendingBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge whose outcome is not known yet."""

    id: str
    order_id: str
    status: Literal["pending"] = "pending"


class PaymentBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A payment over all its attempts. `stripeId` is there once a charge pays the order, or did."""

    id: str
    order_id: str
    status: PaymentStatus
    stripe_id: str | msgspec.UnsetType = msgspec.UNSET


class ErrorItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is wrong. `field` is its place in the request; `decline_code` is Stripe's, of a declined card."""

    message: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    decline_code: str | msgspec.UnsetType = msgspec.UNSET


class ErrorBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The platform's shape of an error: its web client maps over `errors`."""

    errors: tuple[ErrorItem, ...]


class AliveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """No actor is stuck."""

    status: Literal["alive"] = "alive"


class StuckBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Actors that have been at one thing for too long, by name."""

    stuck: tuple[str, ...]
    status: Literal["stuck"] = "stuck"


class Row(Struct, frozen=True):
    """One line of the table. `body` is the type of its JSON, or None where it is not ours to describe."""

    status: int
    meaning: str
    body: type[Struct] | None = ErrorBody
    headers: tuple[str, ...] = ()
    content_type: str = JSON


class Case(enum.Enum):
    """The table: status, what it means, the body's type, and the headers that are always there."""

    CHARGED = Row(201, "The order was charged.", PaidBody, ("Location",))
    ALREADY_CHARGED = Row(200, "The same request had been charged before. It was not charged again.", PaidBody)
    OUTCOME_PENDING = Row(202, "The outcome is not known yet.", PendingBody, ("Location", "Retry-After"))
    PAYMENT = Row(200, "The payment.", PaymentBody)

    BAD_BODY = Row(400, "The body is not JSON, or fields are missing or malformed.")
    BAD_TOKEN = Row(400, "There is no such token, or it was used before. The order stays payable.")
    BAD_HTTP = Row(400, "The request is not proper HTTP, or broke off.")
    NOT_AUTHENTICATED = Row(401, "No valid token shows who asks.", headers=("WWW-Authenticate",))
    DECLINED = Row(402, "The card was declined. The order stays payable with a new token.")
    NOT_YOURS = Row(403, "It belongs to somebody else.")
    NO_SUCH_ORDER = Row(404, "There is no such order.")
    NO_SUCH_PAYMENT = Row(404, "There is no such payment.")
    NO_SUCH_ROUTE = Row(404, "There is nothing at this address.")
    BAD_METHOD = Row(405, "The address does not take this method.", headers=("Allow",))
    TOO_SLOW = Row(408, "The body did not come in time.")
    CONFLICT = Row(409, "The order is cancelled, expired, paid with another token, or another attempt is under way.")
    BODY_TOO_LARGE = Row(413, "The body is too large.")
    BAD_MEDIA_TYPE = Row(415, "The body is not declared as application/json, or it is encoded.", headers=("Accept",))
    BAD_EXPECTATION = Row(417, "An expectation other than 100-continue.")
    BAD_AMOUNT = Row(422, "Stripe can't take this amount.")
    TOO_MANY_ATTEMPTS = Row(429, "There were too many attempts on this order.")
    HEAD_TOO_LARGE = Row(431, "The request line or a header is too large, or there are too many.")
    CRASHED = Row(500, "Something went wrong on our side: outcome unknown.")
    UNAVAILABLE = Row(503, "The service can't do it now. The message says what is known.", headers=("Retry-After",))

    ALIVE = Row(200, "No actor is stuck.", AliveBody)
    STUCK = Row(503, "An actor is stuck.", StuckBody)
    READY = Row(200, "Charges are taken.", None)
    NOT_READY = Row(503, "No charge can be taken.", None)
    METRICS = Row(200, "Metrics in Prometheus' text format.", None, content_type=PROMETHEUS)
    DOCUMENT = Row(200, "This document.", None)


class Rendered(Struct, frozen=True):
    """An answer, ready to be sent."""

    case: Case
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def status(self) -> int:
        return self.case.value.status


_encode = msgspec.json.Encoder().encode


def payment_location(payment_id: str) -> str:
    """Where a payment can be read."""
    return f"{PAYMENTS_PATH}/{payment_id}"


def charge_answer(answer: Answer, *, write_sent: bool) -> Rendered:
    """What a request to charge gets. `write_sent`: it entered a write: no failure may say that nothing was charged."""
    reply = answer.reply
    match reply:
        case Paid():
            return _paid(reply)
        case Pending():
            return _pending(reply, answer.retry_after_s)
        case CardWasDeclined(decline_code=code, text=text):
            item = ErrorItem(text or "The card was declined", decline_code=code or msgspec.UNSET)
            return _errors(Case.DECLINED, (item,))
        case TokenRefused(text=text):
            return error(Case.BAD_TOKEN, text or "There is no such token, or it was used before", field="token")
        case AmountRefused(text=text):
            return error(Case.BAD_AMOUNT, text or "The order's amount can't be charged")
        case Conflict():
            return error(Case.CONFLICT, _sentence(reply.value))
        case Denied():
            return error(_DENIED[reply], _sentence(reply.value))
        case Unavailable():
            return unavailable(reply, write_sent=write_sent)
        case _:
            assert_never(reply)


def payment_answer(found: PaymentView | Unavailable | None, user_id: str) -> Rendered:
    """What a request to see a payment gets. Only its owner sees it."""
    match found:
        case None:
            return error(Case.NO_SUCH_PAYMENT, "No such payment")
        case Unavailable(reason=reason, retry_after_s=after_s):
            return _retry_later(f"{_sentence(reason.value)}: repeat the same request", after_s)
        case PaymentView() if found.user_id != user_id:
            return error(Case.NOT_YOURS, "The payment belongs to somebody else")
        case PaymentView():
            stripe_id = found.stripe_id or msgspec.UNSET
            body = PaymentBody(id=found.payment_id, order_id=found.order_id, status=found.status, stripe_id=stripe_id)
            return Rendered(Case.PAYMENT, _encode(body))
        case _:
            assert_never(found)


def unavailable(what: Unavailable, *, write_sent: bool) -> Rendered:
    """A charge that got no answer by the document, in the words that are true of it."""
    if write_sent or what.reason is Unavailability.WRITE_UNKNOWN:
        return _retry_later(f"No answer in time; {OUTCOME_UNKNOWN}", what.retry_after_s)
    return _retry_later(f"{_sentence(what.reason.value)}; {NOTHING_CHARGED}", what.retry_after_s)


def no_charges_now(reason: str, retry_after_s: int = RETRY_AFTER_S) -> Rendered:
    """No charge can be taken, for this reason (one that anybody may read)."""
    return _retry_later(f"{_sentence(reason)}; {NOTHING_CHARGED}", retry_after_s)


def crashed() -> Rendered:
    """Our own bug. The request may have taken effect, and the same one again is always safe."""
    return error(Case.CRASHED, f"Something went wrong on our side; {OUTCOME_UNKNOWN}")


def bad_body(faults: Iterable[FieldError]) -> Rendered:
    """One error for each field that is wrong."""
    return _errors(Case.BAD_BODY, tuple(ErrorItem(each.message, each.field or msgspec.UNSET) for each in faults))


def error(case: Case, message: str, *, field: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Rendered:
    """An answer with one error."""
    return _errors(case, (ErrorItem(message, field or msgspec.UNSET),), headers)


def plain(case: Case, body: Struct | bytes | dict[str, object]) -> Rendered:
    """An answer that is no error in the platform's sense. Bytes are sent as they are, all else as JSON."""
    return Rendered(case, body if isinstance(body, bytes) else _encode(body))


_DENIED = {
    Denied.UNKNOWN: Case.NO_SUCH_ORDER,
    Denied.NOT_YOURS: Case.NOT_YOURS,
    Denied.TOO_MANY_ATTEMPTS: Case.TOO_MANY_ATTEMPTS,
}


def _paid(reply: Paid) -> Rendered:
    body = _encode(PaidBody(id=reply.payment_id, order_id=reply.order_id, stripe_id=reply.stripe_id))
    if reply.replayed:
        return Rendered(Case.ALREADY_CHARGED, body)
    return Rendered(Case.CHARGED, body, (("Location", payment_location(reply.payment_id)),))


def _pending(reply: Pending, retry_after_s: int | None) -> Rendered:
    body = _encode(PendingBody(id=reply.payment_id, order_id=reply.order_id))
    location = ("Location", payment_location(reply.payment_id))
    return Rendered(Case.OUTCOME_PENDING, body, (location, _retry_after(retry_after_s)))


def _retry_later(message: str, retry_after_s: int) -> Rendered:
    return error(Case.UNAVAILABLE, message, headers=(_retry_after(retry_after_s),))


def _retry_after(seconds: int | None) -> tuple[str, str]:
    return ("Retry-After", str(max(RETRY_AFTER_S, seconds or 0)))


def _errors(case: Case, items: tuple[ErrorItem, ...], headers: tuple[tuple[str, str], ...] = ()) -> Rendered:
    return Rendered(case, _encode(ErrorBody(items)), headers)


def _sentence(text: str) -> str:
    """With a capital at its start, and every other letter as it was."""
    return text[:1].upper() + text[1:]
