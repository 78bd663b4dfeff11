"""The parameters of an intent's requests, read and checked before anything is executed.

Parameters that Stripe accepts and the sandbox does not implement (customers, mandates, connected accounts, payment
methods other than cards) are refused by name; parameters without an effect on a card's payment (`WITHOUT_EFFECT`) are
accepted. `payment_method_types` is unknown, as in this API version.
"""

from typing import Any, TypeVar

from msgspec import Struct

from payment.stripe_sandbox.calls import UNSUPPORTED, refuse_unsupported
from payment.stripe_sandbox.currencies import check_amount, check_currency
from payment.stripe_sandbox.errors import ApiError, missing
from payment.stripe_sandbox.instruments import CardData, data_fields, read_method_data, read_url
from payment.stripe_sandbox.intent_objects import CARD_OPTIONS, PaymentIntent, new_client_secret
from payment.stripe_sandbox.objects import new_id
from payment.stripe_sandbox.params import Params

_T = TypeVar("_T")

TEXTS = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix", "transfer_group")
INSTRUMENTS = ("payment_method", *data_fields("payment_method_data"))
CARD_OPTIONS_PREFIX = "payment_method_options[card]"
THREE_D_SECURE = f"{CARD_OPTIONS_PREFIX}[request_three_d_secure]"
WITHOUT_EFFECT = (
    "amount_details", "amount_details[*]", "hooks[*]", "mandate_data", "mandate_data[*]", "payment_details",
    "payment_details[*]", "payment_method_configuration", "radar_options[*]",
    f"{CARD_OPTIONS_PREFIX}[installments][*]", f"{CARD_OPTIONS_PREFIX}[mandate_options][*]",
    *(f"{CARD_OPTIONS_PREFIX}[{name}]" for name in (
        "cvc_token", "network", "request_extended_authorization",
        "request_incremental_authorization", "request_multicapture", "request_overcapture",
        "require_cvc_recollection", "setup_future_usage", "statement_descriptor_suffix_kana",
        "statement_descriptor_suffix_kanji",
    )),
)  # fmt: skip
DETAILS = (
    "metadata", "metadata[*]", "setup_future_usage", "shipping", "shipping[*]", "capture_method",
    "allowed_payment_method_types[*]", "excluded_payment_method_types[*]", THREE_D_SECURE, *WITHOUT_EFFECT,
    *UNSUPPORTED,
)  # fmt: skip
ONLY_CONFIRMING = (
    "confirmation_token",
    "error_on_requires_action",
    "off_session",
    "return_url",
    "use_stripe_sdk",
)
CREATE = (
    "amount", "currency", "confirm", "confirmation_method", "automatic_payment_methods[enabled]",
    "automatic_payment_methods[allow_redirects]", *TEXTS, *DETAILS, *INSTRUMENTS, *ONLY_CONFIRMING,
)  # fmt: skip
UPDATE = ("amount", "currency", *TEXTS, *DETAILS, *INSTRUMENTS)
CONFIRM = (
    *INSTRUMENTS, *ONLY_CONFIRMING, THREE_D_SECURE, *WITHOUT_EFFECT, "client_secret", "capture_method",
    "receipt_email", "setup_future_usage", "shipping", "shipping[*]", "allowed_payment_method_types[*]",
    "excluded_payment_method_types[*]", "mandate", "amount_to_confirm",
)  # fmt: skip
CANCELLATION_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")


class ConfirmPlan(Struct):
    """The plan of a confirm: its instrument, and how the customer can authenticate."""

    payment_method: str | None
    data: CardData | None
    confirmation_token: str | None
    return_url: str | None
    use_stripe_sdk: bool | None
    error_on_requires_action: bool
    off_session: bool
    receipt_email: str | None
    setup_future_usage: str | None
    shipping: dict[str, Any] | None
    request_three_d_secure: str | None
    amount: int | None
    """The amount that the client expects (`amount_to_confirm`)."""

    def __repr__(self) -> str:
        return f"ConfirmPlan(return_url={self.return_url!r}, use_stripe_sdk={self.use_stripe_sdk})"


