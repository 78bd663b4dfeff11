"""The JSON of Stripe's objects: charge, refund, dispute, balance, list.

Fields that the sandbox does not use are null. The database stores objects in this form. `endpoints.py` changes a
charge's fields when it is refunded or a refund fails.
"""

from random import Random
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from payment.stripe_sandbox.tokens import Decline, TestCard

ID_BITS = 96
"""Bytes of randomness in an id, enough that no two are the same. Ids are not secret, and need no system call each."""
EVIDENCE_S = 7 * 86_400
"""How long a merchant may answer a dispute, in seconds."""
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_ids = Random()
CARD_EXPIRES = (12, 2034)
"""Month and year of every test card: in the future, as Stripe requires."""


def new_id(prefix: str) -> str:
    return f"{prefix}_{_ids.getrandbits(ID_BITS):024x}"


def billing_details(sent: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the billing details as sent, with null for missing fields."""
    sent = sent or {}
    address = dict.fromkeys(ADDRESS) | (sent.get("address") or {})
    return dict.fromkeys(("email", "name", "phone", "tax_id")) | sent | {"address": address}


class Card(Struct):
    """The card that was charged, as `source`."""

    id: str
    brand: str
    last4: str
    funding: str
    country: str
    fingerprint: str
    exp_month: int = CARD_EXPIRES[0]
    exp_year: int = CARD_EXPIRES[1]
    object: Literal["card"] = "card"
    address_city: str | None = None
    address_country: str | None = None
    address_line1: str | None = None
    address_line1_check: str | None = None
    address_line2: str | None = None
    address_state: str | None = None
    address_zip: str | None = None
    address_zip_check: str | None = None
    customer: str | None = None
    cvc_check: str | None = None
    dynamic_last4: str | None = None
    metadata: dict[str, str] = {}
    name: str | None = None
    tokenization_method: str | None = None


class Outcome(Struct):
    """The network's and Stripe's reasons for a charge's result."""

    network_status: str
    reason: str | None
    risk_level: str
    seller_message: str
    type: str
    network_advice_code: str | None = None
    network_decline_code: str | None = None


class ObjectList(Struct):
    """One page of charges or refunds."""

    data: list[Any]
    has_more: bool
    url: str
    object: Literal["list"] = "list"


class Charge(Struct, kw_only=True):
    """A charge, succeeded, failed or pending. Amounts in minor units, `created` in seconds since 1970."""

    id: str
    object: Literal["charge"] = "charge"
    amount: int
    amount_captured: int
    amount_refunded: int = 0
    application: str | None = None
    application_fee: str | None = None
    application_fee_amount: int | None = None
    balance_transaction: str | None
    billing_details: dict[str, Any] = field(default_factory=lambda: billing_details(None))
    calculated_statement_descriptor: str | None
    captured: bool
    created: int
    currency: str
    customer: str | None = None
    description: str | None
    disputed: bool
    failure_balance_transaction: str | None = None
    failure_code: str | None
    failure_message: str | None
    fraud_details: dict[str, str] = {}
    livemode: Literal[False] = False
    metadata: dict[str, str]
    on_behalf_of: str | None = None
    outcome: Outcome
    paid: bool
    payment_intent: str | None = None
    payment_method: str
    payment_method_details: dict[str, Any]
    receipt_email: str | None
    receipt_number: str | None = None
    receipt_url: str | None = None
    refunded: bool = False
    refunds: ObjectList | UnsetType = field(default=UNSET)
    review: str | None = None
    shipping: dict[str, Any] | None = None
    source: Card | None
    source_transfer: str | None = None
    statement_descriptor: str | None
    statement_descriptor_suffix: str | None
    status: Literal["succeeded", "failed", "pending"]
    transfer_data: None = None
    transfer_group: str | None


class RefundObject(Struct, kw_only=True):
    """A refund of a charge, or of a part of it."""

    id: str
    object: Literal["refund"] = "refund"
    amount: int
    balance_transaction: str | None
    charge: str
    created: int
    currency: str
    destination_details: dict[str, Any]
    failure_balance_transaction: str | UnsetType = UNSET
    failure_reason: str | UnsetType = UNSET
    metadata: dict[str, str]
    payment_intent: str | None = None
    pending_reason: str | UnsetType = UNSET
    reason: str | None
    receipt_number: str | None = None
    source_transfer_reversal: str | None = None
    status: str
    transfer_reversal: str | None = None


class Dispute(Struct, kw_only=True):
    """A dispute: the card's bank demands a charge back, or inquires about it."""

    id: str
    object: Literal["dispute"] = "dispute"
    amount: int
    balance_transactions: list[dict[str, Any]] = []
    charge: str
    created: int
    currency: str
    enhanced_eligibility_types: list[str] = []
    evidence: dict[str, Any] = field(default_factory=lambda: {"enhanced_evidence": {}})
    evidence_details: dict[str, Any]
    is_charge_refundable: bool
    livemode: Literal[False] = False
    metadata: dict[str, str] = {}
    network_reason_code: str | None = None
    payment_intent: str | None
    payment_method_details: dict[str, Any]
    reason: str
    status: str


class Money(Struct):
    """An amount of one currency on the account."""

    amount: int
    currency: str
    source_types: dict[str, int]


class Balance(Struct):
    """The account's balance: all of it stays pending, because the sandbox has no payouts."""

    available: list[Money]
    pending: list[Money]
    livemode: Literal[False] = False
    object: Literal["balance"] = "balance"


class AccountObject(Struct):
    """The account as its own key gets it: an id, and that it may charge."""

    id: str
    charges_enabled: Literal[True] = True
    country: Literal["US"] = "US"
    default_currency: Literal["usd"] = "usd"
    details_submitted: Literal[True] = True
    payouts_enabled: Literal[False] = False
    type: Literal["standard"] = "standard"
    object: Literal["account"] = "account"


def new_dispute(charge: Charge, card: TestCard, now_s: int) -> Dispute:
    """Returns the dispute that the bank of a disputing card opens about a charge."""
    brand = card_brand(card.brand)
    case = "inquiry" if card.inquiry else "chargeback"
    return Dispute(
        id=new_id("du"),
        amount=charge.amount,
        charge=charge.id,
        created=now_s,
        currency=charge.currency,
        evidence_details={
            "due_by": now_s + EVIDENCE_S,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=card.inquiry,
        payment_intent=charge.payment_intent,
        payment_method_details={
            "card": {"brand": brand, "case_type": case, "network": brand, "network_reason_code": None},
            "type": "card",
        },
        reason=card.dispute_reason,
        status="warning_needs_response" if card.inquiry else "needs_response",
    )


def card_on_charge(card: TestCard) -> Card:
    wrong_cvc = card.decline is not None and card.decline.code == "incorrect_cvc"
    return Card(
        id=new_id("card"),
        brand=card.brand,
        last4=card.number_end,
        funding=card.funding,
        country=card.country,
        fingerprint=f"sandbox{card.brand[:2].lower()}{card.number_end}",
        cvc_check="fail" if wrong_cvc else card.checks[2],
    )


def card_brand(brand: str) -> str:
    """Returns a brand as payment methods spell it: `amex`, where a token's card says `American Express`."""
    return brand.lower().replace(" ", "_").removesuffix("_club").replace("american_express", "amex")


def card_details(card: Card, amount: int | None = None, three_d_secure: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns a card as in `payment_method_details`."""
    brand = card_brand(card.brand)
    shown = {
        "amount_authorized": amount,
        "authorization_code": None,
        "brand": brand,
        "checks": {
            "address_line1_check": card.address_line1_check,
            "address_postal_code_check": card.address_zip_check,
            "cvc_check": card.cvc_check,
        },
        "country": card.country,
        "exp_month": card.exp_month,
        "exp_year": card.exp_year,
        "extended_authorization": {"status": "disabled"},
        "fingerprint": card.fingerprint,
        "funding": card.funding,
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card.last4,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": brand,
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": three_d_secure,
        "wallet": None,
    }
    return {"card": shown, "type": "card"}


def outcome_of(card: TestCard, decline: Decline | None = None) -> Outcome:
    """Returns the outcome of a charge of this card: by the given decline, else by the card's own."""
    decline = decline or card.decline
    if decline is None:
        return Outcome("approved_by_network", None, card.risk_level, "Payment complete.", "authorized")
    return _outcome_of_decline(decline, card.risk_level)


def _outcome_of_decline(decline: Decline, risk_level: str) -> Outcome:
    if decline.blocked:
        text = "Stripe blocked this payment as too risky."
        return Outcome("not_sent_to_network", "highest_risk_level", risk_level, text, "blocked")
    text = f"The bank returned the decline code `{decline.decline_code}`."
    return Outcome("declined_by_network", decline.decline_code, risk_level, text, "issuer_declined")
