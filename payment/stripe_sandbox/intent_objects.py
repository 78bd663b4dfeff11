"""The JSON of a PaymentIntent and of its instruments: payment method, token, confirmation token.

The database stores them in this form, the intent with its client secret. Fields that the sandbox does not use are null.
"""

import secrets
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from payment.stripe_sandbox.errors import ErrorDetail
from payment.stripe_sandbox.objects import CARD_EXPIRES, Card, billing_details, card_brand, new_id
from payment.stripe_sandbox.tokens import TestCard

SECRET_BYTES = 12
"""Bytes of randomness in a client secret: it authorises a confirm, and must not be guessable."""
CONFIRMATION_TOKEN_LIFE_S = 12 * 3600
"""In seconds: Stripe's confirmation tokens expire after 12 hours."""

Status = Literal[
    "requires_payment_method", "requires_confirmation", "requires_action", "processing", "succeeded", "canceled"
]
CARD_OPTIONS: dict[str, Any] = {
    "installments": None,
    "mandate_options": None,
    "network": None,
    "request_three_d_secure": "automatic",
}
PUBLIC_FIELDS = frozenset(
    (
        "id", "object", "amount", "amount_details", "automatic_payment_methods", "canceled_at", "cancellation_reason",
    "capture_method", "client_secret", "confirmation_method", "created", "currency", "description",
    "last_payment_error", "livemode", "next_action", "payment_method", "payment_method_configuration_details",
    "payment_method_types", "processing", "receipt_email", "setup_future_usage", "shipping", "source", "status",
    )
)  # fmt: skip
"""The fields of an intent that a publishable key gets: docs.stripe.com/api/payment_intents/retrieve."""


class PaymentIntent(Struct, kw_only=True):
    """A payment that is made at most once. Amounts in minor units, times in seconds since 1970."""

    id: str
    object: Literal["payment_intent"] = "payment_intent"
    amount: int
    amount_capturable: int = 0
    amount_details: dict[str, Any] = field(default_factory=lambda: {"tip": {}})
    amount_received: int = 0
    application: None = None
    application_fee_amount: None = None
    automatic_payment_methods: dict[str, Any] | None
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    capture_method: str
    client_secret: str | None
    confirmation_method: Literal["automatic"] = "automatic"
    created: int
    currency: str
    customer: None = None
    customer_account: None = None
    description: str | None
    excluded_payment_method_types: list[str] | None = None
    last_payment_error: ErrorDetail | None = None
    latest_charge: str | None = None
    livemode: Literal[False] = False
    metadata: dict[str, str]
    next_action: dict[str, Any] | None = None
    on_behalf_of: None = None
    payment_method: str | None = None
    payment_method_configuration_details: None = None
    payment_method_options: dict[str, Any]
    payment_method_types: list[str] = field(default_factory=lambda: ["card"])
    processing: None = None
    receipt_email: str | None
    review: None = None
    setup_future_usage: str | None
    shipping: dict[str, Any] | None
    source: None = None
    statement_descriptor: str | None
    statement_descriptor_suffix: str | None
    status: Status
    transfer_data: None = None
    transfer_group: str | None

    def redirects(self) -> bool:
        """Whether a payment method that leaves the merchant's page may be used."""
        automatic = self.automatic_payment_methods
        return automatic is not None and bool(automatic["enabled"]) and automatic["allow_redirects"] == "always"


class PaymentMethod(Struct, kw_only=True):
    """A card that can be charged once: the sandbox has no customers to attach it to."""

    id: str
    object: Literal["payment_method"] = "payment_method"
    allow_redisplay: str = "unspecified"
    billing_details: dict[str, Any]
    card: dict[str, Any]
    created: int
    customer: None = None
    customer_account: None = None
    livemode: Literal[False] = False
    metadata: dict[str, str] = {}
    radar_options: dict[str, Any] = {}
    type: Literal["card"] = "card"


class Token(Struct, kw_only=True):
    """A card token for one use."""

    id: str
    object: Literal["token"] = "token"
    card: Card
    client_ip: str | None = None
    created: int
    livemode: Literal[False] = False
    type: Literal["card"] = "card"
    used: bool = False


class ConfirmationToken(Struct, kw_only=True):
    """The data that a browser collected: the card of a future payment method, and the return URL. For one confirm."""

    id: str
    object: Literal["confirmation_token"] = "confirmation_token"
    created: int
    expires_at: int
    livemode: Literal[False] = False
    mandate_data: None = None
    payment_intent: str | None = None
    payment_method_options: dict[str, Any] | None = None
    payment_method_preview: dict[str, Any]
    return_url: str | None
    setup_future_usage: str | None
    setup_intent: None = None
    shipping: dict[str, Any] | None
    use_stripe_sdk: bool


def new_client_secret(intent_id: str) -> str:
    return f"{intent_id}_secret_{secrets.token_hex(SECRET_BYTES)}"


def new_payment_method(
    card: TestCard, now_s: int, *, billing: dict[str, Any] | None, expires: tuple[int, int] = CARD_EXPIRES
) -> PaymentMethod:
    return PaymentMethod(
        id=new_id("pm"), billing_details=billing_details(billing), card=method_card(card, expires), created=now_s
    )


def method_card(card: TestCard, expires: tuple[int, int]) -> dict[str, Any]:
    """Returns a payment method's `card`."""
    brand = card_brand(card.brand)
    line1, postal_code, cvc = card.checks
    return {
        "brand": brand,
        "checks": {"address_line1_check": line1, "address_postal_code_check": postal_code, "cvc_check": cvc},
        "country": card.country,
        "display_brand": brand,
        "exp_month": expires[0],
        "exp_year": expires[1],
        "fingerprint": f"sandbox{card.brand[:2].lower()}{card.number_end}",
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number_end,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": brand != "amex"},
        "wallet": None,
    }


def authentication_failure(method: PaymentMethod | None) -> ErrorDetail:
    """Returns the `last_payment_error` of an intent whose customer did not authenticate."""
    message = (
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again."
    )
    shown: PaymentMethod | UnsetType = UNSET if method is None else method
    return ErrorDetail("invalid_request_error", message, "payment_intent_authentication_failure", payment_method=shown)
