"""What the tests of the Stripe adapter share: its requests, Stripe's bodies, and an adapter that is in a hurry."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from payment.core.effects import ChargeCard, RefundCharge
from payment.ports.stripe_cards import StripeCards

SECRET_KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
TOKEN = "tok_1PqXyzSecretToken"
CALL_TIMEOUT_S = 0.3
"""Long for loopback, short for a test that waits it out."""

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

CHARGE = ChargeCard(
    order_id="o1",
    payment_id="p1",
    attempt=2,
    send=1,
    key="key-1",
    amount=1999,
    currency="usd",
    token=TOKEN,
    api_version="2024-06-20",
    issued_at=NOON,
    not_before=NOON,
    not_after=NOON,
)

REFUND = RefundCharge(
    order_id="o1", payment_id="p1", attempt=2, charge_id="ch_1", key="refund-key-1", api_version="2024-06-20"
)

METADATA = {"orderId": "o1", "paymentId": "p1", "attempt": "2"}

BALANCE = {"object": "balance", "available": []}


def a_charge(**fields: object) -> dict[str, object]:
    """Stripe's body of a succeeded charge, as `CHARGE` asks for it."""
    body: dict[str, object] = {
        "id": "ch_1",
        "object": "charge",
        "amount": 1999,
        "currency": "usd",
        "captured": True,
        "metadata": METADATA,
        "paid": True,
        "status": "succeeded",
        "transfer_group": "o1",
    }
    return body | fields


def a_refund(**fields: object) -> dict[str, object]:
    """Stripe's body of a succeeded refund of that charge."""
    body: dict[str, object] = {
        "id": "re_1",
        "object": "refund",
        "amount": 1999,
        "charge": "ch_1",
        "metadata": METADATA,
        "status": "succeeded",
    }
    return body | fields


def a_list(*items: object, has_more: bool = False) -> dict[str, object]:
    """Stripe's body of one page."""
    return {"object": "list", "data": list(items), "has_more": has_more, "url": "/v1/things"}


def an_error(**fields: object) -> dict[str, object]:
    """Stripe's error object."""
    return {"error": {"type": "invalid_request_error", "message": "Something is wrong"} | fields}


@asynccontextmanager
async def cards_at(
    url: str, *, max_connections: int = 4, connect_timeout_s: float = 2.0, call_timeout_s: float = CALL_TIMEOUT_S
) -> AsyncIterator[StripeCards]:
    """An adapter that gives up soon, closed at the end."""
    cards = StripeCards(
        SECRET_KEY,
        url,
        max_connections=max_connections,
        call_timeout_s=call_timeout_s,
        connect_timeout_s=connect_timeout_s,
    )
    try:
        yield cards
    finally:
        await cards.close()
