"""The obvious service with PaymentIntents: as `bench.contenders.obvious`, except for the call to Stripe.

One call creates the intent and confirms it (`confirm=true`), as Stripe's documentation shows it. A card that asks for
authentication is a declined card: the intent can't be continued, because the service stores nothing of it.
"""

from typing import Any

import stripe

from bench.contenders.obvious import STRIPE, Order, serve


async def charge(order: Order, token: str) -> str:
    # The library's types know no `card` of a payment method's data; Stripe's documentation does.
    asked: Any = {
        "amount": order["amount"],
        "currency": "usd",
        "confirm": True,
        "error_on_requires_action": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "payment_method_data": {"type": "card", "card": {"token": token}},
        "metadata": {"orderId": order["_id"]},
        "transfer_group": order["_id"],
    }
    intent = await STRIPE.v1.payment_intents.create_async(asked)
    if intent.status != "succeeded":
        raise stripe.APIError(f"The intent is {intent.status}")
    return str(intent.latest_charge)


if __name__ == "__main__":
    serve(charge)