def read_plan(params: Params) -> ConfirmPlan:
    """Returns the plan of a confirm's parameters, or of a create's, which name only an instrument."""
    _refuse_unsupported(params)
    instruments = [name for name in ("payment_method", "payment_method_data", "confirmation_token") if params.has(name)]
    if len(instruments) > 1:
        message = f"You may only specify one of these parameters: {', '.join(instruments)}."
        raise ApiError(message, param=instruments[0])
    return ConfirmPlan(
        payment_method=params.text("payment_method"),
        data=read_method_data(params, "payment_method_data") if params.has("payment_method_data") else None,
        confirmation_token=params.text("confirmation_token"),
        return_url=read_url(params, "return_url"),
        use_stripe_sdk=params.boolean("use_stripe_sdk"),
        error_on_requires_action=bool(params.boolean("error_on_requires_action")),
        off_session=_off_session(params),
        receipt_email=params.text("receipt_email"),
        setup_future_usage=_future_usage(params),
        shipping=params.tree("shipping"),
        request_three_d_secure=_three_d_secure(params),
        amount=params.integer("amount_to_confirm"),
    )


def read_new_intent(params: Params, now_s: int) -> tuple[PaymentIntent, ConfirmPlan, bool]:
    """Returns the intent of a create's parameters, without its instrument; the plan of its confirm, and whether to
    confirm it.
    """
    params.allow(*CREATE)
    amount, currency = params.integer("amount"), params.required("currency").lower()
    if amount is None:
        raise missing("amount")
    check_currency(currency)
    check_amount(amount, currency)
    confirm = bool(params.boolean("confirm"))
    params.choice("confirmation_method", "automatic")
    for name in ONLY_CONFIRMING:
        if params.has(name) and not confirm:
            message = f"The parameter `{name}` cannot be passed when creating a PaymentIntent unless `confirm` is true."
            raise ApiError(message, param=name)
    plan = read_plan(params)
    intent_id = new_id("pi")
    intent = PaymentIntent(
        id=intent_id,
        amount=amount,
        automatic_payment_methods=_automatic(params),
        capture_method=params.text("capture_method") or "automatic_async",
        client_secret=new_client_secret(intent_id),
        created=now_s,
        currency=currency,
        excluded_payment_method_types=params.listed("excluded_payment_method_types") or None,
        metadata=params.metadata(),
        payment_method_options={"card": dict(CARD_OPTIONS)},
        setup_future_usage=plan.setup_future_usage,
        shipping=plan.shipping,
        status="requires_payment_method",
        **{name: params.text(name) for name in TEXTS},  # type: ignore[arg-type]
    )
    return intent, plan, confirm


def change_details(intent: PaymentIntent, params: Params) -> None:
    """Apply the parameters that an update may change in any state: texts and metadata, not the amount."""
    intent.metadata = params.changed_metadata(intent.metadata)
    for name in TEXTS:
        if params.has(name):
            setattr(intent, name, None if params.empty(name) else params.text(name))
    if params.has("shipping"):
        intent.shipping = params.tree("shipping")


def read_amount(params: Params, intent: PaymentIntent) -> tuple[int, str]:
    """Returns amount and currency after an update."""
    amount = params.integer("amount")
    currency = (params.text("currency") or intent.currency).lower()
    check_currency(currency)
    amount = intent.amount if amount is None else amount
    check_amount(amount, currency)
    return amount, currency


def _automatic(params: Params) -> dict[str, Any] | None:
    """Returns `automatic_payment_methods`: enabled by default, as since API version 2023-08-16."""
    enabled = params.boolean("automatic_payment_methods[enabled]")
    redirects = params.choice("automatic_payment_methods[allow_redirects]", "always", "never")
    if enabled is None and redirects is not None:
        raise missing("automatic_payment_methods[enabled]")
    if enabled is False:
        return None
    return {"allow_redirects": redirects or "always", "enabled": True}


def _refuse_unsupported(params: Params) -> None:
    refuse_unsupported(params)
    params.choice("capture_method", "automatic", "automatic_async")
    allowed = params.listed("allowed_payment_method_types")
    if (allowed and "card" not in allowed) or "card" in params.listed("excluded_payment_method_types"):
        message = "No valid payment method types for this Payment Intent: the sandbox supports only cards."
        raise ApiError(message, code="payment_intent_invalid_parameter", param="allowed_payment_method_types")


def _off_session(params: Params) -> bool:
    value = params.choice("off_session", "true", "false", "one_off", "recurring")
    return value not in (None, "false")


def _future_usage(params: Params) -> str | None:
    if params.empty("setup_future_usage"):
        return None
    return params.choice("setup_future_usage", "off_session", "on_session")


def _three_d_secure(params: Params) -> str | None:
    return params.choice(THREE_D_SECURE, "any", "automatic", "challenge")
