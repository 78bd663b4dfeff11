"""Stripe always refuses the requests of some orders, and answers all others (F31), which are paid at the usual rate."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.bus import Bus
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually
from tests.faults.steps import dependency, document, pay, placed

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.long]

CREATE, CONFIRM, CANCEL = "payment_intents.create", "payment_intents.confirm", "payment_intents.cancel"
GOOD = 60
RATE_PER_S = 25  # of one endpoint, as every account of Stripe's has it
ALARMED_WITHIN_S = 15.0  # a refusal for the rate is logged after the third one


async def pay_beside_refused(
    stack: ServiceStack, bus: Bus, process: ServiceProcess, good: int, bad: int, fault: str, at: str
) -> float:
    """Pay `good` orders beside `bad` ones that Stripe always refuses; returns the seconds until the good ones are
    paid.
    """
    orders = [stack.new_order() for _ in range(good + bad)]
    refused, paying = orders[:bad], orders[bad:]
    for order in refused:
        stack.stripe.fault(fault, at, None, about=order)
    await asyncio.gather(*(bus.create(order) for order in orders))
    await document(stack, orders[-1])
    mixed = [each for pair in zip(refused, paying, strict=False) for each in pair] + paying[bad:]
    began = time.monotonic()
    async with Client(process.port) as client:
        await asyncio.gather(*(client.pay(order) for order in mixed))

        async def all_paid() -> bool:
            states = stack.orders.find({"_id": {"$in": paying}})
            return [each["payment"]["attempts"][-1]["state"] for each in states].count("paid") == good

        await eventually(all_paid, "all others are paid", deadline_s=60.0)
    took_s = time.monotonic() - began
    assert [order for order in refused if stack.stripe.charges(order)] == []
    return took_s


@pytest.mark.parametrize(
    ("fault", "bad", "at"),
    [
        ("forbidden", 1, CONFIRM),
        ("rate_limit", 1, CONFIRM),
        ("unauthorized", 1, CREATE),
        ("forbidden", 10, CREATE),
        ("rate_limit", 10, CREATE),
        ("forbidden", GOOD, CONFIRM),
        ("rate_limit", GOOD, CONFIRM),
    ],
)
async def test_the_others_pay_at_their_rate(stack: ServiceStack, bus: Bus, fault: str, bad: int, at: str) -> None:
    """F31: one refused order, ten, or as many as there are others: they are tried again slowly, each with its alarm."""
    stack.stripe.settings(rate_per_s=RATE_PER_S)
    process = await stack.start(CHARGE_WAIT_S="1")
    took_s = await pay_beside_refused(stack, bus, process, GOOD, bad, fault, at)
    print(f"{GOOD} paid beside {bad} that get {fault} at {at}: {took_s:.1f} s")
    # Each refused order takes two turns and a few more while the others are paid.
    assert took_s <= 4.0 + (GOOD + 4 * bad) / RATE_PER_S * 1.3
    assert (process.readyz() or (0, {}))[1]["status"] == "ready"
    assert process.logged("dependency_lost", dependency="stripe") == []

    async def alarmed() -> bool:
        return len({line["order_id"] for line in process.logged("request_alarm", alarm=True)}) == bad

    await eventually(alarmed, "each refused order is named", deadline_s=ALARMED_WITHIN_S)
    assert len(process.logged("request_alarm")) == bad


@pytest.mark.parametrize("fault", ["unauthorized", "forbidden", "rate_limit"])
async def test_a_refusal_of_one_call_alone_is_no_outage(stack: ServiceStack, bus: Bus, fault: str) -> None:
    """F36: the next call is answered: the charge is made, and `/readyz` stays ready."""
    process = await stack.start()
    for at in (CREATE, CONFIRM):
        stack.stripe.fault(fault, at, 1)
        assert (await pay(process, await placed(stack, bus))).status == 201
    assert process.logged("dependency_lost", dependency="stripe") == []


async def test_an_order_that_is_never_answered_holds_up_no_other(stack: ServiceStack, bus: Bus) -> None:
    """F31: each of its calls takes 8 s on its own connection; Stripe does not count as away."""
    process = await stack.start(CHARGE_WAIT_S="1")
    lost = await placed(stack, bus)
    stack.stripe.fault("hang", CONFIRM, None, about=lost)
    async with Client(process.port) as client:
        await client.pay(lost)
        for _ in range(12):
            answer = await client.pay(await placed(stack, bus))
            assert (answer.status, answer.took_s < 1.0) == (201, True)
            await asyncio.sleep(1.0)  # over more than one of its timeouts
    assert process.logged("dependency_lost", dependency="stripe") == []
    assert process.logged("charge_unclear", order_id=lost)


async def test_an_order_that_gets_500_always_is_no_outage(stack: ServiceStack, bus: Bus) -> None:
    """F31: with no other order the health check shows that Stripe is well."""
    process = await stack.start(CHARGE_WAIT_S="1")
    broken = await placed(stack, bus)
    stack.stripe.fault("html", CONFIRM, None, about=broken)
    async with Client(process.port) as client:
        await client.pay(broken)
        await asyncio.sleep(16.0)  # long enough for a silence of ten seconds to be noticed
        assert (process.readyz() or (0, {}))[1]["status"] == "ready"
        answer = await client.pay(await placed(stack, bus))
        assert (answer.status, answer.took_s < 1.5) == (201, True)
    assert process.logged("dependency_lost", dependency="stripe") == []


@pytest.mark.parametrize("at", ["refunds.create", CANCEL])
@pytest.mark.parametrize("fault", ["forbidden", "rate_limit"])
async def test_a_refund_or_cancel_that_is_refused_always_holds_up_no_other(
    stack: ServiceStack, bus: Bus, at: str, fault: str
) -> None:
    """F31: another order is refunded at once."""
    process = await stack.start()
    bad, good = await placed(stack, bus), await placed(stack, bus)
    assert {(await pay(process, order)).status for order in (bad, good)} == {201}
    charge = stack.stripe.charges(bad)[0]["id"]
    if at == CANCEL:
        bad = await placed(stack, bus)
        stack.stripe.fault("hang", CONFIRM, None, about=bad)
    stack.stripe.fault(fault, at, None, about=charge if at == "refunds.create" else bad)
    await bus.cancel(bad)
    await asyncio.sleep(0.5)  # it has been refused by now
    await bus.cancel(good)
    await document(stack, good, "refunded")
    await dependency(process, "stripe", up=True)
