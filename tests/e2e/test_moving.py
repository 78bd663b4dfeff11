"""docs/nats-streaming-migration.md, carried out over one MongoDB: one after the other, and side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.bus import PAID, REFUNDED, Bus
from tests.e2e.client import Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.streaming import NodeBus, StreamingServers
from tests.e2e.waiting import eventually
from tests.support.servers.nats import NatsServer

pytestmark = [pytest.mark.servers]

CLUSTER = {"NATS_CLUSTER_ID": "ticketing", "CHARGE_WAIT_S": "2"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamingServers]:
    started = StreamingServers(tmp_path_factory.mktemp("servers"))
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def jetstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("jetstream"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stack(servers: StreamingServers, tmp_path: Path) -> Iterator[ServiceStack]:
    stack = ServiceStack(servers, tmp_path)
    yield stack
    stack.stop()
    servers.start()


@pytest.fixture
async def old(servers: StreamingServers, tmp_path: Path) -> AsyncIterator[NodeBus]:
    async with NodeBus(servers, tmp_path) as bus:
        yield bus


@pytest.fixture
async def new(jetstream: NatsServer) -> AsyncIterator[Bus]:
    async with Bus(jetstream.url) as bus:
        yield bus


async def status_of(process: ServiceProcess, order: str) -> int:
    async with Client(process.port) as client:
        return (await client.pay(order)).status


async def known(stack: ServiceStack, order: str) -> None:
    async def there() -> bool:
        return stack.order(order) is not None

    await eventually(there, f"{order} is known")


async def test_an_event_that_the_old_broker_missed_goes_over_the_new(
    servers: StreamingServers, stack: ServiceStack, old: NodeBus, new: Bus, jetstream: NatsServer
) -> None:
    """One after the other: the same client id takes over its own unfinished work at once, over the new broker."""
    process = await stack.start(**CLUSTER)
    order = stack.new_order()
    await old.create(order)
    await known(stack, order)
    servers.nats.kill()
    assert await status_of(process, order) == 201
    assert await asyncio.to_thread(process.stop, 15.0) == 0
    moved = stack.service(NATS_URL=jetstream.url, NATS_CLIENT_ID=f"{stack.name}-0")
    await asyncio.to_thread(moved.start)
    [paid] = await new.announced(order, PAID)
    assert paid["orderId"] == order
    await new.cancel(order)
    await new.announced(order, PAID, REFUNDED)


async def test_side_by_side_each_announces_what_it_has_charged(
    stack: ServiceStack, old: NodeBus, new: Bus, jetstream: NatsServer
) -> None:
    """An order of the old broker is paid and cancelled over either; the process that charges publishes over its own
    broker.
    """
    before = await stack.start(**CLUSTER)
    after = await stack.start(NATS_URL=jetstream.url)
    first, second = stack.new_order(), stack.new_order()
    for order in (first, second):
        await old.create(order)
        await known(stack, order)
    assert await status_of(before, first) == 201
    assert await status_of(after, second) == 201
    assert await status_of(after, first) == 200
    await new.announced(second, PAID)

    async def received(subject: str, order: str) -> bool:
        return bool(old.peer.got(subject, order))

    await eventually(lambda: received(PAID, first), "the first is announced where it was charged")
    await new.cancel(first)
    await new.announced(first, REFUNDED)
    assert not old.peer.got(PAID, second)
    [charge] = stack.stripe.charges(first)
    assert charge["refunded"]
