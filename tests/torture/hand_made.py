"""Hand-made books of a small round in which all laws hold, for the tests of the judge: each test plants one wrong.

Owns: three orders. `PAID_ORDER` was paid; `CANCELLED_ORDER` was paid, cancelled and given back; `DECLINED_ORDER` was
declined. Change together with: `judge.Books`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.faults.laws import Document, Evidence
from tests.flows.bus import PAID, REFUNDED, Published
from tests.flows.client import PAYMENTS, Answer
from tests.torture.judge import Books
from tests.torture.load import DECLINED_TOKEN, Asked, Story

PAID_ORDER, CANCELLED_ORDER, DECLINED_ORDER = "paid0", "cancelled0", "declined0"
MINOR = 1999
POISON = b'{"id": "cut off'
CARD = "tok_visa"


def books() -> Books:
    """A round without a wrong. Everything in it may be changed."""
    charges = [charge(PAID_ORDER), charge(CANCELLED_ORDER, refunded=True), charge(DECLINED_ORDER, status="failed")]
    keys = {"kept": 4, "reused_late": 0, "parameter_sets": {}}
    stripe = {"charges": charges, "refunds": [refund(CANCELLED_ORDER)], "keys": keys, "requests": {}}
    events = [paid_event(PAID_ORDER), paid_event(CANCELLED_ORDER), refunded_event(CANCELLED_ORDER)]
    stories = {
        PAID_ORDER: story(asked(CARD, paid(PAID_ORDER)), sees="paid"),
        CANCELLED_ORDER: story(asked(CARD, paid(CANCELLED_ORDER)), sees="refunded", cancelled=True),
        DECLINED_ORDER: story(asked(DECLINED_TOKEN, refused(402, "Your card was declined.")), sees="declined"),
    }
    orders = {
        PAID_ORDER: document(PAID_ORDER, "paid", PAID),
        CANCELLED_ORDER: document(CANCELLED_ORDER, "refunded", PAID, REFUNDED) | {"status": "cancelled"},
        DECLINED_ORDER: document(DECLINED_ORDER, "declined"),
    }
    evidence = Evidence(stripe, events, orders, dict(stories))
    return Books(evidence, stories, dead_letters=[POISON], poison=[POISON], log=[said("service_ready")])


def charge(order: str, number: int = 1, **other: Any) -> Document:
    """A charge of an order as Stripe's books show it; the id has its number."""
    refunded = bool(other.get("refunded"))
    return {
        "id": f"ch_{order}_{number}",
        "transfer_group": order,
        "status": "succeeded",
        "amount": MINOR,
        "amount_refunded": MINOR if refunded else 0,
        "currency": "usd",
        "refunded": refunded,
        "source": {"brand": "Visa"},
        "metadata": {"attempt": str(number)},
        "created": 1_800_000_000,
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


def story(*requests: Asked, sees: str, cancelled: bool = False) -> Story:
    answers = [each.answer for each in requests if each.answer is not None]
    view = Answer(200, {"status": sees}, {}, 0.1)
    return Story(
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


def refused(status: int, message: str, **headers: str) -> Answer:
    return Answer(status, {"errors": [{"message": message}]}, headers, 0.1)


def document(order: str, state: str, *published: str) -> Document:
    outbox = [{"subject": subject, "published": "2026-11-22"} for subject in published]
    payment = {"id": f"pay_{order}", "attempts": [{"number": 1, "state": state}]}
    shown = {"_id": order, "userId": "u1", "status": "created", "amount": MINOR}
    return shown | {"payment": payment, "outbox": outbox}


def said(event: str, **fields: Any) -> str:
    return json.dumps({"event": event} | fields)
