"""MongoDB and NATS go away and come back, by the rows of the fault table."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import nats
import pytest

from tests.e2e.bus import PAID, REFUNDED, STREAM, Bus
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
)
from tests.support.servers.nats import NatsServer
from tests.support.servers.proxy import Proxy

pytestmark = [pytest.mark.servers]


async def test_a_refund_waits_for_nats_and_comes_after_its_payment(stack: ServiceStack, bus: Bus) -> None:
    """F21, F28: with NATS away the charge goes on; both events are published in order when it is back, within 10 s."""
    async with Proxy(stack.servers.nats.port) as way:
        process = await stack.start(NATS_URL=f"nats://127.0.0.1:{way.port}")
        order = await placed(stack, bus)
        way.stop_listening()
        way.cut()
        await dependency(process, "nats", up=False)
        status, shown = process.readyz() or (0, {})
        assert (status, shown["status"]) == (200, "degraded")
        assert (await pay(process, order)).status == 201
        await bus.cancel(order)
        back = time.monotonic()
        await way.start()
        await bus.announced(order, PAID, REFUNDED, deadline_s=WELL_WITHIN_S)
        print(f"NATS back: all out after {time.monotonic() - back:.2f} s")
        await dependency(process, "nats", up=True)
        lost = process.logged("dependency_lost", dependency="nats")
        assert (len(lost), len(process.logged("dependency_back", dependency="nats"))) == (1, 1)
        process.kill()


async def test_a_nats_server_killed_and_started_again_loses_nothing(stack: ServiceStack, bus: Bus) -> None:
    """F28: a new server process on the same data must be found again, for events in and out."""
    process = await stack.start()
    order = await placed(stack, bus)
    stack.servers.nats.kill()
    assert (await pay(process, order)).status == 201
    await asyncio.to_thread(stack.servers.nats.start)
    back = time.monotonic()
    await bus.announced(order, PAID, deadline_s=WELL_WITHIN_S)
    await pay(process, await placed(stack, bus))
    print(f"nats-server back: in and out after {time.monotonic() - back:.2f} s")


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_without_mongodb_nothing_is_charged_and_all_is_well_after(
    how: str, stack: ServiceStack, bus: Bus
) -> None:
    """F25: 503 "nothing was charged", `/readyz` names MongoDB, events wait, no 500; the service recovers within 10
    s.
    """
    process = await stack.start(CHARGE_WAIT_S="2")
    order, later = await placed(stack, bus), stack.new_order()
    mongo = stack.servers.mongo
    mongo.kill() if how == "killed" else mongo.pause()
    refused = await pay(process, order)
    assert refused.status == 503
    await dependency(process, "mongodb", up=False)
    status, shown = process.readyz() or (0, {})
    assert (status, shown["status"]) == (503, "unavailable")
    again = await pay(process, order)
    assert (again.status, NOTHING_CHARGED in again.message) == (503, True)
    assert int(again.headers["Retry-After"]) >= 1
    await bus.create(later)
    if how == "killed":
        await asyncio.to_thread(mongo.start)
    else:
        mongo.resume()
    back = time.monotonic()
    await dependency(process, "mongodb", up=True)
    await document(stack, later)
    took_s = time.monotonic() - back
    print(f"MongoDB {how} and back: recovered after {took_s:.2f} s")
    assert took_s < WELL_WITHIN_S
    assert (await pay(process, order)).status in (200, 201)
    one_charge(stack, order)
    assert len(process.logged("dependency_back", dependency="mongodb")) <= 2  # at the start, and now


async def test_a_lost_answer_to_a_write_is_never_a_second_charge(stack: ServiceStack, bus: Bus) -> None:
    """F26: MongoDB wrote the attempt and its answer was lost: no answer denies a charge, and there is one."""
    async with Proxy(stack.servers.mongo.port) as way:
        process = await stack.start(MONGO_URL=stack.mongo_url(way.port))
        order = await placed(stack, bus)
        way.drop_answers()
        request = asked(process, order)
        await way.wait_for(lambda proxy: proxy.dropped_bytes > 0)
        await dependency(process, "mongodb", up=False)
        way.cut()
        way.resume()
        answer = await request
        if answer.status == 503 and NOTHING_CHARGED in answer.message:
            assert stack.stripe.charges(order) == []
        await dependency(process, "mongodb", up=True)
        settled = await pay(process, order)
        assert settled.status in (200, 201)
        assert settled.body["stripeId"] == one_charge(stack, order)["id"]
        await bus.announced(order, PAID)
        process.kill()


async def test_customers_are_charged_while_the_broker_refuses_events(
    stack: ServiceStack, bus: Bus, tmp_path: Path
) -> None:
    """F54: with a full stream the answer is 201, readiness is degraded with the reason, and there is an alarm;
    `payment:created` is published once the stream accepts it.
    """
    server = NatsServer(tmp_path)
    await asyncio.to_thread(server.start)
    client = await nats.connect(server.url)
    try:
        config = {"name": STREAM, "subjects": [PAID], "discard": "new"}
        full_config = json.dumps({**config, "max_msgs": 1}).encode()
        await client.request(f"$JS.API.STREAM.CREATE.{STREAM}", json.dumps(config).encode(), timeout=5)
        await client.request(PAID, b'{"orderId": "an earlier one"}', timeout=5)
        async with Bus(server.url) as full:
            process = await stack.start(NATS_URL=server.url)
            await client.request(f"$JS.API.STREAM.UPDATE.{STREAM}", full_config, timeout=5)
            order = await placed(stack, full)
            assert (await pay(process, order)).status == 201

            async def refused() -> bool:
                return bool(process.logged("publish_refused", subject=PAID))

            await eventually(refused, "the refusal is an alarm")
            status, shown = process.readyz() or (0, {})
            assert (status, shown["status"]) == (200, "degraded")
            assert "maximum messages exceeded" in shown["dependencies"]["nats"]["why"]
            assert [line["count"] for line in process.logged("publish_refused", subject=PAID)] == [1]
            assert (await pay(process, await placed(stack, full))).status == 201
            larger_config = json.dumps(config).encode()
            await client.request(f"$JS.API.STREAM.UPDATE.{STREAM}", larger_config, timeout=5)
            await full.announced(order, PAID, deadline_s=WELL_WITHIN_S)
            await dependency(process, "nats", up=True)
            process.kill()
    finally:
        await client.close()
        await asyncio.to_thread(server.stop)
