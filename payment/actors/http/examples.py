"""An example of every answer, and of every form of a request, for the OpenAPI document.

The answers are rendered by the functions that render real ones, so no example can show what the service does not send.
Ids and secrets in them are made up. Change together: `payment.actors.http.responses.Case`, and `ANSWERS` here.
"""

from typing import Any

import msgspec

from payment.actors.http.requests import BadRequest, parse_charge
from payment.actors.http.responses import (
    AUTHENTICATION_REQUIRED,
    AliveBody,
    Case,
    Rendered,
    StuckBody,
    bad_request,
    charge_answer,
    crashed,
    error,
    payment_answer,
    plain,
)
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
from payment.ops.health import DependencyView, HealthView, Phase, Status
from payment.ports.cards import Handover, NextAction

PAYMENT_ID = "3f1c0d6a52b74f0e9a0c8d2b6e47f915"
ORDER_ID = "65f0a1b2c3d4e5f60718293a"
_USER_ID = "65f0a1b2c3d4e5f607182900"
_STRIPE_ID = "ch_3PExampleExample00001"
_SINCE = "2026-01-31T09:00:00.000Z"

_SDK = Handover("pi_3PExampleExample00001_secret_made_up", NextAction())
_REDIRECT = Handover(
    "pi_3PExampleExample00001_secret_made_up", NextAction("https://hooks.stripe.com/3d_secure_2/made_up")
)

REQUESTS: dict[str, dict[str, Any]] = {
    "token": {"orderId": ORDER_ID, "token": "tok_visa"},
    "paymentMethod": {"orderId": ORDER_ID, "paymentMethod": "pm_card_visa"},
    "paymentMethodWithStripeJs": {"orderId": ORDER_ID, "paymentMethod": "pm_card_visa", "useStripeSdk": True},
    "confirmationTokenWithStripeJs": {
        "orderId": ORDER_ID,
        "confirmationToken": "ctoken_1PExampleExample00001",
        "useStripeSdk": True,
    },
    "confirmationTokenWithRedirect": {
        "orderId": ORDER_ID,
        "confirmationToken": "ctoken_1PExampleExample00001",
        "returnUrl": f"https://shop.example.com/orders/{ORDER_ID}",
    },
}
"""Bodies of POST /api/v1/payments, by name."""


def _charge(reply: Reply | Unavailable, handover: Handover | None = None) -> Rendered:
    return charge_answer(reply, retry_after_s=2, handover=handover)


def _payment(status: PaymentStatus, stripe_id: str | None = None, handover: Handover | None = None) -> Rendered:
    return payment_answer(PaymentView(PAYMENT_ID, ORDER_ID, _USER_ID, status, stripe_id), _USER_ID, handover)


def _refused(body: bytes) -> Rendered:
    try:
        parse_charge(body)
    except BadRequest as bad:
        return bad_request(bad.errors)
    raise ValueError("the example of a bad request is a good one")


_HEALTH_UP = {"mongodb": DependencyView(True, _SINCE)}
_HEALTH_DOWN = {"mongodb": DependencyView(False, _SINCE, "not reached yet")}

_RENDERED: tuple[tuple[str, Rendered], ...] = (
    ("paid", _charge(Paid(PAYMENT_ID, ORDER_ID, _STRIPE_ID))),
    ("paidBefore", _charge(Paid(PAYMENT_ID, ORDER_ID, _STRIPE_ID, replayed=True))),
    ("pending", _charge(OutcomePending(PAYMENT_ID, ORDER_ID))),
    ("requiresActionWithStripeJs", _charge(RequiresAction(PAYMENT_ID, ORDER_ID), _SDK)),
    ("requiresActionWithRedirect", _charge(RequiresAction(PAYMENT_ID, ORDER_ID), _REDIRECT)),
    ("paid", _payment(PaymentStatus.PAID, _STRIPE_ID)),
    ("pending", _payment(PaymentStatus.PENDING)),
    ("requiresAction", _payment(PaymentStatus.REQUIRES_ACTION, handover=_SDK)),
    ("declined", _payment(PaymentStatus.DECLINED)),
    ("refunded", _payment(PaymentStatus.REFUNDED, _STRIPE_ID)),
    ("invalidJson", _refused(b'{"orderId": ')),
    ("invalidFields", _refused(b'{"token": "card_1"}')),
    ("bothInstruments", _refused(b'{"orderId": "o1", "token": "tok_visa", "paymentMethod": "pm_card_visa"}')),
    ("invalidCard", _charge(InstrumentRefused(InstrumentKind.TOKEN, ""))),
    ("invalidHttp", error(Case.BAD_HTTP, "The request is not proper HTTP")),
    ("unauthenticated", error(Case.NOT_AUTHENTICATED, "Not authenticated")),
    ("declined", _charge(CardWasDeclined(PAYMENT_ID, "insufficient_funds", "Your card has insufficient funds."))),
    ("authenticationRequired", _charge(CardWasDeclined(PAYMENT_ID, AUTHENTICATION_REQUIRED, "", authentication=True))),
    ("notOwner", _charge(Denied.NOT_YOURS)),
    ("unknownOrder", _charge(Denied.UNKNOWN)),
    ("unknownPayment", payment_answer(None, _USER_ID)),
    ("timeout", error(Case.TOO_SLOW, "The body did not come in time")),
    ("orderCancelled", _charge(Conflict.CANCELLED)),
    ("orderExpired", _charge(Conflict.EXPIRED)),
    ("alreadyPaid", _charge(Conflict.PAID)),
    ("underWay", _charge(Conflict.UNDER_WAY)),
    ("bodyTooLarge", error(Case.BODY_TOO_LARGE, "The body is too large")),
    ("unsupportedMediaType", error(Case.BAD_MEDIA_TYPE, "The Content-Type must be application/json")),
    ("unsupportedExpectation", error(Case.BAD_EXPECTATION, "Only 100-continue can be expected")),
    ("amountNotChargeable", _charge(AmountRefused(""))),
    ("tooManyAttempts", _charge(Denied.TOO_MANY_ATTEMPTS)),
    ("tooManyDeclines", _charge(Denied.TOO_MANY_DECLINES)),
    ("headersTooLarge", error(Case.HEAD_TOO_LARGE, "The request line or a header is too large, or there are too many")),
    ("internalError", crashed()),
    ("unavailable", _charge(Unavailable(Unavailability.STORE_AWAY))),
    ("outcomeUnknown", _charge(Unavailable(Unavailability.WRITE_UNKNOWN))),
    ("noOpsKey", error(Case.NO_OPS_KEY, "The ops key is wanted as a bearer token")),
    ("alive", plain(Case.ALIVE, AliveBody())),
    ("stuck", plain(Case.STUCK, StuckBody(("mongo",)))),
    ("ready", plain(Case.READY, HealthView(Status.READY, Phase.READY, _HEALTH_UP))),
    ("starting", plain(Case.NOT_READY, HealthView(Status.UNAVAILABLE, Phase.STARTING, _HEALTH_DOWN))),
)


def _by_case() -> dict[Case, dict[str, Any]]:
    examples: dict[Case, dict[str, Any]] = {}
    for name, answer in _RENDERED:
        examples.setdefault(answer.case, {})[name] = msgspec.json.decode(answer.body)
    return examples


ANSWERS = _by_case()
"""Bodies of answers, by case and name. What has none is no JSON, or is the OpenAPI document itself."""
