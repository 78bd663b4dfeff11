"""The four laws over NATS Streaming, with a peer service in Node: kill -9 of the service, and of the server under
load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.streaming import NodeBus, StreamingServers
from tests.e2e.waiting import eventually
from tests.faults.laws import OrderRecord, broken_laws, tally
from tests.faults.steps import WELL_WITHIN_S
from tests.faults.test_laws import Traffic, a_round, at_rest, evidence_of

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SEEDS = (7,)
CLUSTER = {"NATS_CLUSTER_ID": "ticketing", "CHARGE_WAIT_S": "3"}
PAYING = 40  # orders that are being paid when the server dies
WAITING = 200  # orders that have just been announced then


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamingServers]:
    started = StreamingServers(tmp_path_factory.mktemp("servers"))
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def bus(servers: StreamingServers, tmp_path: Path) -> AsyncIterator[NodeBus]:
    async with NodeBus(servers, tmp_path) as bus:
        yield bus


async def test_the_four_laws_hold_over_kill_9_with_nats_streaming(stack: ServiceStack, bus: NodeBus) -> None:
    """F03 to F13, F15, F20 to F24, F40: a process that is back under its client id gets its unacknowledged events at
    once.
    """
    records: dict[str, OrderRecord] = {}
    process = await stack.start(**CLUSTER)
    for seed in SEEDS:
        traffic = Traffic(stack, bus, Random(seed), records)
        traffic.processes = [process]
        await a_round(traffic, 1, Random(seed))
    await at_rest(stack, bus)
    evidence = await evidence_of(stack, bus, records)
    print(tally(evidence))
    assert broken_laws(evidence) == []
    assert sum(len(evidence.charges(order)) for order in records) > len(records) // 2
    assert process.logged("actor_crashed") == []


async def test_the_server_restarted_under_load_loses_nothing(
    servers: StreamingServers, stack: ServiceStack, bus: NodeBus
) -> None:
    """F28, F40: it is killed while events come in and charges go on; within 10 s it is back, and no event is lost."""
    process = await stack.start(**CLUSTER)
    paying, waiting = [[stack.new_order() for _ in range(count)] for count in (PAYING, WAITING)]
    for order in paying:
        await bus.create(order)
    await eventually(lambda: known(stack, paying), "the first orders are known")
    for order in waiting:
        await bus.create(order)

    async def stored() -> bool:
        return bus.peer.published == PAYING + WAITING

    async with asyncio.TaskGroup() as group:
        for order in paying:
            group.create_task(paid(process, order))
        await eventually(stored, "the server has acknowledged every order")
        servers.nats.kill()
        await asyncio.to_thread(servers.nats.start)
        back = time.monotonic()
        await eventually(lambda: ready(process), "ready again", WELL_WITHIN_S)
        print(f"NATS Streaming back: ready after {time.monotonic() - back:.2f} s")
    await eventually(lambda: known(stack, waiting), "all orders are known", 20.0)
    before = await bus.events()
    bus.peer.stop()  # its own client does not report its state after such a loss, so it is started again
    bus.peer.start()

    async def announced() -> bool:
        received = [event.payload["orderId"] for event in [*before, *await bus.events()]]
        return set(paying) <= set(received)

    await eventually(announced, "every payment is announced")


async def known(stack: ServiceStack, orders: list[str]) -> bool:
    return stack.orders.count_documents({"_id": {"$in": orders}}) == len(orders)


async def ready(process: ServiceProcess) -> bool:
    found = process.readyz()
    return found is not None and found[1]["status"] == "ready"


async def paid(process: ServiceProcess, order: str) -> None:
    """The order is paid at the first request: without NATS only the payment's event waits."""
    async with Client(process.port) as client:
        assert (await client.pay(order)).status == 201
