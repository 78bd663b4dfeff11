"""Every answer that HTTP can give: the types of the bodies, one table of cases, and what renders a reply as an answer.

`Case` is the contract's HTTP table, and `ErrorCode` has one word for each case that is an error. The HTTP actor renders
through it and `payment.actors.http.openapi` describes it, so the two can't say different things. Everything here is a
function of its arguments. No body may ever hold an exception, a path or a version.

Two sentences carry weight: "nothing was charged" stands only where the request never entered a write, and
"outcome unknown: repeat the same request" wherever it may have.

A client secret, and the address of the bank's page, pass through here on their way to the order's owner. No repr shows
either.

Change together: `Case`, `ErrorCode`, `payment.actors.http.examples`, and the contract's HTTP table.
"""

import enum
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Literal, assert_never

import msgspec
from msgspec import Meta, Struct

from payment.core.messages import InstrumentKind
from payment.core.replies import (
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    PaymentStatus,
    PaymentView,
    Reply,
    RequiresAction,
    Unavailability,
    Unavailable,
)
from payment.ports.cards import Handover

PAYMENTS_PATH = "/api/v1/payments"

JSON = "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

RETRY_AFTER_S = 1
"""When to repeat a request, in seconds, where nothing better is known: dependencies are tried about once a second."""

TOO_MANY_RETRY_AFTER_S = 3_600
"""When to repeat a request after too many attempts, in seconds. The contract wants a time with 429; an hour keeps a
client that obeys it from asking again and again about an order that takes no further attempt."""

NOTHING_CHARGED = "nothing was charged by this request"
OUTCOME_UNKNOWN = "outcome unknown: repeat the same request"

HIDDEN_DECLINE_CODES = frozenset(
    {"fraudulent", "highest_risk_level", "lost_card", "merchant_blacklist", "pickup_card", "stolen_card"}
)
"""Decline codes, and the outcomes of Radar's blocks, that docs.stripe.com/declines/codes wants presented as a generic
decline: a thief must not learn that a card was reported. The true code is in the log line of the charge."""

GENERIC_DECLINE = "generic_decline"
"""The decline code that is shown in place of a hidden one."""

AUTHENTICATION_REQUIRED = "authentication_required"
"""The decline code where the customer has to authenticate. Stripe's `authentication_not_handled` is shown as this."""

_DECLINE_CODES_OF_AUTHENTICATION = frozenset({None, "authentication_not_handled"})

DECLINED_TEXT = "Your card was declined."
"""The message where Stripe gave none, or one that could show a hidden code."""


PAYMENT_ID_PATTERN = "^[0-9a-f]{32}$"
"""A payment's id: the beginning of a SHA-256 in hexadecimal digits (`payment.core.attempts`)."""

PaymentId = Annotated[str, Meta(pattern=PAYMENT_ID_PATTERN)]


class ErrorCode(enum.Enum):
    """One word for each case of an error, so that a client need not read English. `Case` says what each means."""

    INVALID_JSON = "invalid_json"
    INVALID_FIELD = "invalid_field"
    INVALID_CARD = "invalid_card"
    INVALID_HTTP = "invalid_http"
    UNAUTHENTICATED = "unauthenticated"
    OPS_KEY_REQUIRED = "ops_key_required"
    DECLINED = "declined"
    AUTHENTICATION_REQUIRED = "authentication_required"
    NOT_OWNER = "not_owner"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"
    ORDER_CANCELLED = "order_cancelled"
    ORDER_EXPIRED = "order_expired"
    ALREADY_PAID = "already_paid"
    UNDER_WAY = "under_way"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNSUPPORTED_EXPECTATION = "unsupported_expectation"
    AMOUNT_NOT_CHARGEABLE = "amount_not_chargeable"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    TOO_MANY_DECLINES = "too_many_declines"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"


class UseStripeSdk(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="use_stripe_sdk"):
    """The browser calls `stripe.handleNextAction` with the client secret."""


class RedirectToUrl(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="redirect_to_url"):
    """The browser goes to the bank's page, which sends the customer back to the request's `returnUrl`."""

    url: str

    def __repr__(self) -> str:
        return "RedirectToUrl()"


NextActionBody = UseStripeSdk | RedirectToUrl


class PaidBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge that succeeded."""

    id: PaymentId
    order_id: str
    stripe_id: str
    status: Literal["paid"]


class PendingBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge whose outcome is not known yet."""

    id: PaymentId
    order_id: str
    status: Literal["pending"]


class RequiresActionBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A charge for which the bank wants the customer to authenticate. No repr shows the client secret."""

    id: PaymentId
    order_id: str
    status: Literal["requires_action"]
    client_secret: str
    next_action: NextActionBody

    def __repr__(self) -> str:
        return f"RequiresActionBody(id={self.id!r})"


class PaymentBody(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A payment over all its attempts. `stripeId` is there once a charge pays the order, or did.

    `clientSecret` and `nextAction` are there where the status is `requires_action` and Stripe said so just now.
    """

    id: PaymentId
    order_id: str
    status: PaymentStatus
    stripe_id: str | msgspec.UnsetType = msgspec.UNSET
    client_secret: str | msgspec.UnsetType = msgspec.UNSET
    next_action: UseStripeSdk | RedirectToUrl | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return f"PaymentBody(id={self.id!r}, status={self.status.value!r})"


class ErrorItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is wrong. `field` is its place in the request; `decline_code` is Stripe's, of a declined card."""

    message: str
    code: ErrorCode
    field: str | msgspec.UnsetType = msgspec.UNSET
    decline_code: str | msgspec.UnsetType = msgspec.UNSET


class ErrorBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The platform's shape of an error: its web client maps over `errors`."""

    errors: tuple[ErrorItem, ...]


class DeclinedBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A declined card: the platform's shape, and the id of the payment, which another card can still make paid."""

    id: PaymentId
    errors: tuple[ErrorItem, ...]


class AliveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """No actor is stuck."""

    status: Literal["alive"] = "alive"


class StuckBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Actors that have been at one thing for too long, by name."""

    stuck: tuple[str, ...]
    status: Literal["stuck"] = "stuck"


class ResponseRule(Struct, frozen=True):
    """One row of the table. `code` is there exactly where the case is an error in the platform's shape.

    `body` is the type of its JSON, or None where this module does not describe it.
    """

    status: int
    meaning: str
    body: type[Struct] | None
    headers: tuple[str, ...] = ()
    content_type: str = JSON
    code: ErrorCode | None = None


def _error_row(
    status: int, code: ErrorCode, meaning: str, *headers: str, body: type[Struct] = ErrorBody
) -> ResponseRule:
    return ResponseRule(status, meaning, body, headers, code=code)


_E = ErrorCode


class Case(enum.Enum):
    """The table: status, what it means, the body's type, the headers that are always there, and an error's word."""

    CHARGED = ResponseRule(201, "The order was charged.", PaidBody, ("Location",))
    ALREADY_CHARGED = ResponseRule(200, "The same request had been charged before. It was not charged again.", PaidBody)
    OUTCOME_PENDING = ResponseRule(202, "The outcome is not known yet.", PendingBody, ("Location", "Retry-After"))
    REQUIRES_ACTION = ResponseRule(
        202,
        "The bank wants the customer to authenticate. Afterwards, repeat the same request or get the `Location`.",
        RequiresActionBody,
        ("Location", "Retry-After"),
    )
    PAYMENT = ResponseRule(200, "The payment.", PaymentBody)

    BAD_JSON = _error_row(400, _E.INVALID_JSON, "The body is not a JSON object.")
    BAD_FIELD = _error_row(400, _E.INVALID_FIELD, "Fields are missing, malformed, or exclude each other.")
    BAD_CARD = _error_row(
        400,
        _E.INVALID_CARD,
        "There is no such token, payment method or confirmation token, or it was used before. The order stays payable.",
    )
    BAD_HTTP = _error_row(400, _E.INVALID_HTTP, "The request is not proper HTTP, or broke off.")
    NOT_AUTHENTICATED = _error_row(401, _E.UNAUTHENTICATED, "No valid JWT identifies the user.", "WWW-Authenticate")
    DECLINED = _error_row(
        402,
        _E.DECLINED,
        "The card was declined. The order stays payable with another one.",
        "Location",
        body=DeclinedBody,
    )
    AUTHENTICATION_REQUIRED = _error_row(
        402,
        _E.AUTHENTICATION_REQUIRED,
        "The card was declined because its bank wants the customer to authenticate: the request did not say how its "
        "client can do that, or the customer failed.",
        "Location",
        body=DeclinedBody,
    )
    NOT_OWNER = _error_row(403, _E.NOT_OWNER, "It belongs to another user.")
    NO_SUCH_ORDER = _error_row(404, _E.NOT_FOUND, "There is no such order.")
    NO_SUCH_PAYMENT = _error_row(404, _E.NOT_FOUND, "There is no such payment.")
    NO_SUCH_ROUTE = _error_row(404, _E.NOT_FOUND, "There is nothing at this address.")
    BAD_METHOD = _error_row(405, _E.METHOD_NOT_ALLOWED, "The address does not take this method.", "Allow")
    TOO_SLOW = _error_row(408, _E.TIMEOUT, "The body did not come in time.")
    ORDER_CANCELLED = _error_row(409, _E.ORDER_CANCELLED, "The order is cancelled.")
    ORDER_EXPIRED = _error_row(409, _E.ORDER_EXPIRED, "The order has expired.")
    ALREADY_PAID = _error_row(409, _E.ALREADY_PAID, "The order is paid with another card.")
    UNDER_WAY = _error_row(409, _E.UNDER_WAY, "Another attempt to pay the order is not settled yet.")
    BODY_TOO_LARGE = _error_row(413, _E.BODY_TOO_LARGE, "The body is too large.")
    BAD_MEDIA_TYPE = _error_row(
        415, _E.UNSUPPORTED_MEDIA_TYPE, "The body is not declared as application/json, or it is encoded.", "Accept"
    )
    BAD_EXPECTATION = _error_row(417, _E.UNSUPPORTED_EXPECTATION, "An expectation other than 100-continue.")
    BAD_AMOUNT = _error_row(422, _E.AMOUNT_NOT_CHARGEABLE, "Stripe can't take this amount.")
    TOO_MANY_ATTEMPTS = _error_row(
        429, _E.TOO_MANY_ATTEMPTS, "There were too many attempts on this order.", "Retry-After"
    )
    TOO_MANY_DECLINES = _error_row(
        429, _E.TOO_MANY_DECLINES, "Too many attempts of this user were declined, over all orders.", "Retry-After"
    )
    HEAD_TOO_LARGE = _error_row(
        431, _E.HEADERS_TOO_LARGE, "The request line or a header is too large, or there are too many."
    )
    CRASHED = _error_row(500, _E.INTERNAL_ERROR, "Something went wrong on our side: outcome unknown.")
    UNAVAILABLE = _error_row(
        503, _E.UNAVAILABLE, "The service can't do it now. Nothing was charged by this request.", "Retry-After"
    )
    OUTCOME_UNKNOWN = _error_row(
        503, _E.OUTCOME_UNKNOWN, "The outcome of a write is unknown. The same request again is safe.", "Retry-After"
    )

    ALIVE = ResponseRule(200, "No actor is stuck.", AliveBody)
    STUCK = ResponseRule(503, "An actor is stuck.", StuckBody)
    READY = ResponseRule(200, "Charges are taken.", None)
    NOT_READY = ResponseRule(503, "No charge can be taken.", None)
    METRICS = ResponseRule(200, "Metrics in Prometheus' text format.", None, content_type=PROMETHEUS)
    NO_OPS_KEY = _error_row(
        401, _E.OPS_KEY_REQUIRED, "An ops key is set, and the bearer token is another or none.", "WWW-Authenticate"
    )
    DOCUMENT = ResponseRule(200, "This document.", None)


class Rendered(Struct, frozen=True):
    """An answer, ready to be sent. Its body may hold a client secret: no repr shows it.

    `reason` and `decline_code` are for the log: what an error's message says, and the bank's code, hidden or not.
    """

    case: Case
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    reason: str | None = None
    decline_code: str | None = None

    @property
    def status(self) -> int:
        return self.case.value.status

    def __repr__(self) -> str:
        return f"Rendered(case={self.case.name}, body of {len(self.body)} bytes)"


class FieldError(Struct, frozen=True):
    """One thing wrong with a request. `field` is its name in the body; None where that is the body as a whole."""

    message: str
    field: str | None = None


_encode = msgspec.json.Encoder().encode


def payment_location(payment_id: str) -> str:
    """The address at which a payment can be read."""
    return f"{PAYMENTS_PATH}/{payment_id}"


def charge_answer(
    reply: Reply | Unavailable, retry_after_s: int | None = None, handover: Handover | None = None
) -> Rendered:
    """Returns the answer to a request to charge.

    `retry_after_s` and `handover` are what the ledger gave beside a reply of status 202; the former also comes with
    too many declines.
    """
    match reply:
        case Paid():
            return _paid(reply)
        case OutcomePending():
            return _pending(reply.payment_id, reply.order_id, retry_after_s)
        case RequiresAction():
            return _requires_action(reply, handover, retry_after_s)
        case CardWasDeclined():
            return _declined(reply)
        case InstrumentRefused(kind=kind, text=text):
            return error(
                Case.BAD_CARD, text or f"There is no such {_NOUNS[kind]}, or it was used before", field=kind.value
            )
        case AmountRefused(text=text):
            return error(Case.BAD_AMOUNT, text or "The order's amount can't be charged")
        case Conflict():
            return error(_CONFLICTS[reply], _sentence(reply.value))
        case Denied.TOO_MANY_DECLINES:
            headers = (_retry_after(retry_after_s or TOO_MANY_RETRY_AFTER_S),)
            return error(Case.TOO_MANY_DECLINES, _sentence(reply.value), headers=headers)
        case Denied.TOO_MANY_ATTEMPTS:
            headers = (_retry_after(TOO_MANY_RETRY_AFTER_S),)
            return error(Case.TOO_MANY_ATTEMPTS, _sentence(reply.value), headers=headers)
        case Denied():
            return error(_DENIED[reply], _sentence(reply.value))
        case Unavailable():
            return unavailable(reply)
        case _:
            assert_never(reply)


def payment_answer(found: PaymentView | Unavailable | None, user_id: str, handover: Handover | None = None) -> Rendered:
    """Returns the answer to a request to see a payment. Only the payment's owner sees it, and the client secret."""
    match found:
        case None:
            return error(Case.NO_SUCH_PAYMENT, "No such payment")
        case Unavailable(reason=reason, retry_after_s=after_s):
            message = f"{_sentence(reason.value)}: repeat the same request"
            return error(Case.UNAVAILABLE, message, headers=(_retry_after(after_s),))
        case PaymentView() if found.user_id != user_id:
            return error(Case.NOT_OWNER, "The payment belongs to another user")
        case PaymentView():
            return Rendered(Case.PAYMENT, _encode(_payment_body(found, handover)))
        case _:
            assert_never(found)


