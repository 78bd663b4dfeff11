"""The response bodies of the stand-in for Stripe: a charge and a PaymentIntent, with all the fields that Stripe sends.

The bodies have the size of Stripe's own, so that reading one costs the same. Each body is encoded once, with marks
where two objects differ, and the marks are replaced for each answer. The charge has the fields and the size of the
bench of release 0.1.0, so that their figures can be compared.
"""

from __future__ import annotations

import json
from random import Random

import msgspec

CREATED_S = 1_796_000_000
"""Seconds since 1970: the creation time of all objects of the stand-in."""
ID_BITS = 96
AMOUNT, RECEIVED = 987_654_321, 987_654_322
"""Marks among the numbers of a body: no amount of the bench is as large."""
_ids = Random()

CARD = {
    "brand": "visa",
    "country": "US",
    "exp_month": 12,
    "exp_year": 2034,
    "fingerprint": "sandboxvi4242",
    "funding": "credit",
    "last4": "4242",
    "network": "visa",
}
SOURCE = {
    "id": "card_0551d6a4385520f049cd10c6",
    "brand": "Visa",
    "last4": "4242",
    "funding": "credit",
    "country": "US",
    "fingerprint": "sandboxvi4242",
    "exp_month": 12,
    "exp_year": 2034,
    "object": "card",
    "address_city": None,
    "address_country": None,
    "address_line1": None,
    "address_line1_check": None,
    "address_line2": None,
    "address_state": None,
    "address_zip": None,
    "address_zip_check": None,
    "customer": None,
    "cvc_check": None,
    "dynamic_last4": None,
    "metadata": {},
    "name": None,
    "tokenization_method": None,
}
OUTCOME = {
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "seller_message": "Payment complete.",
    "type": "authorized",
    "network_advice_code": None,
    "network_decline_code": None,
    "risk_score": None,
}
CHARGE = {
    "id": "@charge@",
    "object": "charge",
    "amount": AMOUNT,
    "amount_captured": AMOUNT,
    "amount_refunded": 0,
    "application": None,
    "application_fee": None,
    "application_fee_amount": None,
    "balance_transaction": "txn_50150714c63f53a42a0c18fb",
    "billing_details": {},
    "calculated_statement_descriptor": "BENCH",
    "captured": True,
    "created": CREATED_S,
    "currency": "@currency@",
    "customer": None,
    "description": None,
    "destination": None,
    "dispute": None,
    "disputed": False,
    "failure_balance_transaction": None,
    "failure_code": None,
    "failure_message": None,
    "fraud_details": {},
    "invoice": None,
    "livemode": False,
    "metadata": {"@metadata@": ""},
    "on_behalf_of": None,
    "order": None,
    "outcome": OUTCOME,
    "paid": True,
    "payment_intent": None,
    "payment_method": SOURCE["id"],
    "payment_method_details": {"card": CARD, "type": "card"},
    "receipt_email": None,
    "receipt_number": None,
    "receipt_url": "https://pay.stripe.com/receipts/rcpt_91e64931dafbb1b6d8db5531",
    "refunded": False,
    "review": None,
    "shipping": None,
    "source": SOURCE,
    "source_transfer": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "succeeded",
    "transfer_data": None,
    "transfer_group": "@order@",
}
CHARGE_OF_INTENT = CHARGE | {
    "payment_intent": "@intent@",
    "payment_method": "pm_0551d6a4385520f049cd10c6",
    "source": None,
}
INTENT = {
    "id": "@intent@",
    "object": "payment_intent",
    "amount": AMOUNT,
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": RECEIVED,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": {"allow_redirects": "never", "enabled": True},
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic_async",
    "client_secret": "@intent@_secret_@secret@",
    "confirmation_method": "automatic",
    "created": CREATED_S,
    "currency": "@currency@",
    "customer": None,
    "description": None,
    "excluded_payment_method_types": None,
    "last_payment_error": None,
    "latest_charge": "@latest@",
    "livemode": False,
    "metadata": {"@metadata@": ""},
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": "@method@",
    "payment_method_configuration_details": {"id": "pmc_0551d6a4385520f049cd10c6", "parent": None},
    "payment_method_options": {
        "card": {
            "installments": None,
            "mandate_options": None,
            "network": None,
            "request_three_d_secure": "automatic",
        }
    },
    "payment_method_types": ["card"],
    "processing": None,
    "receipt_email": None,
    "review": None,
    "setup_future_usage": None,
    "shipping": None,
    "source": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "@status@",
    "transfer_data": None,
    "transfer_group": "@order@",
}

_CHARGE = msgspec.json.encode(CHARGE)
_CHARGE_OF_INTENT = msgspec.json.encode(CHARGE_OF_INTENT)
_INTENT = msgspec.json.encode(INTENT)


class Asked(msgspec.Struct, frozen=True):
    """The parameters of a charge or an intent. `amount` is in minor units, `metadata` an object as JSON."""

    amount: bytes
    currency: bytes
    order: bytes
    metadata: bytes

    @classmethod
    def of(cls, fields: dict[str, str]) -> Asked:
        """Read the fields of a form. Raises KeyError where amount or currency is missing."""
        metadata = {name[9:-1]: value for name, value in fields.items() if name.startswith("metadata[")}
        order = fields.get("transfer_group", "").encode()
        return cls(fields["amount"].encode(), fields["currency"].encode(), order, json.dumps(metadata).encode())

    def in_place_of_marks(self, body: bytes) -> bytes:
        return (
            body.replace(b"%d" % AMOUNT, self.amount)
            .replace(b"@currency@", self.currency)
            .replace(b'{"@metadata@":""}', self.metadata)
            .replace(b"@order@", self.order)
        )


def new_id(prefix: str) -> bytes:
    return f"{prefix}_{_ids.getrandbits(ID_BITS):024x}".encode()


def charge_body(charge_id: bytes, asked: Asked, intent_id: bytes | None = None) -> bytes:
    """Returns a succeeded charge as JSON, of an intent where one is given."""
    if intent_id is None:
        return asked.in_place_of_marks(_CHARGE).replace(b"@charge@", charge_id)
    body = asked.in_place_of_marks(_CHARGE_OF_INTENT)
    return body.replace(b"@charge@", charge_id).replace(b"@intent@", intent_id)


def intent_body(intent_id: bytes, asked: Asked, status: str, latest_charge: bytes) -> bytes:
    """Returns a PaymentIntent as JSON. `latest_charge` is JSON: `null`, the charge's id in quotes, or the whole
    charge.
    """
    succeeded = status == "succeeded"
    body = asked.in_place_of_marks(_INTENT).replace(b"@intent@", intent_id).replace(b"@secret@", intent_id[-24:])
    body = body.replace(b"%d" % RECEIVED, asked.amount if succeeded else b"0").replace(b"@status@", status.encode())
    body = body.replace(b'"@method@"', b'"pm_0551d6a4385520f049cd10c6"' if succeeded else b"null")
    return body.replace(b'"@latest@"', latest_charge)
