"""Hand-made records of a small round in which all laws hold, for the tests of the judge: each test plants one breach.

Owns: four orders. `PAID_ORDER` was paid; `CANCELLED_ORDER` was paid, cancelled and refunded; `DECLINED_ORDER` was
declined; the customer of `AWAITED_ORDER` has left the bank's page. Change together with: `judge.RoundRecords`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.chaos.judge import RoundRecords
from tests.chaos.load import ASKS_TOKEN, DECLINED_TOKEN, Asked, OrderHistory
from tests.e2e.bus import PAID, REFUNDED, Published
from tests.e2e.client import PAYMENTS, Answer
from tests.faults.laws import Document, Evidence

PAID_ORDER, CANCELLED_ORDER, DECLINED_ORDER, AWAITED_ORDER = "paid0", "cancelled0", "declined0", "awaited0"
MINOR = 1999
POISON = b'{"id": "cut off'
CARD = "tok_visa"


def records() -> RoundRecords:
    """Returns the records of a round without a breach. A test may change all of it."""
    charges = [charge(PAID_ORDER), charge(CANCELLED_ORDER, refunded=True), charge(DECLINED_ORDER, status="failed")]
    keys = {"kept": 4, "reused_late": 0, "parameter_sets": {}}
    intents = [intent(PAID_ORDER), intent(CANCELLED_ORDER)]
    intents.append(intent(DECLINED_ORDER, status="requires_payment_method"))
    intents.append(intent(AWAITED_ORDER, status="requires_action", latest_charge=None))
    stripe = {
        "charges": charges,
        "intents": intents,
        "refunds": [refund(CANCELLED_ORDER)],
        "keys": keys,
        "requests": {},
    }
    events = [paid_event(PAID_ORDER), paid_event(CANCELLED_ORDER), refunded_event(CANCELLED_ORDER)]
    histories = {
        PAID_ORDER: history(asked(CARD, paid(PAID_ORDER)), sees="paid"),
        CANCELLED_ORDER: history(asked(CARD, paid(CANCELLED_ORDER)), sees="refunded", cancelled=True),
        DECLINED_ORDER: history(asked(DECLINED_TOKEN, declined(DECLINED_ORDER)), sees="declined"),
        AWAITED_ORDER: history(asked(ASKS_TOKEN, requires_action(AWAITED_ORDER)), sees="requires_action"),
    }
    histories[AWAITED_ORDER].walked_away = True
    orders = {
        PAID_ORDER: document(PAID_ORDER, "paid", PAID),
        CANCELLED_ORDER: document(CANCELLED_ORDER, "refunded", PAID, REFUNDED) | {"status": "cancelled"},
        DECLINED_ORDER: document(DECLINED_ORDER, "declined"),
        AWAITED_ORDER: document(AWAITED_ORDER, "awaiting"),
    }
    evidence = Evidence(stripe, events, orders, dict(histories))
    return RoundRecords(evidence, histories, dead_letters=[POISON], poison=[POISON], log=[log_line("service_ready")])


def charge(order: str, number: int = 1, **other: Any) -> Document:
    """Returns a charge of an order as Stripe's records show it; the id contains `number`."""
    refunded = bool(other.get("refunded"))
    return {
        "id": f"ch_{order}_{number}",
        "transfer_group": order,
        "status": "succeeded",
        "amount": MINOR,
        "amount_refunded": MINOR if refunded else 0,
        "currency": "usd",
        "refunded": refunded,
        "payment_method_details": {"card": {"brand": "visa"}},
        "metadata": {"orderId": order},
        "created": 1_800_000_000,
    } | other


def intent(order: str, number: int = 1, **other: Any) -> Document:
    """Returns an intent of an order as Stripe's records show it, succeeded unless `other` changes the status."""
    return {
        "id": f"pi_{order}_{number}",
        "transfer_group": order,
        "status": "succeeded",
        "latest_charge": f"ch_{order}_{number}",
        "last_payment_error": None,
    } | other


def refund(order: str, **other: Any) -> Document:
    return {
        "id": f"re_{order}",
        "charge": f"ch_{order}_1",
        "amount": MINOR,
        "status": "succeeded",
        "created": 1_800_000_001,
    } | other


def paid_event(order: str, **other: Any) -> Published:
    payload = {"id": f"pay_{order}", "orderId": order, "stripeId": f"ch_{order}_1"} | other
    return Published(PAID, json.dumps(payload).encode())


def refunded_event(order: str, **other: Any) -> Published:
    payload = {"id": f"pay_{order}", "orderId": order, "stripeId": f"ch_{order}_1", "refundId": f"re_{order}"} | other
    return Published(REFUNDED, json.dumps(payload).encode())


def history(*requests: Asked, sees: str, cancelled: bool = False) -> OrderHistory:
    answers = [each.answer for each in requests if each.answer is not None]
    view = Answer(200, {"status": sees}, {}, 0.1)
    return OrderHistory(
        created=True,
        cancelled=cancelled,
        answers=answers,
        minor=MINOR,
        asked=list(requests),
        done=True,
        views=[view],
    )


def asked(token: str, answer: Answer | None, began: float = 100.0) -> Asked:
    return Asked(token, 0, began, began + 1, answer)


def paid(order: str, status: int = 201, **other: Any) -> Answer:
    body = {"id": f"pay_{order}", "orderId": order, "stripeId": f"ch_{order}_1", "status": "paid"} | other
    return Answer(status, body, {"Location": f"{PAYMENTS}/pay_{order}"}, 0.1)


def pending(order: str) -> Answer:
    headers = {"Location": f"{PAYMENTS}/pay_{order}", "Retry-After": "1"}
    return Answer(202, {"id": f"pay_{order}", "orderId": order, "status": "pending"}, headers, 0.1)


def requires_action(order: str) -> Answer:
    """Returns the answer of a payment that requires its customer, with the client secret of the order's first
    intent.
    """
    answer = pending(order)
    secret = {"clientSecret": f"pi_{order}_1_secret_shown", "nextAction": {"type": "use_stripe_sdk"}}
    return Answer(202, answer.body | secret | {"status": "requires_action"}, answer.headers, 0.1)


def declined(order: str, message: str = "Your card was declined.", code: str = "declined") -> Answer:
    body = {"id": f"pay_{order}", "errors": [{"message": message, "code": code}]}
    return Answer(402, body, {"Location": f"{PAYMENTS}/pay_{order}"}, 0.1)


def refused(status: int, message: str, **headers: str) -> Answer:
    return Answer(status, {"errors": [{"message": message, "code": "some_code"}]}, headers, 0.1)


def document(order: str, state: str, *published: str) -> Document:
    outbox = [{"subject": subject, "published": "2026-11-22"} for subject in published]
    payment = {"id": f"pay_{order}", "attempts": [{"number": 1, "state": state}]}
    shown = {"_id": order, "userId": "u1", "status": "created", "amount": MINOR}
    return shown | {"payment": payment, "outbox": outbox}


def log_line(event: str, **fields: Any) -> str:
    return json.dumps({"event": event} | fields)
