"""Makes charges: succeeded, failed or pending, for the Charges API and for intents."""

from typing import Any

from msgspec import Struct

from payment.stripe_sandbox.calls import ApiCall
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.events import Events
from payment.stripe_sandbox.objects import (
    Charge,
    billing_details,
    card_details,
    card_on_charge,
    new_dispute,
    new_id,
    outcome_of,
)
from payment.stripe_sandbox.tokens import Decline, card_of


class Purchase(Struct, kw_only=True):
    """The parameters of a charge."""

    amount: int
    currency: str
    card: str
    """The key of the card."""
    decline: Decline | None
    pending: bool = False
    """Whether the charge stays pending until `Charging.settle`."""
    metadata: dict[str, str]
    description: str | None
    receipt_email: str | None
    shipping: dict[str, Any] | None = None
    statement_descriptor: str | None
    statement_descriptor_suffix: str | None
    transfer_group: str | None
    payment_intent: str | None = None
    payment_method: str | None = None
    """The intent's payment method; None charges the card as a `source`, as the Charges API does."""
    billing: dict[str, Any] | None = None
    three_d_secure: dict[str, Any] | None = None


class Charging:
    """Makes charges and settles pending ones, each with its event."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def charge(self, purchase: Purchase, call: ApiCall | None) -> Charge:
        charge = _new_charge(purchase, int(self._database.now()))
        self._database.add_charge(charge, purchase.card)
        self._record(charge, purchase.card, call)
        return charge

    def settle(self, charge: Charge, decline: Decline | None, call: ApiCall | None) -> None:
        """End a pending charge."""
        card = card_of(self._database.card_of(charge.id))
        charge.status = "failed" if decline else "succeeded"
        charge.paid = charge.captured = decline is None
        charge.amount_captured = 0 if decline else charge.amount
        charge.balance_transaction = None if decline else new_id("txn")
        charge.failure_code = decline.code if decline else None
        charge.failure_message = decline.message if decline else None
        charge.outcome = outcome_of(card, decline)
        charge.disputed = card.disputed and decline is None
        self._database.change_charge(charge)
        self._record(charge, self._database.card_of(charge.id), call)

    def _record(self, charge: Charge, card: str, call: ApiCall | None) -> None:
        self._events.record(f"charge.{charge.status}", charge, call)
        if charge.disputed:
            dispute = new_dispute(charge, card_of(card), int(self._database.now()))
            self._database.add_dispute(dispute)
            self._events.record("charge.dispute.created", dispute, call)


def _new_charge(purchase: Purchase, now_s: int) -> Charge:
    card, decline = card_of(purchase.card), purchase.decline
    shown = card_on_charge(card)
    succeeded = decline is None and not purchase.pending
    return Charge(
        id=new_id("ch"),
        amount=purchase.amount,
        amount_captured=purchase.amount if succeeded else 0,
        balance_transaction=new_id("txn") if succeeded else None,
        billing_details=billing_details(purchase.billing),
        calculated_statement_descriptor=purchase.statement_descriptor,
        captured=succeeded,
        created=now_s,
        currency=purchase.currency,
        description=purchase.description,
        disputed=card.disputed and succeeded,
        failure_code=decline.code if decline else None,
        failure_message=decline.message if decline else None,
        metadata=purchase.metadata,
        outcome=outcome_of(card, decline),
        paid=succeeded,
        payment_intent=purchase.payment_intent,
        payment_method=purchase.payment_method or shown.id,
        payment_method_details=card_details(shown, purchase.amount, purchase.three_d_secure),
        receipt_email=purchase.receipt_email,
        shipping=purchase.shipping,
        source=shown if purchase.payment_method is None else None,
        statement_descriptor=purchase.statement_descriptor,
        statement_descriptor_suffix=purchase.statement_descriptor_suffix,
        status="failed" if decline else "pending" if purchase.pending else "succeeded",
        transfer_group=purchase.transfer_group,
    )