def unavailable(what: Unavailable) -> Rendered:
    """Returns the answer where the ledger could give none: nothing was charged, or the outcome is unknown."""
    headers = (_retry_after(what.retry_after_s),)
    if what.reason is Unavailability.WRITE_UNKNOWN:
        return error(Case.OUTCOME_UNKNOWN, f"No answer in time; {OUTCOME_UNKNOWN}", headers=headers)
    return error(Case.UNAVAILABLE, f"{_sentence(what.reason.value)}; {NOTHING_CHARGED}", headers=headers)


def no_charges_now(reason: str, retry_after_s: int = RETRY_AFTER_S) -> Rendered:
    """Returns the answer where no charge can be taken, for this reason (one that any client may read)."""
    return error(Case.UNAVAILABLE, f"{_sentence(reason)}; {NOTHING_CHARGED}", headers=(_retry_after(retry_after_s),))


def crashed() -> Rendered:
    """Returns the answer after our own bug. The request may have taken effect; the same one again is always safe."""
    return error(Case.CRASHED, f"Something went wrong on our side; {OUTCOME_UNKNOWN}")


def bad_request(faults: Iterable[FieldError]) -> Rendered:
    """Returns the answer to a request with faults: one error for each field, or one for the body as a whole."""
    items = tuple(_fault_item(each) for each in faults)
    case = Case.BAD_FIELD if all(item.code is ErrorCode.INVALID_FIELD for item in items) else Case.BAD_JSON
    return Rendered(case, _encode(ErrorBody(items)), reason="; ".join(item.message for item in items))


