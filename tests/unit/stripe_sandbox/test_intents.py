"""The sandbox's PaymentIntents, through the real stripe library: every state and every transition."""

import asyncio
from typing import Any

import pytest
import stripe

from payment.stripe_sandbox.tokens import TEST_METHODS
from tests.unit.stripe_sandbox.conftest import START, World

THREE_D_SECURE = "pm_card_threeDSecure2Required"
DECLINED_AFTERWARDS = "pm_card_threeDSecureRequiredChargeDeclined"


async def waiting(world: World, **params: Any) -> stripe.PaymentIntent:
    """Returns an intent that waits for its customer."""
    intent = await world.intent(confirm=True, **{"payment_method": THREE_D_SECURE, **params})
    assert intent.status == "requires_action"
    return intent


async def test_an_intent_is_created_without_money(world: World) -> None:
    """It has the sent parameters, requires a payment method, and nothing is charged."""
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
    assert "risk_score" not in charge.outcome  # for accounts with Radar for Fraud Teams alone


async def test_every_test_payment_method_ends_as_its_card_does(world: World) -> None:
    """It succeeds, is declined with its card's codes, or requires the customer."""
    for name, card in TEST_METHODS.items():
        expected = "succeeded" if card.decline is None else card.decline.decline_code
        if card.asks_for_authentication(requested=False, off_session=False):
            expected = "generic_decline" if card.lookup_fails else "requires_action"
        try:
            ended = (await world.intent(confirm=True, payment_method=name)).status
        except stripe.CardError as declined:
            error: Any = declined.error
            ended = error.decline_code
            assert error.payment_intent.status == "requires_payment_method"
            assert error.payment_intent.latest_charge == error.charge
        assert (name, ended) == (name, expected)


async def test_a_declined_confirm_names_intent_charge_and_payment_method(world: World) -> None:
    """The 402 holds all three, the intent can be paid with another card, and the failed charge stays."""
    intent = await world.intent(transfer_group="o1")
    with pytest.raises(stripe.CardError) as declined:
        await world.confirm(intent.id, token="tok_chargeDeclinedInsufficientFunds")
    error: Any = declined.value.error
    assert (declined.value.http_status, error.code, error.decline_code) == (402, "card_declined", "insufficient_funds")
    assert (error.payment_intent.id, error.payment_intent.status) == (intent.id, "requires_payment_method")
    assert error.payment_intent.payment_method is None
    assert error.payment_method.card.last4 == "9995"
    failed = error.payment_intent.last_payment_error
    assert (failed.type, failed.decline_code, failed.charge) == ("card_error", "insufficient_funds", error.charge)
    assert failed.payment_method.id == error.payment_method.id
    paid = await world.confirm(intent.id, token="tok_visa")
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    charges = await world.stripe.v1.charges.list_async({"payment_intent": intent.id})
    assert [charge.status for charge in charges.data] == ["succeeded", "failed"]
    assert charges.data == (await world.stripe.v1.charges.list_async({"transfer_group": "o1"})).data


