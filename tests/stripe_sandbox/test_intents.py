"""The sandbox's PaymentIntents, through the real stripe library: every state and every way from one to another."""

from typing import Any

import pytest
import stripe

from payment.stripe_sandbox.tokens import TEST_METHODS
from tests.stripe_sandbox.conftest import START, World


async def test_an_intent_is_created_without_money(world: World) -> None:
    """What was sent stands on it, it wants a payment method, and nothing is charged."""
    intent = await world.intent(metadata={"orderId": "o1"}, transfer_group="o1", description="two seats")
    assert (intent.object, intent.amount, intent.currency) == ("payment_intent", 1999, "usd")
    assert (intent.status, intent.amount_received, intent.created) == ("requires_payment_method", 0, int(START))
    assert (intent.latest_charge, intent.payment_method, intent.next_action) == (None, None, None)
    assert intent.client_secret is not None
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert intent.automatic_payment_methods is not None
    assert intent.automatic_payment_methods.allow_redirects == "never"
    assert intent.metadata.to_dict() == {"orderId": "o1"}
    assert (await world.stripe.v1.payment_intents.retrieve_async(intent.id)).to_dict() == intent.to_dict()
    assert (await world.audit())["charges"] == []


async def test_a_confirmed_intent_has_charged(world: World) -> None:
    """The charge has the intent's metadata, its group and its card, and the intent names it."""
    intent = await world.intent(metadata={"orderId": "o1"}, transfer_group="o1", description="two seats")
    paid = await world.confirm(intent.id, token="tok_mastercard")
    assert (paid.status, paid.amount_received, paid.last_payment_error) == ("succeeded", 1999, None)
    charge = await world.stripe.v1.charges.retrieve_async(str(paid.latest_charge))
    assert (charge.status, charge.paid, charge.payment_intent) == ("succeeded", True, intent.id)
    assert (charge.transfer_group, charge.description) == ("o1", "two seats")
    assert charge.metadata.to_dict() == {"orderId": "o1"}
    assert charge.payment_method == paid.payment_method
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert (charge.payment_method_details.card.brand, charge.payment_method_details.card.last4) == (
        "mastercard",
        "4444",
    )
    assert (charge.source, charge.billing_details.email) == (None, None)
    assert charge.outcome is not None
    assert charge.outcome.risk_score is None


async def test_an_intent_is_confirmed_as_it_is_created(world: World) -> None:
    """`confirm=true` is both at once."""
    paid = await world.intent(confirm=True, payment_method="pm_card_visa")
    assert paid.status == "succeeded"


@pytest.mark.parametrize("name", sorted(TEST_METHODS))
async def test_every_test_payment_method_ends_as_its_card_does(world: World, name: str) -> None:
    """It succeeds, is declined with its card's codes, or wants the customer."""
    card = TEST_METHODS[name]
    if card.asks_for_authentication(requested=False, off_session=False) and not card.lookup_fails:
        waiting = await world.intent(confirm=True, payment_method=name)
        assert (waiting.status, waiting.latest_charge) == ("requires_action", None)
    elif card.decline is not None or (card.lookup_fails and card.authentication.value == "required"):
        with pytest.raises(stripe.CardError) as declined:
            await world.intent(confirm=True, payment_method=name)
        error: Any = declined.value.error
        assert error.decline_code == (card.decline.decline_code if card.decline else "generic_decline")
        assert error.payment_intent.status == "requires_payment_method"
        assert error.payment_intent.latest_charge == error.charge
    else:
        assert (await world.intent(confirm=True, payment_method=name)).status == "succeeded"
