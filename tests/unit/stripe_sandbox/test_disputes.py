"""The sandbox's disputes, through the real stripe library."""

from typing import Any

import pytest
import stripe

from tests.unit.stripe_sandbox.conftest import World, charge_of


async def disputed(world: World, source: str = "tok_createDispute") -> tuple[str, stripe.Dispute]:
    """Returns a charge and its dispute."""
    charge = await world.charge(source=source)
    listed = await world.stripe.v1.disputes.list_async({"charge": charge.id})
    return charge.id, listed.data[0]


async def refund(world: World, charge_id: str) -> str:
    """Returns the status of a refund, or the error code."""
    try:
        return str((await world.stripe.v1.refunds.create_async({"charge": charge_id})).status)
    except stripe.InvalidRequestError as refused:
        return str(refused.code)


async def kinds(world: World) -> list[str]:
    """Returns the types of all events about disputes, oldest first."""
    listed = await world.stripe.v1.events.list_async({"limit": 100})
    return [event.type for event in reversed(listed.data) if event.type.startswith("charge.dispute")]


@pytest.mark.parametrize(
    ("text", "status", "refunded"),
    [
        ("winning_evidence", "won", "succeeded"),
        ("losing_evidence", "lost", "charge_disputed"),
        ("something else", "under_review", "charge_disputed"),
    ],
)
async def test_evidence_decides_a_dispute(world: World, text: str, status: str, refunded: str) -> None:
    """By the texts of Stripe's testing page. A charge can be refunded once its dispute was won, and never once lost."""
    charge_id, dispute = await disputed(world)
    assert await refund(world, charge_id) == "charge_disputed"
    asked: Any = {"evidence": {"uncategorized_text": text}, "metadata": {"case": "7"}}
    after = await world.stripe.v1.disputes.update_async(dispute.id, asked)
    assert (after.status, after.is_charge_refundable) == (status, status == "won")
    assert after.metadata.to_dict() == {"case": "7"}
    assert (await world.stripe.v1.charges.retrieve_async(charge_id)).disputed is True
    assert await refund(world, charge_id) == refunded


async def test_evidence_that_is_not_submitted_decides_nothing(world: World) -> None:
    """The evidence is stored."""
    _, dispute = await disputed(world)
    asked: Any = {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": False}
    after = await world.stripe.v1.disputes.update_async(dispute.id, asked)
    assert (after.status, after.evidence_details.has_evidence) == ("needs_response", True)
    labelled = await world.stripe.v1.disputes.update_async(dispute.id, {"metadata": {"case": "7"}})
    assert labelled.status == "needs_response"


async def test_dispute_that_is_accepted_is_lost(world: World) -> None:
    """`close` works once, and the dispute accepts no evidence afterwards."""
    charge_id, dispute = await disputed(world)
    assert (await world.stripe.v1.disputes.close_async(dispute.id)).status == "lost"
    assert await refund(world, charge_id) == "charge_disputed"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await world.stripe.v1.disputes.close_async(dispute.id)
    late: Any = {"evidence": {"uncategorized_text": "winning_evidence"}}
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await world.stripe.v1.disputes.update_async(dispute.id, late)
    assert await kinds(world) == ["charge.dispute.created", "charge.dispute.closed"]


async def test_inquiry_can_be_refunded_until_it_becomes_a_chargeback(world: World) -> None:
    """A dispute in `warning_…` withdraws no money."""
    charge_id, inquiry = await disputed(world, "tok_createDisputeInquiry")
    assert (inquiry.status, inquiry.is_charge_refundable) == ("warning_needs_response", True)
    answered: Any = {"evidence": {"uncategorized_text": "as ordered"}}
    assert (await world.stripe.v1.disputes.update_async(inquiry.id, answered)).status == "warning_under_review"
    escalated: Any = {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
    assert (await world.stripe.v1.disputes.update_async(inquiry.id, escalated)).status == "needs_response"
    assert await refund(world, charge_id) == "charge_disputed"
    other, second = await disputed(world, "tok_createDisputeInquiry")
    won: Any = {"evidence": {"uncategorized_text": "winning_evidence"}}
    assert (await world.stripe.v1.disputes.update_async(second.id, won)).status == "warning_closed"
    assert await refund(world, other) == "succeeded"


async def test_the_control_route_makes_the_bank_decide_also_anew(world: World) -> None:
    """Over the control route a charge can be disputed at any time, lost, and decided again for the merchant."""
    charge = await world.charge()
    opened = await world.control(f"charges/{charge.id}/dispute")
    assert opened["status"] == "needs_response"
    assert (await world.stripe.v1.charges.retrieve_async(charge.id)).disputed is True
    path = f"disputes/{opened['id']}"
    assert (await world.control(f"{path}/lose"))["status"] == "lost"
    assert await refund(world, charge.id) == "charge_disputed"
    assert (await world.control(f"{path}/win"))["status"] == "won"
    assert await refund(world, charge.id) == "succeeded"
    assert (await world.audit())["disputes"][0]["status"] == "won"
    assert await kinds(world) == [
        "charge.dispute.created",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]


@pytest.mark.parametrize("path", ["disputes/du_none/win", "disputes/du_none/lose", "charges/ch_none/dispute"])
async def test_control_of_what_is_not_there_is_refused(world: World, path: str) -> None:
    """The answer is 409, and nothing has changed."""
    async with world.raw.post(f"/_sandbox/{path}") as response:
        assert response.status == 409
    with pytest.raises(stripe.CardError) as declined:
        await world.charge(source="tok_chargeDeclined")
    async with world.raw.post(f"/_sandbox/charges/{charge_of(declined.value)}/dispute") as response:
        assert response.status == 409