@pytest.mark.parametrize("end", ["succeeded", "canceled"])
async def test_an_ended_intent_is_never_charged_again(world: World, end: str) -> None:
    """It can't be confirmed, canceled or changed in its amount; the 400 holds the intent as it is."""
    intent = await world.intent()
    if end == "succeeded":
        await world.confirm(intent.id, token="tok_visa")
    else:
        await world.stripe.v1.payment_intents.cancel_async(intent.id)
    intents = world.stripe.v1.payment_intents
    for step in (
        world.confirm(intent.id, token="tok_visa"),
        intents.cancel_async(intent.id),
        intents.update_async(intent.id, {"amount": 2999}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await step
        error: Any = refused.value.error
        assert (refused.value.http_status, error.code) == (400, "payment_intent_unexpected_state")
        assert (error.payment_intent.id, error.payment_intent.status) == (intent.id, end)
    assert len((await world.audit())["charges"]) == (end == "succeeded")


async def test_confirms_at_the_same_time_charge_once(world: World) -> None:
    """Of many confirms under different keys one succeeds."""
    intent = await world.intent(metadata={"orderId": "o1"})
    confirms = [world.confirm(intent.id, key=str(number), token="tok_visa") for number in range(8)]
    ended = await asyncio.gather(*confirms, return_exceptions=True)
    assert sum(isinstance(each, stripe.PaymentIntent) for each in ended) == 1
    audit = await world.audit()
    assert audit["succeeded_by_intent"] == {intent.id: 1}
    assert audit["orders"]["o1"]["succeeded"] == audit["orders"]["o1"]["kept"] == [audit["charges"][0]["id"]]


async def test_an_open_intent_is_canceled(world: World) -> None:
    """It has the time and the reason, and no next action."""
    intent = await waiting(world)
    world.clock.now += 5
    canceled = await world.stripe.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert (canceled.canceled_at, canceled.next_action) == (int(START) + 5, None)
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "whim"})


async def test_a_confirm_without_a_payment_method_is_refused(world: World) -> None:
    """The state does not allow it without a payment method."""
    intent = await world.intent()
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.confirm(intent.id)
    assert refused.value.code == "payment_intent_unexpected_state"


async def test_a_payment_method_named_before_is_the_one_confirmed(world: World) -> None:
    """Named at the create or by an update, it waits for its confirm."""
    intent = await world.intent(payment_method="pm_card_visa")
    assert intent.status == "requires_confirmation"
    changed = await world.stripe.v1.payment_intents.update_async(intent.id, {"payment_method": "pm_card_amex"})
    assert changed.status == "requires_confirmation"
    paid = await world.confirm(intent.id, expand=["payment_method"])
    assert isinstance(paid.payment_method, stripe.PaymentMethod)
    assert paid.payment_method.card is not None
    assert paid.payment_method.card.brand == "amex"


async def test_an_update_changes_what_it_names(world: World) -> None:
    """Amount, texts and metadata; an empty metadata value removes a name; the rest stays."""
    intent = await world.intent(metadata={"orderId": "o1", "attempt": "1"}, description="two seats")
    changed = await world.stripe.v1.payment_intents.update_async(
        intent.id, {"amount": 2999, "metadata": {"attempt": ""}, "receipt_email": "a@example.com"}
    )
    assert (changed.amount, changed.description, changed.receipt_email) == (2999, "two seats", "a@example.com")
    assert changed.metadata.to_dict() == {"orderId": "o1"}
    assert (await world.confirm(intent.id, token="tok_visa")).amount_received == 2999
    after = await world.stripe.v1.payment_intents.update_async(intent.id, {"description": "three seats"})
    assert (after.status, after.description) == ("succeeded", "three seats")


async def test_the_customer_completes_and_the_card_is_charged(world: World) -> None:
    """Without a return URL next_action is `use_stripe_sdk`; the charge shows the authentication."""
    intent = await waiting(world, use_stripe_sdk=True)
    assert intent.next_action is not None
    assert intent.next_action.type == "use_stripe_sdk"
    assert (await world.control(f"intents/{intent.id}/complete"))["status"] == "succeeded"
    paid = await world.stripe.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert (paid.status, paid.next_action) == ("succeeded", None)
    assert isinstance(paid.latest_charge, stripe.Charge)
    details = paid.latest_charge.payment_method_details
    assert details is not None
    assert details.card is not None
    assert details.card.three_d_secure is not None
    assert details.card.three_d_secure.result == "authenticated"


async def test_the_customer_fails_and_nothing_is_charged(world: World) -> None:
    """The intent requires another payment method and has the reason; it can still be paid."""
    intent = await waiting(world)
    assert (await world.control(f"intents/{intent.id}/fail"))["status"] == "requires_payment_method"
    failed = await world.stripe.v1.payment_intents.retrieve_async(intent.id)
    assert failed.last_payment_error is not None
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    assert (failed.latest_charge, failed.payment_method) == (None, None)
    assert (await world.confirm(intent.id, token="tok_visa")).status == "succeeded"


