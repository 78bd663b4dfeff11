"""Orders that release 0.1.0 left behind: documents of its format, with an attempt whose outcome is not known.

Its charge may have been made, or may land within the day, or never. Change together with: `payment.core.legacy`.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

import msgspec

from payment.core.legacy import upgraded
from payment.core.order import Order
from tests.simulation.clock import BEGINNING
from tests.simulation.plan import OrderPlan

TOKEN = "tok_visa"
AMOUNT, CURRENCY = 2000, "usd"
SENT_BEFORE = timedelta(minutes=5)
"""How long before the world's beginning release 0.1.0 sent the charge."""
WRITER = "release 0.1.0"


def payment_id_of(order: OrderPlan) -> str:
    """Release 0.1.0 drew its payment ids at random."""
    return sha256(f"0.1.0 {order.id}".encode()).hexdigest()[:32]


def left_behind(order: OrderPlan) -> Order:
    """The order as this release reads its document."""
    sent = BEGINNING - SENT_BEFORE
    attempt: dict[str, Any] = {
        "number": 1,
        "key": f"charge-{payment_id_of(order)}-1",
        "amount": AMOUNT,
        "currency": CURRENCY,
        "apiVersion": "2026-01-01",
        "tokenHash": sha256(TOKEN.encode()).hexdigest(),
        "state": "charging",
        "firstSent": sent,
        "lastSent": sent,
        "notAfter": sent + timedelta(hours=23),
        "token": TOKEN,
        "task": {"kind": "charge", "due": sent + timedelta(minutes=1), "issued": sent, "holder": "p1#0"},
    }
    document = {
        "_id": order.id,
        "status": "created",
        "version": 0,
        "rev": 1,
        "userId": order.user,
        "amount": AMOUNT,
        "currency": CURRENCY,
        "expiresAt": BEGINNING + timedelta(seconds=order.expires_in_s),
        "payment": {"id": payment_id_of(order), "attempts": [attempt]},
        "due": sent + timedelta(minutes=1),
        "holder": "p1",
    }
    return msgspec.convert(upgraded(document), Order)
