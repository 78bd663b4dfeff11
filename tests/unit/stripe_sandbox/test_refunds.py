"""The sandbox's refunds, through the real stripe library."""

from typing import Any

import pytest
import stripe

from tests.unit.stripe_sandbox.conftest import World, charge_of


async def refund(world: World, charge: str, key: str | None = None, **params: Any) -> stripe.Refund:
    asked: Any = {"charge": charge, **params}
    return await world.stripe.v1.refunds.create_async(asked, {"idempotency_key": key} if key else {})


async def test_a_refund_gives_the_whole_charge_back(world: World) -> None:
    """Without an amount the whole charge is refunded, and the charge shows it."""
    charge = await world.charge()
    given = await refund(world, charge.id, metadata={"orderId": "o1"}, reason="requested_by_customer")
    assert (given.status, given.amount, given.charge, given.currency) == ("succeeded", 1999, charge.id, "usd")
    assert given.metadata is not None
    assert given.metadata.to_dict() == {"orderId": "o1"}
    after = await world.stripe.v1.charges.retrieve_async(charge.id, {"expand": ["refunds"]})
    assert (after.refunded, after.amount_refunded, after.status) == (True, 1999, "succeeded")
    assert after.refunds is not None
    assert [one.id for one in after.refunds.data] == [given.id]


async def test_a_second_refund_is_already_refunded(world: World) -> None:
    """F23: another key can't give the money back twice."""
    charge = await world.charge()
    await refund(world, charge.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(world, charge.id)
    assert (refused.value.http_status, refused.value.code) == (400, "charge_already_refunded")
    assert len((await world.audit())["refunds"]) == 1


async def test_parts_can_be_given_back_until_nothing_is_left(world: World) -> None:
    """Partial refunds add up, and none goes beyond the charge."""
    charge = await world.charge()
    await refund(world, charge.id, amount=999)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(world, charge.id, amount=1001)
    assert refused.value.param == "amount"
    rest = await refund(world, charge.id)
    assert rest.amount == 1000
    assert (await world.stripe.v1.charges.retrieve_async(charge.id)).refunded is True


async def test_refunds_are_listed_by_charge_newest_first(world: World) -> None:
    """`charge` filters; `expand` of a list of charges shows them too."""
    charge, other = await world.charge(transfer_group="o1"), await world.charge()
    first, second = await refund(world, charge.id, amount=100), await refund(world, charge.id, amount=200)
    await refund(world, other.id)
    page = await world.stripe.v1.refunds.list_async({"charge": charge.id})
    assert [one.id for one in page.data] == [second.id, first.id]
    charges = await world.stripe.v1.charges.list_async({"transfer_group": "o1", "expand": ["data.refunds"]})
    assert charges.data[0].refunds is not None
    assert [one.id for one in charges.data[0].refunds.data] == [second.id, first.id]
    assert (await world.stripe.v1.refunds.retrieve_async(first.id)).amount == 100


@pytest.mark.parametrize("charge", ["ch_none", "failed"])
async def test_an_unknown_charge_is_not_refunded(world: World, charge: str) -> None:
    """An unknown charge, or one that failed, is a 400."""
    if charge == "failed":
        with pytest.raises(stripe.CardError) as declined:
            await world.charge(source="tok_chargeDeclined")
        charge = charge_of(declined.value)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(world, charge)
    assert (refused.value.http_status, refused.value.param) == (400, "charge")


async def test_a_disputed_charge_is_not_refunded(world: World) -> None:
    """F44: the bank has the money already."""
    charge = await world.charge(source="tok_createDispute")
    assert charge.disputed is True
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refund(world, charge.id)
    assert refused.value.code == "charge_disputed"


async def test_a_pending_refund_succeeds_later(world: World) -> None:
    """F44: `tok_pendingRefund` begins as pending."""
    charge = await world.charge(source="tok_pendingRefund")
    given = await refund(world, charge.id)
    assert given.status == "pending"
    world.clock.now += 2
    assert (await world.stripe.v1.refunds.retrieve_async(given.id)).status == "succeeded"


async def test_a_refund_can_fail_after_it_succeeded(world: World) -> None:
    """F44: a succeeded refund with `tok_refundFail` fails later; the charge has its money again and can be refunded
    again.
    """
    charge = await world.charge(source="tok_refundFail")
    given = await refund(world, charge.id)
    assert given.status == "succeeded"
    await world.control("clock", skip_s=3)
    failed = await world.stripe.v1.refunds.retrieve_async(given.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    after = await world.stripe.v1.charges.retrieve_async(charge.id)
    assert (after.refunded, after.amount_refunded) == (False, 0)
    assert (await refund(world, charge.id)).id != given.id


async def test_a_repeated_refund_is_one_refund(world: World) -> None:
    """F23: one key, one refund."""
    charge = await world.charge()
    assert (await refund(world, charge.id, key="r1")).id == (await refund(world, charge.id, key="r1")).id
    with pytest.raises(stripe.InvalidRequestError):
        await refund(world, charge.id, reason="whim")


async def test_a_charge_and_a_refund_can_be_labelled_later(world: World) -> None:
    """Texts and metadata are changed by name, amounts are not; both changes record events."""
    charge = await world.charge(metadata={"orderId": "o1"}, description="two seats")
    changed = await world.stripe.v1.charges.update_async(
        charge.id, {"metadata": {"row": "7"}, "receipt_email": "a@example.com", "transfer_group": "o1"}
    )
    assert changed.metadata.to_dict() == {"orderId": "o1", "row": "7"}
    assert (changed.description, changed.receipt_email, changed.amount) == ("two seats", "a@example.com", 1999)
    listed = await world.stripe.v1.charges.list_async({"transfer_group": "o1"})
    assert [each.id for each in listed.data] == [charge.id]
    given = await refund(world, charge.id, metadata={"by": "hand"})
    labelled = await world.stripe.v1.refunds.update_async(given.id, {"metadata": {"by": ""}})
    assert labelled.metadata is not None
    assert labelled.metadata.to_dict() == {}
    for params in ({"amount": "1"}, {"colour": "red"}):
        assert (await world.post(f"/v1/charges/{charge.id}", **params))[0] == 400
    for path in ("charges/ch_none", "refunds/re_none"):
        assert (await world.post(f"/v1/{path}", description="x"))[0] in (400, 404)
    assert (await world.stripe.v1.events.list_async({"type": "charge.updated"})).data[0].data.object["id"] == charge.id


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({}, "parameter_missing", "charge"),
        ({"payment_intent": "pi_none"}, "resource_missing", "payment_intent"),
        ({"charge": "ch_none"}, "resource_missing", "charge"),
        ({"payment_intent": "<intent>", "charge": "<other>"}, None, "charge"),
        ({"charge": "<other>", "amount": "2000"}, None, "amount"),
    ],
)
async def test_a_bad_refund_is_refused_by_name(
    world: World, params: dict[str, str], code: str | None, param: str
) -> None:
    """A charge that is unknown, is not the intent's, or is too small for the amount."""
    paid, other = await world.intent(confirm=True, payment_method="pm_card_visa"), await world.charge()
    known = {"<intent>": paid.id, "<other>": other.id}
    status, body, _ = await world.post("/v1/refunds", **{name: known.get(v, v) for name, v in params.items()})
    assert (status, body["error"].get("code"), body["error"]["param"]) == (400, code, param)
    assert (await world.audit())["refunds"] == []


