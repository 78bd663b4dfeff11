"""Shared by the tests of the Stripe adapter: requests, Stripe's bodies, an adapter with short deadlines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from msgspec.structs import replace

from payment.adapters.stripe.cards import StripeCards
from payment.core.effects import ConfirmIntent, IntentReference, RefundCharge
from payment.core.messages import Authentication, Instrument, InstrumentKind

SECRET_KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
TOKEN = "tok_1PqXyzSecretToken"
PAYMENT_METHOD = "pm_1PqXyzSecretMethod"
CONFIRMATION_TOKEN = "ctoken_1PqXyzSecretConfirmation"
CLIENT_SECRET = "pi_1_secret_YrKJUKribcBjcG8HVhfZluoGH"
CALL_TIMEOUT_S = 0.3
"""Long for loopback, short for a test that waits it out."""

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

INTENT = IntentReference(
    order_id="o1",
    payment_id="p1",
    number=1,
    key="intent-p1-1",
    id=None,
    amount=1999,
    currency="usd",
    api_version="2024-06-20",
    list_after=datetime(2027, 1, 1, tzinfo=UTC),
)

CONFIRM = ConfirmIntent(
    intent=INTENT,
    attempt=2,
    send=1,
    instrument=Instrument(kind=InstrumentKind.TOKEN, value=TOKEN),
    authentication=Authentication(),
    issued_at=NOON,
    not_before=NOON,
    not_after=NOON,
)

REFUND = RefundCharge(
    order_id="o1", payment_id="p1", attempt=2, charge_id="ch_1", key="refund-key-1", api_version="2024-06-20"
)

METADATA = {"orderId": "o1", "paymentId": "p1"}
OLD_METADATA = METADATA | {"attempt": "2"}
"""Of a charge that release 0.1.0 made without an intent."""

BALANCE = {"object": "balance", "available": []}


def confirm_with(value: str, kind: InstrumentKind = InstrumentKind.TOKEN, **authentication: object) -> ConfirmIntent:
    """`CONFIRM`, with another instrument, or a client that can authenticate."""
    return replace(
        CONFIRM,
        instrument=Instrument(kind=kind, value=value),
        authentication=Authentication(**authentication),  # type: ignore[arg-type]
    )


def an_intent(**fields: object) -> dict[str, object]:
    """Stripe's body of an intent that was created as `INTENT` asks, and that nothing else was asked of."""
    body: dict[str, object] = {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 1999,
        "client_secret": CLIENT_SECRET,
        "currency": "usd",
        "last_payment_error": None,
        "latest_charge": None,
        "metadata": METADATA,
        "next_action": None,
        "status": "requires_payment_method",
        "transfer_group": "o1",
    }
    return body | fields


def a_paid_intent(**charge: object) -> dict[str, object]:
    """Stripe's body of that intent once it has succeeded, with its charge."""
    return an_intent(status="succeeded", latest_charge=a_charge(**charge))


def a_waiting_intent(**fields: object) -> dict[str, object]:
    """Stripe's body of that intent while the bank wants the customer."""
    return an_intent(status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}}) | fields


def a_charge(**fields: object) -> dict[str, object]:
    """Stripe's body of a succeeded charge of `INTENT`."""
    body: dict[str, object] = {
        "id": "ch_1",
        "object": "charge",
        "amount": 1999,
        "amount_refunded": 0,
        "captured": True,
        "currency": "usd",
        "disputed": False,
        "metadata": METADATA,
        "paid": True,
        "payment_intent": "pi_1",
        "refunded": False,
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
