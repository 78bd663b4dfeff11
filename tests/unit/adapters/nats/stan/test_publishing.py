"""Publishes and their acknowledgements, against a minimal server, in virtual time: transcripts."""

from __future__ import annotations

import asyncio

import pytest

from payment.adapters.nats.stan.codec import encode
from payment.adapters.nats.stan.errors import (
    InvalidName,
    RefusedByServer,
    ServerUnreachable,
    SessionLost,
    Unacknowledged,
)
from payment.adapters.nats.stan.messages import (
    PubAck,
)
from payment.adapters.nats.stan.publishing import Publisher
from tests.support.fakes.clock import FakeClock
from tests.unit.adapters.nats.stan.fake_wire import ACKS, FakeWire, connect


class TestPublishing:
    async def acknowledge(self, wire: FakeWire, number: int, error: str = "") -> None:
        await wire.deliver(ACKS, encode(PubAck(wire.published()[number].guid, error)))

    async def test_a_publish_returns_with_its_own_acknowledgement(self, wire: FakeWire, clock: FakeClock) -> None:
        """Other, repeated and malformed acknowledgements and NATS's own 503 are ignored."""
        client = await connect(wire, clock)
        tasks = [asyncio.create_task(client.publish("payment:created", data)) for data in (b"1", b"2")]
        await clock.settle()
        sent = wire.published()
        assert [(each.client_id, each.subject, each.data, each.conn_id) for each in sent] == [
            ("pay", "payment:created", b"1", b"c1"),
            ("pay", "payment:created", b"2", b"c1"),
        ]
        assert {(subject, reply) for subject, _, reply in wire.sent} == {("pub.payment:created", ACKS)}
        for data, headers in ((b"", {"Status": "503"}), (b"\xff", None), (encode(PubAck("stranger")), None)):
            await wire.deliver(ACKS, data, headers=headers)
        await self.acknowledge(wire, 1)
        await self.acknowledge(wire, 1)
        await asyncio.wait_for(tasks[1], 1)
        assert not tasks[0].done()
        await self.acknowledge(wire, 0)
        await asyncio.wait_for(tasks[0], 1)
        await client.close()

    async def test_a_refusal_is_raised_and_ends_no_session(self, wire: FakeWire, clock: FakeClock) -> None:
        """The error has the server's text and its meaning."""
        client = await connect(wire, clock)
        task = asyncio.create_task(client.publish("payment:created", b"1"))
        await clock.settle()
        await self.acknowledge(wire, 0, "too many channels")
        with pytest.raises(RefusedByServer, match="max_channels"):
            await task
        assert not client.lost.is_set()
        await client.close()

    async def test_a_refusal_that_means_a_forgotten_session_ends_it(self, wire: FakeWire, clock: FakeClock) -> None:
        """F40: it ends all other pending publishes too."""
        client = await connect(wire, clock)
        tasks = [asyncio.create_task(client.publish("payment:created", b"1")) for _ in range(2)]
        await clock.settle()
        await self.acknowledge(wire, 0, "stan: invalid publish request")
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [RefusedByServer, SessionLost]
        with pytest.raises(SessionLost):
            await client.publish("payment:created", b"2")

    async def test_the_window_is_never_exceeded_and_each_end_gives_its_place_back_once(
        self, wire: FakeWire, clock: FakeClock
    ) -> None:
        """F39: an acknowledgement, a refusal, a cancellation, a time-out and a failure to send share two slots."""
        client = await connect(wire, clock)
        publisher = Publisher(client._session, window=2, timeout_s=0.05)
        wire.ears[2].arrived = publisher.on_ack

        async def publish(count: int) -> list[asyncio.Task[None]]:
            tasks = [asyncio.create_task(publisher.publish("a", b"")) for _ in range(count)]
            await clock.settle()
            return tasks

        tasks = await publish(4)
        assert publisher.under_way == 2
        await self.acknowledge(wire, 0)
        await self.acknowledge(wire, 1, "too many channels")
        await clock.settle()
        assert publisher.under_way == 2
        tasks[2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)  # the fourth waits for its time-out
        assert [type(each) for each in outcomes] == [
            type(None),
            RefusedByServer,
            asyncio.CancelledError,
            Unacknowledged,
        ]
        wire.gone = True
        assert [type(each) for each in await asyncio.gather(*await publish(3), return_exceptions=True)] == [
            ServerUnreachable
        ] * 3
        wire.gone = False
        tasks = await publish(4)
        assert (publisher.under_way, len(wire.published())) == (2, 6)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert publisher.under_way == 0
        await client.close()

    @pytest.mark.parametrize("channel", ["", ".", "a..b", "a.", ".a", "a/b", "a.*", ">", "a b"])
    async def test_an_invalid_channel_is_not_sent(self, channel: str, wire: FakeWire, clock: FakeClock) -> None:
        """The server might drop it silently."""
        client = await connect(wire, clock)
        with pytest.raises(InvalidName):
            await client.publish(channel, b"")
        assert wire.sent == []
        await client.close()