async def test_an_authenticated_card_can_still_be_declined(world: World) -> None:
    """The customer completes, the bank declines all the same."""
    intent = await waiting(world, payment_method=DECLINED_AFTERWARDS)
    assert (await world.control(f"intents/{intent.id}/complete"))["status"] == "requires_payment_method"
    failed = await world.stripe.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert failed.last_payment_error is not None
    assert (failed.last_payment_error.code, failed.last_payment_error.decline_code) == (
        "card_declined",
        "generic_decline",
    )
    assert isinstance(failed.latest_charge, stripe.Charge)
    assert failed.latest_charge.status == "failed"


@pytest.mark.parametrize("params", [{"error_on_requires_action": True}, {"off_session": True}])
async def test_a_card_that_needs_its_customer_is_declined_where_there_is_none(world: World, params: Any) -> None:
    """The answer is 402 `authentication_required`, and the intent requires another payment method."""
    intent = await world.intent()
    with pytest.raises(stripe.CardError) as declined:
        await world.confirm(intent.id, payment_method=THREE_D_SECURE, **params)
    error: Any = declined.value.error
    assert (declined.value.http_status, error.code) == (402, "authentication_required")
    assert error.decline_code == "authentication_required"
    assert (error.payment_intent.status, error.payment_intent.next_action) == ("requires_payment_method", None)


async def test_a_card_set_up_for_off_session_needs_no_customer_then(world: World) -> None:
    """`pm_card_authenticationRequiredSetupForOffSession` requires authentication only on session."""
    name = "pm_card_authenticationRequiredSetupForOffSession"
    assert (await world.intent(confirm=True, payment_method=name, off_session=True)).status == "succeeded"
    assert (await world.intent(confirm=True, payment_method=name)).status == "requires_action"


@pytest.mark.parametrize(
    ("name", "status"),
    [("pm_card_threeDSecureOptional", "requires_action"), ("pm_card_visa", "succeeded"), ("pm_card_amex", "succeeded")],
)
@pytest.mark.parametrize("wish", ["any", "challenge"])
async def test_three_d_secure_is_asked_for_where_the_card_can(world: World, name: str, status: str, wish: str) -> None:
    """`request_three_d_secure` has an effect only on enrolled cards."""
    options = {"card": {"request_three_d_secure": wish}}
    assert (await world.intent(confirm=True, payment_method=name, payment_method_options=options)).status == status


async def test_a_failed_lookup_declines(world: World) -> None:
    """An optional 3-D Secure whose server does not answer fails the payment only if it is requested."""
    name = "pm_card_threeDSecureOptionalProcessingError"
    assert (await world.intent(confirm=True, payment_method=name)).status == "succeeded"
    options = {"card": {"request_three_d_secure": "any"}}
    with pytest.raises(stripe.CardError) as declined:
        await world.intent(confirm=True, payment_method=name, payment_method_options=options)
    assert declined.value.code == "card_declined"


async def test_another_card_replaces_the_one_that_waits(world: World) -> None:
    """A confirm while the customer is at the bank begins a new attempt; the answer to the old page does nothing."""
    intent = await waiting(world, use_stripe_sdk=True)
    page = _sdk_url(intent)
    again = await world.confirm(intent.id, payment_method=THREE_D_SECURE, use_stripe_sdk=True)
    assert again.status == "requires_action"
    assert _sdk_url(again) != page
    async with world.raw.post(f"{page}/complete") as response:
        assert response.status == 410
    assert (await world.confirm(intent.id, token="tok_visa")).status == "succeeded"
    async with world.raw.post(f"{_sdk_url(again)}/complete") as response:
        assert response.status == 410
    assert (await world.audit())["succeeded_by_intent"] == {intent.id: 1}


