"""The instruments of the sandbox: payment methods, card tokens and confirmation tokens."""

from typing import Any

import pytest
import stripe

from payment.stripe_sandbox.tokens import TEST_NUMBERS
from tests.unit.stripe_sandbox.conftest import World

CARD: dict[str, Any] = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}


async def new_method(world: World, **card: Any) -> stripe.PaymentMethod:
    asked: Any = {"type": "card", "card": CARD | card, "billing_details": {"name": "A. Buyer"}}
    return await world.stripe.v1.payment_methods.create_async(asked)


async def test_every_test_number_makes_a_payment_method(world: World) -> None:
    """It has its card, and is retrieved as it was created."""
    for number, card in TEST_NUMBERS.items():
        method = await new_method(world, number=number)
        assert method.card is not None
        assert (method.card.last4, method.card.country) == (number[-4:], card.country)
        assert (method.card.funding, method.card.exp_year) == (card.funding, 2034)
        assert method.billing_details.name == "A. Buyer"
        assert (await world.stripe.v1.payment_methods.retrieve_async(method.id)).to_dict() == method.to_dict()


@pytest.mark.parametrize(
    ("number", "status"),
    [
        ("5555555555554444", "succeeded"),
        ("4000002500003155", "requires_action"),
        ("4000002760003184", "requires_action"),
        ("4000008400001629", "requires_action"),
        ("4000000000000002", "card_declined"),
        ("4000008400001280", "card_declined"),
        ("4000000000005126", "succeeded"),
    ],
)
async def test_a_number_pays_as_its_card_does(world: World, number: str, status: str) -> None:
    """The cards of Stripe's testing page, by number."""
    method = await new_method(world, number=number)
    try:
        ended = (await world.intent(confirm=True, payment_method=method.id)).status
    except stripe.CardError as declined:
        ended = str(declined.code)
    assert ended == status


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "x"}, "incorrect_number"),
        ({"number": "4111111111111111"}, "card_declined"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 2020}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
    ],
)
@pytest.mark.parametrize("kind", ["payment_method", "token"])
async def test_a_wrong_card_is_a_card_error(world: World, change: dict[str, Any], code: str, kind: str) -> None:
    """The answer is 402 with the code of the error, for payment methods and for tokens."""
    asked: Any = {"card": CARD | change}
    make = world.stripe.v1.tokens.create_async
    if kind == "payment_method":
        make, asked = world.stripe.v1.payment_methods.create_async, {"type": "card", **asked}  # type: ignore[assignment]
    with pytest.raises(stripe.CardError) as refused:
        await make(asked)
    assert (refused.value.http_status, refused.value.code) == (402, code)


async def test_a_card_token_makes_one_payment_method(world: World) -> None:
    """It is marked as used, and can't be used again, neither by an intent nor as a charge's source."""
    asked: Any = {"card": CARD | {"name": "A. Buyer"}}
    token = await world.stripe.v1.tokens.create_async(asked)
    assert (token.type, token.used) == ("card", False)
    assert token.card is not None
    assert (token.card.last4, token.card.name) == ("4242", "A. Buyer")
    assert (await world.intent()).status == "requires_payment_method"
    intent = await world.intent()
    assert (await world.confirm(intent.id, token=token.id)).status == "succeeded"
    assert (await world.stripe.v1.tokens.retrieve_async(token.id)).used is True
    other = await world.intent()
    for again in (world.confirm(other.id, token=token.id), world.charge(source=token.id)):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await again
        assert refused.value.code == "token_already_used"


