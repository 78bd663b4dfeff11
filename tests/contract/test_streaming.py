"""NATS Streaming keeps the transports' contract, against the real server, with a file store and with a memory store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.ports.transport import EventTransport
from tests.contract.transport_contract import CREATED, Members, TransportContract
from tests.support.servers.nats_streaming import CLUSTER_ID, NatsStreamingServer

pytestmark = pytest.mark.servers


class StreamingBench:
    """`client_id` of each transport is its requested name."""

    deduplicates = False

    def __init__(self, server: NatsStreamingServer, ack_wait_s: int = 1, *, forgets: bool = False) -> None:
        self.server = server
        self.ack_wait_s = ack_wait_s
        self.forgets = forgets

    def transport(self, name: str, group: str = "payment-service") -> EventTransport:
        return StreamingTransport(
            [self.server.url], CLUSTER_ID, name, group, RandomIds(), SystemClock(), ack_wait_s=self.ack_wait_s
        )

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def begin_anew(self) -> None:
        self.server.kill()
        shutil.rmtree(self.server.data, ignore_errors=True)  # a memory store has none
        await self.start()


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    server = NatsStreamingServer(tmp_path, memory=getattr(request, "param", "file") == "memory")
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


class TestStreaming(TransportContract):
    @pytest.fixture
    def bench(self, server: NatsStreamingServer) -> StreamingBench:
        return StreamingBench(server)

    async def test_an_event_that_is_published_again_arrives_again(self, members: Members) -> None:
        """F07: an event with the same message id is not dropped: consumers get a duplicate with the same payment id."""
        one = await members.join(CREATED)
        for message_id, data in (("a", b"paid"), ("a", b"paid"), ("b", b"last")):
            await one.transport.publish(CREATED, data, message_id)
        await one.got_data(b"last")
        assert one.data == [b"paid", b"paid", b"last"]
        assert one.got[0].identity != one.got[1].identity


@pytest.mark.parametrize("server", ["memory"], indirect=True)
class TestStreamingInMemory(TestStreaming):
    """A restart loses everything: the contract's rules about events from before a restart can't be kept."""

    @pytest.fixture
    def bench(self, server: NatsStreamingServer) -> StreamingBench:
        return StreamingBench(server, forgets=True)