def _sdk_url(intent: stripe.PaymentIntent) -> str:
    assert intent.next_action is not None
    assert intent.next_action.use_stripe_sdk is not None
    return str(intent.next_action.use_stripe_sdk["stripe_js"])


@pytest.mark.parametrize("answer", ["complete", "fail"])
async def test_the_bank_can_not_answer_for_an_intent_that_does_not_wait(world: World, answer: str) -> None:
    """The answer is 409, and 404 for an unknown intent; nothing is charged."""
    intent = await waiting(world)
    await world.stripe.v1.payment_intents.cancel_async(intent.id)
    for intent_id, status in ((intent.id, 409), ("pi_none", 404)):
        async with world.raw.post(f"/_sandbox/intents/{intent_id}/{answer}") as response:
            assert response.status == status
    assert (await world.audit())["charges"] == []


async def test_a_redirecting_intent_needs_a_return_url(world: World) -> None:
    """Where redirects are allowed a confirm needs a return URL, for any card."""
    intent = await world.intent(automatic_payment_methods={"enabled": True})
    with pytest.raises(stripe.InvalidRequestError, match="you must provide a `return_url`"):
        await world.confirm(intent.id, token="tok_visa")
    paid = await world.confirm(intent.id, token="tok_visa", return_url="https://shop.example/done")
    assert paid.status == "succeeded"


async def test_intents_are_listed_newest_first(world: World) -> None:
    """Pages and times work as with charges; every customer is unknown."""
    made = []
    for _ in range(3):
        made.append(await world.intent())
        world.clock.now += 60
    page = await world.stripe.v1.payment_intents.list_async({"limit": 2})
    assert ([each.id for each in page.data], page.has_more) == ([made[2].id, made[1].id], True)
    assert [each.id async for each in page.auto_paging_iter()] == [each.id for each in reversed(made)]
    late = await world.stripe.v1.payment_intents.list_async({"created": {"gt": int(START) + 60}})
    assert [each.id for each in late.data] == [made[2].id]
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.payment_intents.list_async({"customer": "cus_1"})


async def test_an_intent_is_refunded_by_its_own_id(world: World) -> None:
    """The refund names both, and refunds are listed by either."""
    paid = await world.intent(confirm=True, payment_method="pm_card_visa")
    given = await world.stripe.v1.refunds.create_async({"payment_intent": paid.id})
    assert (given.amount, given.charge, given.payment_intent) == (1999, paid.latest_charge, paid.id)
    listed = await world.stripe.v1.refunds.list_async({"payment_intent": paid.id})
    assert [each.id for each in listed.data] == [given.id]
    other = await world.intent(confirm=True, payment_method="pm_card_visa")
    assert (await world.stripe.v1.refunds.list_async({"payment_intent": other.id})).data == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.stripe.v1.refunds.create_async({"payment_intent": (await world.intent()).id})
    assert refused.value.param == "payment_intent"


async def test_a_disputed_intent_has_a_dispute(world: World) -> None:
    """It is listed by intent and by charge; the charge is disputed and can't be refunded, except for an inquiry."""
    paid = await world.intent(confirm=True, payment_method="pm_card_createDisputeProductNotReceived")
    listed = await world.stripe.v1.disputes.list_async({"payment_intent": paid.id, "expand": ["data.charge"]})
    (dispute,) = listed.data
    assert (dispute.reason, dispute.status, dispute.amount) == ("product_not_received", "needs_response", 1999)
    assert isinstance(dispute.charge, stripe.Charge)
    assert dispute.charge.disputed is True
    assert (await world.stripe.v1.disputes.retrieve_async(dispute.id)).charge == paid.latest_charge
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.stripe.v1.refunds.create_async({"payment_intent": paid.id})
    assert refused.value.code == "charge_disputed"
    asked = await world.intent(confirm=True, payment_method="pm_card_createDisputeInquiry")
    assert (await world.stripe.v1.refunds.create_async({"payment_intent": asked.id})).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        await world.stripe.v1.disputes.retrieve_async("du_none")