async def test_a_token_of_a_declined_confirm_is_used_up(world: World) -> None:
    """As with a real token: it became a payment method before the card was charged."""
    asked: Any = {"card": CARD | {"number": "4000000000000002"}}
    token = await world.stripe.v1.tokens.create_async(asked)
    intent = await world.intent()
    with pytest.raises(stripe.CardError):
        await world.confirm(intent.id, token=token.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.confirm(intent.id, token=token.id)
    assert refused.value.code == "token_already_used"


async def test_a_token_of_a_refused_confirm_is_not_used_up(world: World) -> None:
    """A refused request changes nothing."""
    intent = await world.intent()
    await world.stripe.v1.payment_intents.cancel_async(intent.id)
    with pytest.raises(stripe.InvalidRequestError):
        await world.confirm(intent.id, token="tok_once_a")
    other = await world.intent()
    assert (await world.confirm(other.id, token="tok_once_a")).status == "succeeded"


async def test_a_payment_method_pays_once(world: World) -> None:
    """Without a customer it is used up by a payment; a declined one may be tried again."""
    method = await new_method(world)
    assert (await world.intent(confirm=True, payment_method=method.id)).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.intent(confirm=True, payment_method=method.id)
    assert (refused.value.code, refused.value.param) == ("payment_method_unexpected_state", "payment_method")
    declined = await new_method(world, number="4000000000009995")
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await world.intent(confirm=True, payment_method=declined.id)


async def test_a_payment_method_is_made_from_a_token(world: World) -> None:
    """`card[token]` accepts named tokens too."""
    method = await world.stripe.v1.payment_methods.create_async({"type": "card", "card": {"token": "tok_amex"}})
    assert method.card is not None
    assert method.card.brand == "amex"


@pytest.mark.parametrize("kind", ["payment_methods", "tokens", "confirmation_tokens"])
async def test_an_unknown_object_is_a_404(world: World, kind: str) -> None:
    """Its kind is named."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await getattr(world.stripe.v1, kind).retrieve_async("x_none")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


async def confirmation_token(world: World, **params: Any) -> stripe.ConfirmationToken:
    asked: Any = {"payment_method": "pm_card_visa", **params}
    return await world.stripe.v1.test_helpers.confirmation_tokens.create_async(asked)


async def test_a_confirmation_token_confirms_one_intent(world: World) -> None:
    """It has the card, names the intent that it confirmed, and can't be used again."""
    token = await confirmation_token(world)
    assert token.payment_method_preview is not None
    assert token.payment_method_preview.card is not None
    assert (token.payment_method_preview.card.last4, token.use_stripe_sdk) == ("4242", True)
    intent = await world.intent()
    paid = await world.confirm(intent.id, confirmation_token=token.id)
    assert paid.status == "succeeded"
    assert (await world.stripe.v1.confirmation_tokens.retrieve_async(token.id)).payment_intent == intent.id
    with pytest.raises(stripe.InvalidRequestError, match="already been used") as refused:
        await world.intent(confirm=True, confirmation_token=token.id)
    assert refused.value.param == "confirmation_token"


async def test_a_confirmation_token_expires(world: World) -> None:
    """After 12 hours."""
    token = await confirmation_token(world)
    await world.control("clock", skip_s=12 * 3600)
    with pytest.raises(stripe.InvalidRequestError, match="expired"):
        await world.intent(confirm=True, confirmation_token=token.id)


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({}, "use_stripe_sdk"),
        ({"return_url": "https://shop.example"}, "redirect_to_url"),
        ({"return_url": "https://shop.example", "use_stripe_sdk": True}, "use_stripe_sdk"),
    ],
)
async def test_a_confirmation_token_brings_what_the_browser_sent(
    world: World, params: dict[str, Any], kind: str
) -> None:
    """Its Stripe.js handles the next action, unless the confirm overrides that."""
    token = await confirmation_token(world, payment_method="pm_card_threeDSecure2Required")
    intent = await world.intent(confirm=True, confirmation_token=token.id, **params)
    assert intent.next_action is not None
    assert (intent.status, intent.next_action.type) == ("requires_action", kind)


async def test_a_confirmation_token_brings_its_return_url(world: World) -> None:
    """Where redirects are allowed its return URL is used."""
    token = await confirmation_token(world, return_url="https://shop.example/done")
    automatic = {"enabled": True}
    paid = await world.intent(confirm=True, confirmation_token=token.id, automatic_payment_methods=automatic)
    assert paid.status == "succeeded"


async def test_a_confirmation_token_is_made_of_card_data_too(world: World) -> None:
    """As the Payment Element creates it; without a payment method it is refused."""
    data = {f"payment_method_data[card][{name}]": str(value) for name, value in CARD.items()}
    status, body, _ = await world.post(
        "/v1/test_helpers/confirmation_tokens", **{"payment_method_data[type]": "card", **data}
    )
    assert (status, body["payment_method_preview"]["card"]["last4"]) == (200, "4242")
    status, body, _ = await world.post("/v1/test_helpers/confirmation_tokens")
    assert (status, body["error"]["code"]) == (400, "parameter_missing")