async def test_a_pending_charge_is_not_refunded(world: World) -> None:
    """Its money is not there yet."""
    await world.control("faults", fault="processing", endpoint="payment_intents.create", delay_ms=1000)
    waiting = await world.intent(confirm=True, payment_method="pm_card_visa")
    with pytest.raises(stripe.InvalidRequestError, match="still pending"):
        await refund(world, str(waiting.latest_charge))


@pytest.mark.parametrize("path", ["charges", "refunds"])
async def test_a_list_of_an_unknown_intent_is_refused(world: World, path: str) -> None:
    """As is a list of an unknown charge."""
    for params in ({"payment_intent": "pi_none"}, {"charge": "ch_none"}):
        async with world.raw.get(f"/v1/{path}", params=params) as response:
            assert response.status == 400
            assert (await response.json())["error"]["param"] == next(iter(params))


async def test_the_control_route_makes_the_bank_return_a_refund(world: World) -> None:
    """F44: at any time, days after it succeeded, and only once."""
    charge = await world.charge()
    given = await refund(world, charge.id)
    await world.control("clock", skip_s=20 * 86_400)
    assert await world.control(f"refunds/{given.id}/fail") == {"id": given.id, "status": "failed"}
    failed = await world.stripe.v1.refunds.retrieve_async(given.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert (await world.stripe.v1.charges.retrieve_async(charge.id)).refunded is False
    for refund_id in (given.id, "re_none"):
        async with world.raw.post(f"/_sandbox/refunds/{refund_id}/fail") as response:
            assert response.status == 409
    assert (await refund(world, charge.id)).status == "succeeded"
