"""Faults of Stripe in one call or in all calls, by the rows of the fault table."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.bus import PAID, REFUNDED, Bus, in_seconds
from tests.e2e.client import Client
from tests.e2e.stack import ServiceStack
from tests.e2e.waiting import eventually
from tests.faults.laws import NOTHING_CHARGED
from tests.faults.steps import (
    WELL_WITHIN_S,
    asked,
    dependency,
    document,
    one_charge,
    pay,
    placed,
    refunds_of,
)
from tests.support.servers.proxy import Proxy

pytestmark = [pytest.mark.servers]


async def test_a_charge_with_a_lost_or_broken_answer_ends_as_one_charge(stack: ServiceStack, bus: Bus) -> None:
    """F09, F10, F11, F12: whatever happens to Stripe's answer, the client must get the true result and pay once."""
    process = await stack.start()
    for fault in ("drop_after", "drop_before", "cut_body", "html_after", "error_after", "lock_timeout"):
        order = await placed(stack, bus)
        stack.stripe.fault(fault)
        answer = await pay(process, order)
        assert (answer.status, answer.body.get("status")) == (201, "paid"), fault
        assert answer.body["stripeId"] == one_charge(stack, order)["id"], fault
        await bus.announced(order, PAID)


async def test_a_stored_error_of_a_confirm_is_fenced_by_a_cancel(stack: ServiceStack, bus: Bus) -> None:
    """F12: the intent is cancelled, so that no late confirm charges; the order is payable at once by the next
    intent.
    """
    process = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.fault("error_before")
    first = await pay(process, order)
    assert (first.status, stack.stripe.charges(order)) == (402, [])
    assert (await pay(process, order, "tok_mastercard")).status == 201
    one_charge(stack, order)


async def test_a_stored_error_of_a_create_takes_the_next_number(stack: ServiceStack, bus: Bus) -> None:
    """F12: an intent that the first create may have made was never confirmed."""
    process = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.fault("error_before", "payment_intents.create")
    assert (await pay(process, order)).status == 201
    assert (await document(stack, order, "paid"))["payment"]["intent"]["number"] == 2
    one_charge(stack, order)


async def test_a_cancel_while_stripe_charges_gives_the_money_back_once(stack: ServiceStack, bus: Bus) -> None:
    """F20, F23, F24: an order charged during its cancel gets one full refund, whatever happens to the refund's
    answer.
    """
    process = await stack.start()
    for fault in (None, "drop_after", "drop_before", "error_after", "error_before", "cut_body"):
        order = await placed(stack, bus)
        stack.stripe.fault("delay", delay_ms=300)
        if fault is not None:
            stack.stripe.fault(fault, "refunds.create")
        request = asked(process, order)
        await document(stack, order, "confirming")
        await bus.cancel(order)
        assert (await request).status == 409
        await document(stack, order, "refunded")
        charge = one_charge(stack, order)
        [refund] = refunds_of(stack, charge)
        [named] = await bus.announced(order, REFUNDED)
        assert (charge["refunded"], refund["amount"]) == (True, charge["amount"]), fault
        assert named["refundId"] == refund["id"]


async def test_a_refused_stripe_key_stops_charging_and_marks_nothing_failed(stack: ServiceStack, bus: Bus) -> None:
    """F36: after a 401 from Stripe `/readyz` reports it, no order is marked failed, and an order that expires is never
    sent.
    """
    process = await stack.start(CHARGE_WAIT_S="1")
    order, short = await placed(stack, bus), await placed(stack, bus, expiresAt=in_seconds(3.0))
    stack.stripe.fault("unauthorized", "*", None)
    first, second = await asyncio.gather(pay(process, order), pay(process, short))
    assert {first.status, second.status} <= {202, 503}
    await dependency(process, "stripe", up=False)
    status, shown = process.readyz() or (0, {})
    assert (status, shown["status"]) == (503, "unavailable")
    refused = await pay(process, await placed(stack, bus))
    assert (refused.status, NOTHING_CHARGED in refused.message) == (503, True)

    async def expired() -> bool:
        return (await pay(process, short)).status in (409, 503) and time.monotonic() > soon

    soon = time.monotonic() + 3.0
    await eventually(expired, "the short order has expired")
    stack.stripe.well()
    back = time.monotonic()
    await dependency(process, "stripe", up=True)
    await document(stack, order, "paid")
    print(f"Stripe accepts the key again: charged after {time.monotonic() - back:.2f} s")
    assert stack.stripe.charges(short) == []
    assert (await pay(process, short)).status == 409


async def test_a_stripe_that_is_away_makes_clients_wait_and_nothing_fails(stack: ServiceStack, bus: Bus) -> None:
    """F10: while Stripe refuses connections the answers are 202 or 503, never 500, and charges are made within 10 s of
    its return.
    """
    async with Proxy(stack.stripe.port) as way:
        process = await stack.start(STRIPE_API_BASE=f"http://127.0.0.1:{way.port}", CHARGE_WAIT_S="1")
        orders = [await placed(stack, bus) for _ in range(8)]
        way.stop_listening()
        way.cut()
        answers = await asyncio.gather(*(pay(process, order) for order in orders))
        assert {answer.status for answer in answers} == {202}
        await way.start()
        back = time.monotonic()
        for order in orders:
            await document(stack, order, "paid")
        print(f"Stripe back: 8 waiting charges done after {time.monotonic() - back:.2f} s")
        assert time.monotonic() - back < WELL_WITHIN_S
        process.kill()
    for order in orders:
        one_charge(stack, order)


async def test_a_burst_beyond_stripes_rate_gets_true_answers_and_pays(stack: ServiceStack, bus: Bus) -> None:
    """F14, F39: no customer may get an error because others pay in the same second, and memory must not grow."""
    burst = 150
    process = await stack.start(CHARGE_WAIT_S="1")
    orders = [stack.new_order() for _ in range(burst)]
    await asyncio.gather(*(bus.create(order) for order in orders))
    await eventually(lambda: _known(stack, burst), "all orders are known")
    stack.stripe.settings(rate_per_s=40)
    before_kb = process.memory_kb()
    async with Client(process.port) as client:
        answers = await asyncio.gather(*(client.pay(order) for order in orders))
        assert {answer.status for answer in answers} <= {201, 202}
        early = [answer for answer in answers if answer.status == 202]
        assert early
        assert max(int(answer.headers["Retry-After"]) for answer in early) <= burst / 20
        assert (await client.send("GET", "/healthz")).took_s < 0.5
    await eventually(lambda: _all_paid(stack, orders), "all orders are paid", deadline_s=20.0)
    print(f"{burst} at once: {before_kb} kB before, {process.memory_kb()} kB after")
    assert process.memory_kb() - before_kb < 30_000
    assert len([each for each in stack.stripe.audit()["charges"] if each["transfer_group"] in set(orders)]) == burst


async def _known(stack: ServiceStack, count: int) -> bool:
    return stack.orders.count_documents({"userId": "u1"}) >= count


async def _all_paid(stack: ServiceStack, orders: list[str]) -> bool:
    paid = stack.orders.find({"payment.kept": 1})
    return {each["_id"] for each in paid} >= set(orders)
