"""The whole service over NATS Streaming, with a peer service in Node: orders in, payments out, and kills in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bus import CANCELLED, CREATED, PAID, REFUNDED, order_cancelled, order_created
from tests.e2e.client import Client
from tests.e2e.peer_services.peer_service import NodePeerService
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.streaming import StreamingServers
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.servers

CHARGE_WAIT_S = "2"


class Platform:
    """The service and its Node peer, over one NATS Streaming."""

    def __init__(self, stack: ServiceStack, peer: NodePeerService) -> None:
        self.stack = stack
        self.peer = peer
        self.service: ServiceProcess = stack.service(NATS_CLUSTER_ID="ticketing", CHARGE_WAIT_S=CHARGE_WAIT_S)

    async def publish(self, subject: str, event: object) -> None:
        """Let the peer publish, and wait for the server's acknowledgement."""
        before = self.peer.published
        self.peer.publish(subject, event)

        async def acknowledged() -> bool:
            return self.peer.published > before

        await eventually(acknowledged, f"{subject} is published")

    async def order(self) -> str:
        """Publish a new order; returns its id once the service has stored it."""
        order = self.stack.new_order()
        await self.publish(CREATED, order_created(order))
        await self.known(order)
        return order

    async def known(self, order: str, **fields: object) -> dict[str, Any]:
        async def there() -> dict[str, Any]:
            found = self.stack.order(order) or {}
            return found if found and fields.items() <= found.items() else {}

        return await eventually(there, f"{order} has {fields}")

    async def pay(self, order: str) -> dict[str, Any]:
        async with Client(self.service.port) as client:
            answer = await client.pay(order)
        assert answer.status == 201, answer
        return dict(answer.body)

    async def received(self, subject: str, order: str, deadline_s: float = 15.0) -> dict[str, Any]:
        """Returns the one payload that the peer received about an order; a duplicate has the same ids."""

        async def there() -> list[dict[str, Any]]:
            return self.peer.got(subject, order)

        first, *others = await eventually(there, f"{subject} of {order} is received", deadline_s)
        assert all(each == first for each in others)
        return first


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamingServers]:
    started = StreamingServers(tmp_path_factory.mktemp("streaming-servers"))
    started.start()
    yield started
    started.stop()


@pytest.fixture
async def platform(servers: StreamingServers, tmp_path: Path) -> AsyncIterator[Platform]:
    peer = NodePeerService(tmp_path, servers.nats.url, servers.nats.cluster_id)
    peer.start()

    async def ready() -> bool:
        return peer.ready

    await eventually(ready, "the peer is ready")
    stack = ServiceStack(servers, tmp_path)
    platform = Platform(stack, peer)
    await asyncio.to_thread(platform.service.start)
    yield platform
    stack.stop()
    peer.stop()


async def test_an_order_is_paid_and_its_payment_announced(platform: Platform) -> None:
    """The service receives Node's order:created and publishes payment:created in the contract's form, and a cancel
    refunds it.
    """
    order = await platform.order()
    paid = await platform.pay(order)
    assert await platform.received(PAID, order) == {"id": paid["id"], "orderId": order, "stripeId": paid["stripeId"]}
    await platform.publish(CANCELLED, order_cancelled(order))
    refunded = await platform.received(REFUNDED, order)
    assert (refunded["id"], refunded["stripeId"]) == (paid["id"], paid["stripeId"])
    [charge] = platform.stack.stripe.charges(order)
    assert charge["amount_refunded"] == charge["amount"] == 1999


async def test_a_bad_event_becomes_a_dead_letter_and_later_events_go_on(platform: Platform) -> None:
    """F30: there is one dead letter, whole, with the channel's identity."""
    await platform.publish(CREATED, "no JSON")
    order = await platform.order()
    [dead_letter] = list(platform.stack.dead_letters.find())
    assert dead_letter["data"] == b"no JSON"
    assert dead_letter["_id"].startswith("ticketing:order:created:")
    await platform.pay(order)


async def test_the_service_killed_and_started_again_misses_nothing(platform: Platform) -> None:
    """F40: events that are published while it is dead are handled when it is back, under the same client id."""
    await platform.pay(await platform.order())
    platform.service.kill()
    order = platform.stack.new_order()
    await platform.publish(CREATED, order_created(order))
    await asyncio.to_thread(platform.service.start)
    await platform.known(order)
    await platform.pay(order)
    await platform.received(PAID, order)


async def test_the_server_killed_and_started_again_misses_nothing(platform: Platform) -> None:
    """F28, F40: charges are accepted while it is away; payment:created is published when it is back; ready within
    10 s.
    """
    order = await platform.order()
    platform.stack.servers.nats.kill()

    async def status(word: str) -> bool:
        found = platform.service.readyz()
        return found is not None and found[1]["status"] == word

    await eventually(lambda: status("degraded"), "it says so")
    await platform.pay(order)
    await asyncio.to_thread(platform.stack.servers.nats.start)
    await eventually(lambda: status("ready"), "it is back", 10.0)
    platform.peer.stop()  # its own client does not report its state after such a loss, so it is started again
    platform.peer.start()
    await platform.received(PAID, order)
    for event in ("dependency_lost", "dependency_back"):
        assert len(platform.service.logged(event, dependency="nats")) == 1


async def test_an_orderly_stop_leaves_the_durable_as_it_is(platform: Platform) -> None:
    """F33: SIGTERM closes and never unsubscribes: no old event comes again, and events of the time in between do."""
    order = await platform.order()
    await platform.pay(order)
    assert await asyncio.to_thread(platform.service.stop, 15.0) == 0
    late = platform.stack.new_order()
    await platform.publish(CREATED, order_created(late))
    await asyncio.to_thread(platform.service.start)
    await platform.known(late)
    received = platform.service.logged("event_received", subject=CREATED)
    assert [line["order_id"] for line in received if line["order_id"] in (order, late)] == [order, late]
