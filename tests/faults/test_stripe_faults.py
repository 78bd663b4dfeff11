"""Stripe breaks one call in one way, or all of them, by its row in faults.md."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.bus import PAID, REFUNDED, Bus, in_seconds
from tests.e2e.client import Client
from tests.e2e.stack import House
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


async def test_a_charge_with_a_lost_or_broken_answer_ends_as_one_charge(house: House, bus: Bus) -> None:
    """F09, F10, F11, F12: whatever became of Stripe's answer, the client must hear the truth and pay once."""
    process = await house.start()
    for fault in ("drop_after", "drop_before", "cut_body", "html_after", "error_after", "lock_timeout"):
        order = await placed(house, bus)
        house.stripe.fault(fault)
        answer = await pay(process, order)
        assert (answer.status, answer.body.get("status")) == (201, "paid"), fault
        assert answer.body["stripeId"] == one_charge(house, order)["id"], fault
        await bus.told(order, PAID)


async def test_a_stored_error_of_a_confirm_is_fenced_by_a_cancel(house: House, bus: Bus) -> None:
    """F12: the intent is cancelled, so that nothing can land; the order is payable at once by the next one."""
    process = await house.start()
    order = await placed(house, bus)
    house.stripe.fault("error_before")
    first = await pay(process, order)
    assert (first.status, house.stripe.charges(order)) == (402, [])
    assert (await pay(process, order, "tok_mastercard")).status == 201
    one_charge(house, order)


async def test_a_stored_error_of_a_create_takes_the_next_number(house: House, bus: Bus) -> None:
    """F12: what the first create may have made was never confirmed."""
    process = await house.start()
    order = await placed(house, bus)
    house.stripe.fault("error_before", "payment_intents.create")
    assert (await pay(process, order)).status == 201
    assert (await document(house, order, "paid"))["payment"]["intent"]["number"] == 2
    one_charge(house, order)


async def test_a_cancel_while_stripe_charges_gives_the_money_back_once(house: House, bus: Bus) -> None:
    """F20, F23, F24: charged under the cancel's hands: one refund in full, whatever becomes of the refund's answer."""
    process = await house.start()
    for fault in (None, "drop_after", "drop_before", "error_after", "error_before", "cut_body"):
        order = await placed(house, bus)
        house.stripe.fault("delay", delay_ms=300)
        if fault is not None:
            house.stripe.fault(fault, "refunds.create")
        request = asked(process, order)
        await document(house, order, "confirming")
        await bus.cancel(order)
        assert (await request).status == 409
        await document(house, order, "refunded")
        charge = one_charge(house, order)
        [refund] = refunds_of(house, charge)
        [told] = await bus.told(order, REFUNDED)
        assert (charge["refunded"], refund["amount"]) == (True, charge["amount"]), fault
        assert told["refundId"] == refund["id"]


async def test_a_refused_stripe_key_stops_charging_and_marks_nothing_failed(house: House, bus: Bus) -> None:
    """F36: 401 from Stripe: `/readyz` says so, no order is marked failed, one that expires meanwhile is never sent."""
    process = await house.start(CHARGE_WAIT_S="1")
    order, short = await placed(house, bus), await placed(house, bus, expiresAt=in_seconds(3.0))
    house.stripe.fault("unauthorized", "*", None)
    first, second = await asyncio.gather(pay(process, order), pay(process, short))
    assert {first.status, second.status} <= {202, 503}
    await dependency(process, "stripe", up=False)
    status, shown = process.readyz() or (0, {})
    assert (status, shown["status"]) == (503, "unavailable")
    refused = await pay(process, await placed(house, bus))
    assert (refused.status, NOTHING_CHARGED in refused.message) == (503, True)

    async def expired() -> bool:
        return (await pay(process, short)).status in (409, 503) and time.monotonic() > soon

    soon = time.monotonic() + 3.0
    await eventually(expired, "the short order has expired")
    house.stripe.well()
    back = time.monotonic()
    await dependency(process, "stripe", up=True)
    await document(house, order, "paid")
    print(f"Stripe takes our key again: charged after {time.monotonic() - back:.2f} s")
    assert house.stripe.charges(short) == []
    assert (await pay(process, short)).status == 409


async def test_a_stripe_that_is_away_makes_clients_wait_and_nothing_fails(house: House, bus: Bus) -> None:
    """F10: nothing listens where Stripe was: 202 or 503, never a 500, and a charge within 10 s of its return."""
    async with Proxy(house.stripe.port) as way:
        process = await house.start(STRIPE_API_BASE=f"http://127.0.0.1:{way.port}", CHARGE_WAIT_S="1")
        orders = [await placed(house, bus) for _ in range(8)]
        way.stop_listening()
        way.cut()
        answers = await asyncio.gather(*(pay(process, order) for order in orders))
        assert {answer.status for answer in answers} == {202}
        await way.start()
        back = time.monotonic()
        for order in orders:
            await document(house, order, "paid")
        print(f"Stripe back: 8 waiting charges done after {time.monotonic() - back:.2f} s")
        assert time.monotonic() - back < WELL_WITHIN_S
        process.kill()
    for order in orders:
        one_charge(house, order)


async def test_a_crowd_beyond_stripes_pace_is_told_the_truth_and_all_of_it_pays(house: House, bus: Bus) -> None:
    """F14, F39: nobody may see an error because others paid in the same second, and memory must not swell."""
    crowd = 150
    process = await house.start(CHARGE_WAIT_S="1")
    orders = [house.new_order() for _ in range(crowd)]
    await asyncio.gather(*(bus.create(order) for order in orders))
    await eventually(lambda: _known(house, crowd), "all orders are known")
    house.stripe.settings(rate_per_s=40)
    before_kb = process.memory_kb()
    async with Client(process.port) as client:
        answers = await asyncio.gather(*(client.pay(order) for order in orders))
        assert {answer.status for answer in answers} <= {201, 202}
        early = [answer for answer in answers if answer.status == 202]
        assert early
        assert max(int(answer.headers["Retry-After"]) for answer in early) <= crowd / 20
        assert (await client.send("GET", "/healthz")).took_s < 0.5
    await eventually(lambda: _all_paid(house, orders), "all orders are paid", deadline_s=20.0)
    print(f"{crowd} at once: {before_kb} kB before, {process.memory_kb()} kB after")
    assert process.memory_kb() - before_kb < 30_000
    assert len([each for each in house.stripe.books()["charges"] if each["transfer_group"] in set(orders)]) == crowd


async def _known(house: House, count: int) -> bool:
    return house.orders.count_documents({"userId": "u1"}) >= count


async def _all_paid(house: House, orders: list[str]) -> bool:
    paid = house.orders.find({"payment.kept": 1})
    return {each["_id"] for each in paid} >= set(orders)
