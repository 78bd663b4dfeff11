"""Final states that change: a refund that fails after it succeeded, a dispute that the bank decides (F44, F49)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.bus import DISPUTED, PAID, REFUND_FAILED, REFUNDED, Bus
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually
from tests.faults.steps import document, one_charge, pay, placed, refunds_of

pytestmark = [pytest.mark.servers]


async def later(stack: ServiceStack, process: ServiceProcess, order: str) -> None:
    """Make an order's next step due, as an hour would. The process is restarted, and sweeps at once."""
    process.kill()
    found = stack.order(order)
    assert found is not None
    past = datetime.now(UTC) - timedelta(seconds=5)
    attempt = found["payment"]["attempts"][-1]
    if "recheck" in found:
        found["recheck"] = attempt["recheck"] = past
    if "task" in attempt:
        attempt["task"]["due"] = past
        found["due"] = past
    assert stack.orders.replace_one({"_id": order, "rev": found["rev"]}, found).modified_count == 1
    await asyncio.to_thread(process.start)


async def status(process: ServiceProcess, order: str) -> Any:
    async with Client(process.port) as client:
        return (await client.payment_of(order)).body["status"]


async def test_a_refund_that_fails_later_is_detected_published_and_made_again(stack: ServiceStack, bus: Bus) -> None:
    """F44: an order paid with `tok_refundFail` is cancelled and refunded; the refund fails, which is published. A
    refund by hand ends it.
    """
    process = await stack.start()
    order = await placed(stack, bus)
    assert (await pay(process, order, "tok_refundFail")).status == 201
    await bus.cancel(order)
    assert (await document(stack, order, "refunded"))["format"] == 3
    charge = one_charge(stack, order)
    [first] = refunds_of(stack, charge)
    await bus.announced(order, PAID, REFUNDED)

    async def has_failed() -> bool:
        return bool(refunds_of(stack, charge)[0]["status"] == "failed")

    await eventually(has_failed, "the refund has failed")
    assert await status(process, order) == "refunded", "the failure is not detected yet"
    await later(stack, process, order)
    failed = (await bus.announced(order, PAID, REFUNDED, REFUND_FAILED))[-1]
    assert (failed["stripeId"], failed["refundId"]) == (charge["id"], first["id"])
    assert (await document(stack, order, "blocked"))["payment"]["attempts"][0]["refund"]["undone"] == 1
    assert await status(process, order) == "refunding"
    assert process.logged("refund_failed", order_id=order, alarm=True)
    stack.stripe.ask("POST", "/v1/refunds", charge=charge["id"])
    await later(stack, process, order)
    again = (await bus.announced(order, PAID, REFUNDED, REFUND_FAILED, REFUNDED))[-1]
    assert again["refundId"] not in (first["id"], None)
    ids = [event.message_id for event in await bus.events_of(order)]
    assert len(set(ids)) == 4, "the stream drops none of the events"


async def test_a_lost_dispute_ends_the_refund_and_its_alarm(stack: ServiceStack, bus: Bus) -> None:
    """F44: while it is open the refund waits; once lost, the bank has returned the money, and no refund is tried any
    more.
    """
    process = await stack.start()
    order = await placed(stack, bus)
    assert (await pay(process, order)).status == 201
    charge = one_charge(stack, order)
    dispute = stack.stripe.dispute(charge["id"])
    await bus.cancel(order)
    await document(stack, order, "blocked")
    assert process.logged("refund_blocked", order_id=order, alarm=True)
    stack.stripe.decide(dispute, won=False)
    await later(stack, process, order)
    await document(stack, order, "charged back")
    lost = (await bus.announced(order, PAID, DISPUTED))[-1]
    assert (lost["stripeId"], lost["disputeId"], lost["status"]) == (charge["id"], dispute, "lost")
    assert await status(process, order) == "refunded"
    assert refunds_of(stack, charge) == []
    assert (stack.order(order) or {}).get("due") is None


async def test_a_won_dispute_lets_the_refund_go_on(stack: ServiceStack, bus: Bus) -> None:
    """L3: the order is cancelled, and the merchant has the money again: it is refunded."""
    process = await stack.start()
    order = await placed(stack, bus)
    assert (await pay(process, order, "tok_createDispute")).status == 201
    charge = one_charge(stack, order)
    await bus.cancel(order)
    await document(stack, order, "blocked")
    [dispute] = stack.stripe.ask("GET", f"/v1/disputes?charge={charge['id']}")["data"]
    stack.stripe.decide(dispute["id"], won=True)
    await later(stack, process, order)
    await document(stack, order, "refunded")
    await bus.announced(order, PAID, REFUNDED)
    [refund] = refunds_of(stack, charge)
    assert (refund["status"], refund["amount"]) == ("succeeded", 1999)


@pytest.mark.parametrize("won", [False, True])
async def test_a_dispute_that_is_decided_while_the_outcome_is_unknown(stack: ServiceStack, bus: Bus, won: bool) -> None:
    """F44, F49: kill -9 while Stripe charges, then a dispute, its end, and a restart. A lost one is never published as
    paid.
    """
    process = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.fault("hang_after")
    request = asyncio.create_task(pay(process, order))

    async def charged() -> bool:
        return len(stack.stripe.charges(order)) == 1

    await eventually(charged, "Stripe has charged")
    process.kill()
    await asyncio.gather(request, return_exceptions=True)
    stack.stripe.decide(stack.stripe.dispute(one_charge(stack, order)["id"]), won=won)
    stack.stripe.well()
    await asyncio.to_thread(process.start)
    await document(stack, order, "paid" if won else "charged back")
    await bus.announced(order, PAID if won else DISPUTED)
    assert await status(process, order) == ("paid" if won else "refunded")
    if not won:
        await bus.cancel(order)
        assert (await pay(process, order, "tok_mastercard")).status == 409
        await bus.announced(order, DISPUTED)


async def test_a_charge_refunded_in_part_while_its_outcome_was_unknown_is_paid_and_refunded_whole(
    stack: ServiceStack, bus: Bus
) -> None:
    """F49: after kill -9 while Stripe charges, a refund of 5.00 by hand, and a restart it is paid. A cancel refunds the
    rest.
    """
    process = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.fault("hang_after")
    request = asyncio.create_task(pay(process, order))

    async def charged() -> bool:
        return len(stack.stripe.charges(order)) == 1

    await eventually(charged, "Stripe has charged")
    process.kill()
    await asyncio.gather(request, return_exceptions=True)
    charge = one_charge(stack, order)
    stack.stripe.ask("POST", "/v1/refunds", charge=charge["id"], amount="500")
    stack.stripe.well()
    await asyncio.to_thread(process.start)
    paid = await document(stack, order, "paid")
    assert paid["payment"]["attempts"][0]["amountRefunded"] == 500
    assert process.logged("charge_finished", order_id=order, outcome="paid", amount_refunded=500)
    await bus.announced(order, PAID)
    await bus.cancel(order)
    await document(stack, order, "refunded")
    assert sorted(refund["amount"] for refund in refunds_of(stack, charge)) == [500, 1499]
    assert one_charge(stack, order)["refunded"] is True
