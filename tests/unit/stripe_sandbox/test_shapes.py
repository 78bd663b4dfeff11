"""The sandbox's objects have the fields of Stripe's API, compared with the stripe library's own types.

The library's classes are generated from Stripe's specification at the sandbox's API version.
"""

import ast
import inspect
import sys
from typing import Any

import pytest
import stripe

from tests.unit.stripe_sandbox.conftest import World


def fields_of(kind: type) -> dict[str, bool]:
    """Returns the fields of one of the library's classes, and whether each is required."""
    source = inspect.getsource(sys.modules[kind.__module__])
    (found,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    annotated = (node for node in found.body if isinstance(node, ast.AnnAssign))
    shown = {ast.unparse(node.target): ast.unparse(node.annotation) for node in annotated}
    return {name: not kind.startswith("Optional") for name, kind in shown.items() if not kind.startswith("ClassVar")}


async def made(world: World) -> dict[type, Any]:
    """Returns an object of each type."""
    v1 = world.stripe.v1
    waiting = await world.intent(confirm=True, payment_method="pm_card_threeDSecure2Required")
    paid = await world.intent(confirm=True, payment_method="pm_card_createDisputeInquiry")
    asked: Any = {"card": {"number": "4242424242424242", "exp_month": "12", "exp_year": "2034", "cvc": "123"}}
    token = await v1.tokens.create_async(asked)
    endpoint: Any = {"url": "https://shop.example", "enabled_events": ["charge.refunded"]}
    return {
        stripe.PaymentIntent: waiting,
        stripe.PaymentMethod: await v1.payment_methods.retrieve_async(str(waiting.payment_method)),
        stripe.Charge: await v1.charges.retrieve_async(str(paid.latest_charge)),
        stripe.Dispute: (await v1.disputes.list_async()).data[0],
        stripe.Refund: await v1.refunds.create_async({"payment_intent": paid.id}),
        stripe.Token: token,
        stripe.Card: token.card,
        stripe.ConfirmationToken: await v1.test_helpers.confirmation_tokens.create_async(
            {"payment_method": "pm_card_visa"}
        ),
        stripe.Event: (await v1.events.list_async()).data[0],
        stripe.WebhookEndpoint: await v1.webhook_endpoints.create_async(endpoint),
        stripe.Balance: await v1.balance.retrieve_async(),
    }


async def test_objects_have_stripes_fields_and_no_others(world: World) -> None:
    """Required fields are present and not null; no field is unknown to Stripe."""
    for kind, shown in (await made(world)).items():
        fields, names = fields_of(kind), set(shown.to_dict())
        assert "object" in fields
        assert names - set(fields) == set(), kind
        missing = {name for name, needed in fields.items() if needed and shown.to_dict().get(name) is None}
        assert missing == set(), kind


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (stripe.Charge.Outcome, "outcome"),
        (stripe.Charge.BillingDetails, "billing_details"),
        (stripe.Charge.PaymentMethodDetails.Card, "payment_method_details.card"),
        (stripe.Charge.PaymentMethodDetails.Card.Checks, "payment_method_details.card.checks"),
        (stripe.Charge.PaymentMethodDetails.Card.ThreeDSecure, "payment_method_details.card.three_d_secure"),
    ],
)
async def test_the_objects_in_a_charge_have_stripes_fields(world: World, kind: type, path: str) -> None:
    """No field is missing in Stripe's own type, so that a strictly typed client can read it."""
    intent = await world.intent(confirm=True, payment_method="pm_card_threeDSecure2Required")
    await world.control(f"intents/{intent.id}/complete")
    node: Any = (await world.stripe.v1.charges.list_async({"payment_intent": intent.id})).data[0].to_dict()
    for field in path.split("."):
        node = node[field]
    assert set(node) - set(kind.__annotations__) == set()
