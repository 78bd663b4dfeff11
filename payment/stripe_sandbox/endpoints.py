"""The endpoints of charges, refunds and the balance.

Each takes a call and returns an object, a list, or the answer of a declined card. A refused call raises ApiError. An
endpoint never waits, and a POST always runs inside a transaction.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from payment.stripe_sandbox.calls import (
    PAGE_PARAMS,
    UNSUPPORTED,
    ApiCall,
    Endpoint,
    Result,
    page_of,
    refuse_unsupported,
    selected,
)
from payment.stripe_sandbox.charging import Charging, Purchase
from payment.stripe_sandbox.currencies import check_amount, check_currency, formatted_amount
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import (
    ApiError,
    ExecutionError,
    card_error,
    charges_unsupported,
    missing,
    no_such,
)
from payment.stripe_sandbox.events import Events
from payment.stripe_sandbox.instruments import Instruments
from payment.stripe_sandbox.objects import AccountObject, Balance, Charge, Money, ObjectList, RefundObject, new_id
from payment.stripe_sandbox.params import Params
from payment.stripe_sandbox.tokens import card_of

REFUND_DELAY_S = 2.0
"""How long until a refund takes its final status (`tok_pendingRefund`, `tok_refundFail`), in seconds: Stripe documents
"later".
"""
ACCOUNT_CURRENCY = "usd"
REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")
TEXTS_ON_CHARGE = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)


class Endpoints:
    """Charges, refunds and the balance of one account."""

    def __init__(
        self,
        database: Database,
        events: Events,
        charging: Charging,
        instruments: Instruments,
        *,
        refund_delay_s: float = REFUND_DELAY_S,
        charges: Callable[[], bool],
    ) -> None:
        """`charges` returns whether the account may create charges by the Charges API."""
        self._database = database
        self._events = events
        self._charging = charging
        self._instruments = instruments
        self._refund_delay_s = refund_delay_s
        self._charges = charges

    def table(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("charges.create", "POST", "/v1/charges", self.create_charge, "charge"),
            Endpoint("charges.retrieve", "GET", "/v1/charges/{id}", self.retrieve_charge, "charge"),
            Endpoint("charges.update", "POST", "/v1/charges/{id}", self.update_charge, "charge"),
            Endpoint("charges.list", "GET", "/v1/charges", self.list_charges, "charge"),
            Endpoint("refunds.create", "POST", "/v1/refunds", self.create_refund, "refund"),
            Endpoint("refunds.retrieve", "GET", "/v1/refunds/{id}", self.retrieve_refund, "refund"),
            Endpoint("refunds.update", "POST", "/v1/refunds/{id}", self.update_refund, "refund"),
            Endpoint("refunds.list", "GET", "/v1/refunds", self.list_refunds, "refund"),
            Endpoint("account.retrieve", "GET", "/v1/account", self.retrieve_account, "account"),
            Endpoint("balance.retrieve", "GET", "/v1/balance", self.retrieve_balance, "balance"),
        )

    def create_charge(self, call: ApiCall) -> Result:
        """Charge a card. Returns a succeeded charge, or a 402 with a failed charge."""
        params = call.params
        params.allow(
            "amount", "currency", "source", "capture", "metadata", "metadata[*]", "shipping[*]",
            "radar_options[*]", *TEXTS_ON_CHARGE, *UNSUPPORTED,
        )  # fmt: skip
        if not self._charges():
            raise charges_unsupported()
        purchase, token = _read_purchase(params)
        purchase.card = self._instruments.use_source(token)
        purchase.decline = card_of(purchase.card).decline_without_customer()
        charge = self._charging.charge(purchase, call)
        decline = purchase.decline
        if decline is None:
            return charge
        return card_error(
            charge=charge.id,
            code=decline.code,
            decline_code=decline.decline_code,
            message=decline.message,
            param=decline.param,
        )

    def retrieve_charge(self, call: ApiCall) -> Result:
        call.params.allow()
        return self._charge(call.object_id)

    def update_charge(self, call: ApiCall) -> Result:
        """Update a charge's texts and metadata; its amount and card can't be changed."""
        params = call.params
        params.allow(
            "description", "metadata", "metadata[*]", "receipt_email", "shipping[*]", "transfer_group", "customer",
            "fraud_details[user_report]",
        )  # fmt: skip
        refuse_unsupported(params)
        report = params.choice("fraud_details[user_report]", "fraudulent", "safe")
        charge = self._charge(call.object_id)
        if report is not None:
            charge.fraud_details = {"user_report": report}
        charge.metadata = params.changed_metadata(charge.metadata)
        charge.description = params.text("description") or charge.description
        charge.receipt_email = params.text("receipt_email") or charge.receipt_email
        charge.transfer_group = params.text("transfer_group") or charge.transfer_group
        charge.shipping = params.tree("shipping") or charge.shipping
        self._database.change_charge(charge)
        self._events.record("charge.updated", charge, call)
        return charge

    def list_charges(self, call: ApiCall) -> Result:
        """List charges, newest first, failed ones included."""
        params = call.params
        params.allow("transfer_group", "payment_intent", "customer", *PAGE_PARAMS)
        refuse_unsupported(params)
        filters = selected(params, "transfer_group", "payment_intent")
        self._refuse_unknown_intent(filters)
        charges, more = self._database.charges(filters, page_of(params, "charge", self._database.charge))
        return ObjectList(charges, more, "/v1/charges")

    def create_refund(self, call: ApiCall) -> Result:
        """Refund a charge or a part of it; without an amount all that is left of it."""
        params = call.params
        params.allow(
            "charge", "payment_intent", "amount", "currency", "metadata", "metadata[*]", "reason",
            "refund_application_fee", "reverse_transfer", "instructions_email", "customer",
        )  # fmt: skip
        refuse_unsupported(params)
        asked, reason = params.integer("amount"), params.choice("reason", *REFUND_REASONS)
        metadata = params.metadata()
        charge = self._refundable(params)
        amount = _refund_amount(charge, asked)
        card = card_of(self._database.card_of(charge.id))
        begins, ends = card.refund_begins, card.refund_ends
        refund = _new_refund(charge, amount, begins, int(self._database.now()), metadata, reason)
        settles_at = self._database.now() + self._refund_delay_s if begins != ends else None
        self._database.add_refund(refund, settles_at, ends if begins != ends else None)
        self._restore_refundable(charge, amount)
        self._events.record("refund.created", refund, call)
        self._events.record("charge.refunded", charge, call)
        return refund

    def retrieve_refund(self, call: ApiCall) -> Result:
        call.params.allow()
        return self._refund(call.object_id)

    def update_refund(self, call: ApiCall) -> Result:
        call.params.allow("metadata", "metadata[*]")
        refund = self._refund(call.object_id)
        refund.metadata = call.params.changed_metadata(refund.metadata)
        self._database.change_refund(refund)
        self._events.record("refund.updated", refund, call)
        return refund

    def list_refunds(self, call: ApiCall) -> Result:
        params = call.params
        params.allow("charge", "payment_intent", *PAGE_PARAMS)
        filters = selected(params, "charge", "payment_intent")
        if "charge" in filters and self._database.charge(filters["charge"]) is None:
            raise no_such("charge", filters["charge"], param="charge")
        self._refuse_unknown_intent(filters)
        refunds, more = self._database.refunds(filters, page_of(params, "refund", self._database.refund))
        return ObjectList(refunds, more, "/v1/refunds")

    def retrieve_account(self, call: ApiCall) -> Result:
        """Return the account that the key belongs to."""
        call.params.allow()
        return AccountObject(self._database.account_id)

    def retrieve_balance(self, call: ApiCall) -> Result:
        call.params.allow()
        nothing = Money(0, ACCOUNT_CURRENCY, {"card": 0})
        return Balance([nothing], self._database.kept() or [nothing])

    def settle_refunds(self) -> None:
        """Set the final status of the refunds that are due. A failed one returns its amount to the charge.

        Must run inside a transaction.
        """
        for refund, status in self._database.refunds_to_settle():
            self._settle(refund, status)

    def fail_refund(self, refund: RefundObject) -> bool:
        """Let the bank return a refund, as it may for 30 days. Returns False if it had failed or was canceled already.

        Must run inside a transaction.
        """
        if refund.status in ("failed", "canceled"):
            return False
        self._settle(refund, "failed")
        return True

    def _settle(self, refund: RefundObject, status: str) -> None:
        refund.status = status
        refund.pending_reason = msgspec.UNSET
        if status == "failed":
            refund.failure_reason = "expired_or_canceled_card"
            refund.failure_balance_transaction = new_id("txn")
            self._restore_refundable(self._charge(refund.charge), -refund.amount)
        self._database.settle_refund(refund)
        self._events.record("refund.updated", refund, None)
        if status == "failed":
            self._events.record("refund.failed", refund, None)

    def _restore_refundable(self, charge: Charge, amount: int) -> None:
        charge.amount_refunded += amount
        charge.refunded = charge.amount_refunded == charge.amount
        self._database.change_charge(charge)

    def _charge(self, charge_id: str) -> Charge:
        charge = self._database.charge(charge_id)
        if charge is None:
            raise no_such("charge", charge_id, param="id", status=404)
        return charge

    def _refund(self, refund_id: str) -> RefundObject:
        refund = self._database.refund(refund_id)
        if refund is None:
            raise no_such("refund", refund_id, param="id", status=404)
        return refund

    def _refuse_unknown_intent(self, filters: dict[str, str]) -> None:
        intent_id = filters.get("payment_intent")
        if intent_id is not None and self._database.intents.get(intent_id) is None:
            raise no_such("payment_intent", intent_id, param="payment_intent")

    def _refundable(self, params: Params) -> Charge:
        """Returns the charge that is named by its id or by its intent's. Raises ApiError if it can't be refunded."""
        charge_id, intent_id = params.text("charge"), params.text("payment_intent")
        if charge_id is None and intent_id is None:
            message = "One of the following params should be provided for this request: payment_intent or charge."
            raise missing("charge", message)
        if intent_id is not None:
            charge_id = self._charge_of_intent(intent_id, charge_id)
        assert charge_id is not None, "one of the two is given"
        charge = self._database.charge(charge_id)
        if charge is None:
            raise no_such("charge", charge_id, param="charge")
        if charge.status == "failed":
            raise ExecutionError(f"Charge {charge_id} failed, so there is nothing to refund.", param="charge")
        if charge.status == "pending":
            raise ExecutionError(f"Charge {charge_id} is still pending and can't be refunded yet.", param="charge")
        if not all(dispute.is_charge_refundable for dispute in self._database.disputes_of(charge_id)):
            message = f"Charge {charge_id} has been charged back; cannot issue a refund."
            raise ExecutionError(message, code="charge_disputed")
        if charge.refunded:
            raise ExecutionError(f"Charge {charge_id} has already been refunded.", code="charge_already_refunded")
        return charge

    def _charge_of_intent(self, intent_id: str, charge_id: str | None) -> str:
        intent = self._database.intents.get(intent_id)
        if intent is None:
            raise no_such("payment_intent", intent_id, param="payment_intent")
        if intent.status != "succeeded" or intent.latest_charge is None:
            message = f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
            raise ExecutionError(message, param="payment_intent")
        if charge_id not in (None, intent.latest_charge):
            message = f"The charge {charge_id} does not belong to the PaymentIntent {intent_id}."
            raise ExecutionError(message, param="charge")
        return intent.latest_charge


def _read_purchase(params: Params) -> tuple[Purchase, str]:
    """Returns the purchase of a charge's parameters, still without a card, and the source to charge."""
    amount, currency = params.integer("amount"), params.required("currency").lower()
    if amount is None:
        raise missing("amount")
    check_currency(currency)
    check_amount(amount, currency)
    if params.boolean("capture") is False:
        raise ApiError("The sandbox does not authorize without capturing.", param="capture")
    source = params.text("source")
    refuse_unsupported(params)
    if source is None:
        raise missing("source", "Must provide source or customer.")
    texts: dict[str, Any] = {name: params.text(name) for name in TEXTS_ON_CHARGE}
    purchase = Purchase(
        amount=amount,
        currency=currency,
        card="",
        decline=None,
        metadata=params.metadata(),
        shipping=params.tree("shipping"),
        **texts,
    )
    return purchase, source


def _new_refund(
    charge: Charge, amount: int, status: str, now_s: int, metadata: dict[str, str], reason: str | None
) -> RefundObject:
    return RefundObject(
        id=new_id("re"),
        amount=amount,
        balance_transaction=new_id("txn"),
        charge=charge.id,
        created=now_s,
        currency=charge.currency,
        destination_details={"card": {"type": "refund", "reference_status": "pending"}, "type": "card"},
        metadata=metadata,
        payment_intent=charge.payment_intent,
        pending_reason="processing" if status == "pending" else msgspec.UNSET,
        reason=reason,
        status=status,
    )


def _refund_amount(charge: Charge, asked: int | None) -> int:
    left = charge.amount - charge.amount_refunded
    if asked is None:
        return left
    if asked > left:
        whole, rest = formatted_amount(asked, charge.currency), formatted_amount(left, charge.currency)
        message = f"RefundObject amount ({whole}) is greater than unrefunded amount on charge ({rest})"
        raise ExecutionError(message, param="amount")
    return asked