def error(case: Case, message: str, *, field: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Rendered:
    """Returns an answer with one error. `case` must be one that has a code."""
    body = _encode(ErrorBody((ErrorItem(message, _code(case), field or msgspec.UNSET),)))
    return Rendered(case, body, headers, message)


def plain(case: Case, body: Struct | bytes | dict[str, object]) -> Rendered:
    """Returns an answer that is no error in the platform's sense. Bytes are sent as they are, all else as JSON."""
    return Rendered(case, body if isinstance(body, bytes) else _encode(body))


def answer_bytes(answer: Rendered, more_headers: tuple[tuple[str, str], ...]) -> bytes:
    """Returns a whole HTTP response. It keeps the connection open, unless `more_headers` have `Connection: close`."""
    row = answer.case.value
    headers = (("Content-Type", row.content_type), ("Content-Length", str(len(answer.body))))
    lines = [f"{name}: {value}" for name, value in (*headers, *more_headers, *answer.headers)]
    head = "\r\n".join([f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}", *lines])
    return head.encode() + b"\r\n\r\n" + answer.body


_NOUNS = {
    InstrumentKind.TOKEN: "token",
    InstrumentKind.PAYMENT_METHOD: "payment method",
    InstrumentKind.CONFIRMATION_TOKEN: "confirmation token",
}

_CONFLICTS = {
    Conflict.CANCELLED: Case.ORDER_CANCELLED,
    Conflict.EXPIRED: Case.ORDER_EXPIRED,
    Conflict.PAID: Case.ALREADY_PAID,
    Conflict.UNDER_WAY: Case.UNDER_WAY,
}

_DENIED = {Denied.UNKNOWN: Case.NO_SUCH_ORDER, Denied.NOT_YOURS: Case.NOT_OWNER}


def _paid(reply: Paid) -> Rendered:
    body = _encode(PaidBody(id=reply.payment_id, order_id=reply.order_id, stripe_id=reply.stripe_id, status="paid"))
    if reply.replayed:
        return Rendered(Case.ALREADY_CHARGED, body)
    return Rendered(Case.CHARGED, body, (_location(reply.payment_id),))


def _pending(payment_id: str, order_id: str, retry_after_s: int | None) -> Rendered:
    body = _encode(PendingBody(id=payment_id, order_id=order_id, status="pending"))
    return Rendered(Case.OUTCOME_PENDING, body, (_location(payment_id), _retry_after(retry_after_s)))


def _requires_action(reply: RequiresAction, handover: Handover | None, retry_after_s: int | None) -> Rendered:
    """Without a handover the client can only ask again: pending."""
    if handover is None:
        return _pending(reply.payment_id, reply.order_id, retry_after_s)
    body = RequiresActionBody(
        id=reply.payment_id,
        order_id=reply.order_id,
        status="requires_action",
        client_secret=handover.client_secret,
        next_action=_next_action(handover),
    )
    headers = (_location(reply.payment_id), _retry_after(retry_after_s))
    return Rendered(Case.REQUIRES_ACTION, _encode(body), headers)


def _payment_body(view: PaymentView, handover: Handover | None) -> PaymentBody:
    shown = handover if view.status is PaymentStatus.REQUIRES_ACTION else None
    return PaymentBody(
        id=view.payment_id,
        order_id=view.order_id,
        status=view.status,
        stripe_id=view.stripe_id or msgspec.UNSET,
        client_secret=msgspec.UNSET if shown is None else shown.client_secret,
        next_action=msgspec.UNSET if shown is None else _next_action(shown),
    )


def _next_action(handover: Handover) -> NextActionBody:
    url = handover.next_action.url
    return UseStripeSdk() if url is None else RedirectToUrl(url)


def _declined(reply: CardWasDeclined) -> Rendered:
    case = Case.AUTHENTICATION_REQUIRED if reply.authentication else Case.DECLINED
    decline_code, text = reply.decline_code, reply.text
    if decline_code in HIDDEN_DECLINE_CODES:
        decline_code, text = GENERIC_DECLINE, DECLINED_TEXT
    elif reply.authentication and decline_code in _DECLINE_CODES_OF_AUTHENTICATION:
        decline_code = AUTHENTICATION_REQUIRED
    item = ErrorItem(text or DECLINED_TEXT, _code(case), decline_code=decline_code or msgspec.UNSET)
    body = _encode(DeclinedBody(reply.payment_id, (item,)))
    return Rendered(case, body, (_location(reply.payment_id),), item.message, reply.decline_code)


def _fault_item(fault: FieldError) -> ErrorItem:
    if fault.field is None:
        return ErrorItem(fault.message, ErrorCode.INVALID_JSON)
    return ErrorItem(fault.message, ErrorCode.INVALID_FIELD, fault.field)


def _code(case: Case) -> ErrorCode:
    code = case.value.code
    assert code is not None, f"{case.name} is no error"
    return code


def _location(payment_id: str) -> tuple[str, str]:
    return ("Location", payment_location(payment_id))


def _retry_after(seconds: int | None) -> tuple[str, str]:
    return ("Retry-After", str(max(RETRY_AFTER_S, seconds or 0)))


def _sentence(text: str) -> str:
    """The text with its first character in upper case, and all others unchanged."""
    return text[:1].upper() + text[1:]
