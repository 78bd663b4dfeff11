"""A process is killed, stopped or paused at a chosen instant, by the rows of the fault table."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.bus import PAID, Bus
from tests.e2e.stack import ServiceStack
from tests.e2e.waiting import eventually
from tests.faults.laws import NOTHING_CHARGED
from tests.faults.steps import (
    RESUMED_WITHIN_S,
    asked,
    document,
    end_lease,
    given_up,
    one_charge,
    pay,
    placed,
    restarted,
)
from tests.support.servers.proxy import Proxy

pytestmark = [pytest.mark.servers]


async def test_two_processes_asked_at_once_charge_once(stack: ServiceStack, bus: Bus) -> None:
    """F02: the same request to two processes must make one charge, and both answers must name it."""
    first, second = stack.service(), stack.service()
    await asyncio.gather(*(asyncio.to_thread(each.start) for each in (first, second)))
    orders = [await placed(stack, bus) for _ in range(5)]
    stack.stripe.fault("delay", times=5, delay_ms=300)
    answers = await asyncio.gather(*(pay(each, order) for order in orders for each in (first, second)))
    assert {answer.status for answer in answers} <= {200, 201}
    for order in orders:
        named = {answer.body["stripeId"] for answer in answers if answer.body["orderId"] == order}
        assert named == {one_charge(stack, order)["id"]}
        await bus.announced(order, PAID)


async def test_a_crash_after_the_intent_is_resumed_with_the_same_key(stack: ServiceStack, bus: Bus) -> None:
    """F04: the attempt is committed and Stripe was not reached: the next start must charge once."""
    async with Proxy(stack.stripe.port) as way:
        process = await stack.start(STRIPE_API_BASE=f"http://127.0.0.1:{way.port}")
        order = await placed(stack, bus)
        way.stop_listening()
        way.cut()
        request = asked(process, order)
        intent = await document(stack, order, "confirming")
        process.kill()
        await given_up(request)
        await way.start()
        ready = await restarted(process)
        done = await document(stack, order, "paid")
        assert time.monotonic() - ready < RESUMED_WITHIN_S
    assert done["payment"]["intent"]["key"] == intent["payment"]["intent"]["key"]
    assert stack.stripe.audit()["keys"]["parameter_sets"] == {}
    [named] = await bus.announced(order, PAID)
    assert named["stripeId"] == one_charge(stack, order)["id"]


@pytest.mark.parametrize("fault", ["hang_after", "delay"])
async def test_a_crash_while_stripe_charges_is_found_and_not_repeated(
    fault: str, stack: ServiceStack, bus: Bus
) -> None:
    """F05, F13, F33: charged, or still charging (409 for the key) when the process died: one charge in the end."""
    process = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.fault(fault, delay_ms=1_500 if fault == "delay" else 0)
    request = asked(process, order)
    await document(stack, order, "confirming")
    if fault == "hang_after":
        await eventually(lambda: _charged(stack, order), "Stripe has charged")
    else:
        await eventually(lambda: _fault_used(stack), "Stripe is charging")
    process.kill()
    await given_up(request)
    ready = await restarted(process)
    await document(stack, order, "paid")
    took_s = time.monotonic() - ready
    print(f"half-done charge finished {took_s:.2f} s after readiness")
    assert took_s < RESUMED_WITHIN_S
    assert (await pay(process, order)).body["stripeId"] == one_charge(stack, order)["id"]


async def _charged(stack: ServiceStack, order: str) -> bool:
    return bool(stack.stripe.charges(order))


async def _fault_used(stack: ServiceStack) -> bool:
    return not stack.stripe.faults()


async def test_a_charge_while_nats_was_away_is_announced_after_a_crash(stack: ServiceStack, bus: Bus) -> None:
    """F06: a PaymentCreated that was written and not published must be published by the next process."""
    async with Proxy(stack.servers.nats.port) as way:
        process = await stack.start(NATS_URL=f"nats://127.0.0.1:{way.port}")
        order = await placed(stack, bus)
        way.stop_listening()
        way.cut()
        assert (await pay(process, order)).status == 201
        process.kill()
        assert await bus.events_of(order) == []
        await way.start()
        await restarted(process)
        await bus.announced(order, PAID)


async def test_a_crash_after_the_publish_announces_nothing_twice(stack: ServiceStack, bus: Bus) -> None:
    """F07: the broker has the event and the process died before its acknowledgement: the stream must drop the
    repetition by its id.
    """
    async with Proxy(stack.servers.nats.port) as way:
        process = await stack.start(NATS_URL=f"nats://127.0.0.1:{way.port}")
        order = await placed(stack, bus)
        way.drop_answers()
        assert (await pay(process, order)).status == 201
        await bus.announced(order, PAID)
        assert "task" in stack.order(order)["outbox"][0]  # type: ignore[index]
        process.kill()
        way.resume()
        await restarted(process)

        async def marked() -> bool:
            return "published" in stack.order(order)["outbox"][0]  # type: ignore[index]

        await eventually(marked, "the event is marked as published")
        await bus.announced(order, PAID)


async def test_an_unacknowledged_event_comes_again_after_a_crash(stack: ServiceStack, bus: Bus) -> None:
    """F08: an event that was delivered and not acknowledged must be applied by the next process, without a second
    effect.
    """
    process = await stack.start()
    await bus.shorten_ack_wait(stack.name, 5.0)
    stack.servers.mongo.pause()
    order = stack.new_order()
    await bus.create(order)

    async def delivered() -> bool:
        return await bus.given_out(stack.name) > 0

    await eventually(delivered, "the event is delivered")
    process.kill()
    stack.servers.mongo.resume()
    await restarted(process)
    found = await document(stack, order)
    assert found["userId"] == "u1"

    async def acknowledged() -> bool:
        return await bus.unacknowledged(stack.name) == 0

    await eventually(acknowledged, "the event is acknowledged")
    assert (await pay(process, order)).status == 201


@pytest.mark.parametrize("fault", ["delay", "hang"])
async def test_sigterm_while_a_charge_is_under_way_ends_well(fault: str, stack: ServiceStack, bus: Bus) -> None:
    """F33: it drains as far as possible, exits 0 within 25 s, and the next process finishes the rest."""
    process = await stack.start()
    order = await placed(stack, bus)
    stack.stripe.fault(fault, delay_ms=1_000 if fault == "delay" else 0)
    request = asked(process, order)
    await document(stack, order, "confirming")
    began = time.monotonic()
    stopped = asyncio.create_task(asyncio.to_thread(process.stop, 25.0))
    answer = await request
    assert await stopped == 0
    print(f"SIGTERM under {fault}: exit after {time.monotonic() - began:.2f} s, client answered {answer.status}")
    assert answer.status == 201 if fault == "delay" else answer.status in (202, 503)
    assert NOTHING_CHARGED not in str(answer.body)
    ready = await restarted(process)
    await document(stack, order, "paid")
    assert time.monotonic() - ready < RESUMED_WITHIN_S
    one_charge(stack, order)
    await bus.announced(order, PAID)


async def test_a_process_that_wakes_after_its_work_was_taken_over_changes_nothing(
    stack: ServiceStack, bus: Bus
) -> None:
    """F34: a process is paused with a charge in flight until its lease ends: another one finishes, and the paused one
    must not change it.
    """
    async with Proxy(stack.stripe.port) as way:
        sleeper = await stack.start(STRIPE_API_BASE=f"http://127.0.0.1:{way.port}")
        other = await stack.start()
        order = await placed(stack, bus)
        way.stall()
        request = asked(sleeper, order)
        await document(stack, order, "confirming")
        await way.wait_for(lambda proxy: proxy.held_bytes > 0)
        sleeper.pause()
        end_lease(stack, order)
        await document(stack, order, "paid")
        way.resume()
        sleeper.resume()
        assert (await request).body["stripeId"] == one_charge(stack, order)["id"]
        assert (await pay(other, order)).status == 200
        await bus.announced(order, PAID)
        sleeper.kill()
