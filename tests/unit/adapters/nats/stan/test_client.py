"""The client against the real server, where the protocol's description is unclear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from nats.aio.client import Client as NatsClient

from payment.adapters.nats.connection import NatsConnection
from payment.adapters.nats.stan.buffer import Buffer
from payment.adapters.nats.stan.client import Client
from payment.adapters.nats.stan.errors import ClientIdTaken, NotStreaming, ServerUnreachable, SessionLost
from payment.adapters.nats.stan.messages import MsgProto
from payment.adapters.nats.stan.session import discover
from payment.adapters.nats.stan.subscription import Durable, Subscription
from payment.adapters.nats.streaming.wire import ConnectionWire
from payment.adapters.system import RandomIds, SystemClock
from tests.e2e.waiting import eventually
from tests.support.servers.nats import NatsServer
from tests.support.servers.nats_streaming import CLUSTER_ID, QUICK_HEARTBEATS, NatsStreamingServer

pytestmark = pytest.mark.servers

DEADLINE_S = 15.0


class Pings:
    """Replaces `sleep`: the test releases each ping."""

    def __init__(self) -> None:
        self._due = asyncio.Semaphore(0)

    async def sleep(self, _: float) -> None:
        await self._due.acquire()

    def next(self) -> None:
        self._due.release()


class Party:
    """Clients of one server, each over its own connection unless one is given."""

    def __init__(self, server: NatsStreamingServer | NatsServer) -> None:
        self.server = server
        self.pings = Pings()
        self._connections: list[NatsConnection] = []

    async def wire(self) -> ConnectionWire:
        connection = NatsConnection([self.server.url], "test", RandomIds(), SystemClock())
        await connection.reach()
        self._connections.append(connection)
        return ConnectionWire(connection)

    async def client(
        self, name: str, wire: ConnectionWire | None = None, cluster_id: str = CLUSTER_ID, conn_id: str | None = None
    ) -> Client:
        wire = wire or await self.wire()
        return await Client.connect(wire, cluster_id, name, conn_id or uuid4().hex, self.pings.sleep)

    async def drop(self, number: int) -> None:
        """Cut one connection, as the death of its process would."""
        await self._connections[number].close()

    async def end(self) -> None:
        for connection in self._connections:
            await connection.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    server = NatsStreamingServer(tmp_path, memory=True, options=QUICK_HEARTBEATS)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.fixture
async def party(server: NatsStreamingServer) -> AsyncIterator[Party]:
    party = Party(server)
    yield party
    await party.end()


def durable(ack_wait_s: int = 30, **more: int) -> Durable:
    return Durable("order:created", "payment", "payment", ack_wait_s, **more)


async def take(subscription: Subscription, count: int) -> list[MsgProto]:
    """Returns the next messages without acknowledging them."""
    taken = []
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(count):
            message = await subscription.next()
            assert message is not None
            taken.append(message)
    return taken


async def lost(client: Client) -> str:
    async with asyncio.timeout(DEADLINE_S):
        await client.lost.wait()
    return client.reason


async def publish(client: Client, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(client.publish("order:created", b"%d" % number))


async def test_published_messages_are_delivered_in_order_until_acknowledged(party: Party) -> None:
    """F08: a channel with the platform's kind of name; sequences from 1; only unacknowledged messages are
    redelivered.
    """
    client = await party.client("one")
    subscription = await client.subscribe(durable(ack_wait_s=1))
    for data in (b"first", b"second", b""):
        await client.publish("order:created", data)
    messages = await take(subscription, 3)
    assert [(each.sequence, each.data) for each in messages] == [(1, b"first"), (2, b"second"), (3, b"")]
    await subscription.ack(messages[0])
    await subscription.ack(messages[2])
    [again] = await take(subscription, 1)
    assert (again.sequence, again.redelivered, again.timestamp) == (2, True, messages[1].timestamp)
    assert subscription.redelivered(again) == 1
    await client.close()


async def test_a_wide_burst_is_acknowledged_through_the_window(party: Party) -> None:
    """F39: three times the window, each stored once."""
    client = await party.client("one")
    await publish(client, 3_000)
    subscription = await client.subscribe(durable(max_in_flight=4_000))
    assert {each.data for each in await take(subscription, 3_000)} == {b"%d" % number for number in range(3_000)}
    await client.close()


async def test_the_client_id_of_a_living_client_is_refused_and_a_closed_ones_is_free(party: Party) -> None:
    """The server asks the holder's heartbeat inbox before it decides."""
    one = await party.client("shared")
    with pytest.raises(ClientIdTaken):
        await party.client("shared")
    await one.publish("order:created", b"still here")
    await one.close()
    assert not (await party.client("shared")).lost.is_set()


async def test_a_client_whose_connection_is_cut_does_not_lock_its_successor_out(party: Party) -> None:
    """F40: the dead client's heartbeat gets no answer, so its id is free at once."""
    await party.client("shared")
    await party.drop(0)
    again = await party.client("shared")
    await again.publish("order:created", b"back")


async def test_a_lost_session_that_was_not_left_locks_us_out_and_one_that_was_does_not(party: Party) -> None:
    """F40: on one connection, an old inbox of the client answers for the lost session."""
    wire = await party.wire()
    old = await party.client("shared", wire)
    with pytest.raises(ClientIdTaken):
        await party.client("shared", wire)
    old.end("the server forgot it, say")
    await old.leave()
    again = await party.client("shared", wire)
    await again.publish("order:created", b"back")


async def test_a_replaced_session_ends_at_its_next_ping(party: Party) -> None:
    """F40: another client took the id over, while the process was stopped, say; later publishes of the session are
    refused.
    """
    one = await party.client("shared", conn_id="one")
    heartbeats = one._session._listening[0]
    await heartbeats.unsubscribe()
    other = await party.client("shared", conn_id="two")
    party.pings.next()
    party.pings.next()
    assert "another client has taken its client id" in await lost(one)
    with pytest.raises(SessionLost):
        await one.publish("order:created", b"1")
    assert not other.lost.is_set()


async def test_a_publish_in_a_forgotten_session_fails_with_the_reason(party: Party) -> None:
    """F40: before any ping could have detected it."""
    one = await party.client("shared")
    await one._session._listening[0].unsubscribe()
    await party.client("shared")
    with pytest.raises(Exception, match="doesn't know this session"):
        await one.publish("order:created", b"1")
    assert one.lost.is_set()


async def test_a_server_stopped_for_longer_than_its_heartbeats_allow_keeps_sessions_that_answer(
    party: Party, server: NatsStreamingServer
) -> None:
    """F40: the server's own pause is not the client's failure: afterwards the session is still open."""
    client = await party.client("one")
    server.pause()
    with pytest.raises(ServerUnreachable):
        async with asyncio.timeout(DEADLINE_S):
            await client.publish("order:created", b"meanwhile")
    server.resume()
    await client.publish("order:created", b"after")
    party.pings.next()
    await client.publish("order:created", b"and on")
    assert not client.lost.is_set()


async def test_everything_unacknowledged_comes_at_once_to_the_first_member_that_returns(party: Party) -> None:
    """2,000 at once, more than the requested limit: within the buffer's bound, and nothing is lost."""
    one = await party.client("one")
    # Both have the same ack wait: that of the first member's deliveries ends before the second's counts.
    subscription = await one.subscribe(durable(ack_wait_s=1, max_in_flight=2_000))
    await publish(one, 2_000)
    await take(subscription, 2_000)
    await one.close()
    two = await party.client("two")
    buffer = Buffer(messages_max=1_500)
    subscription = await two.subscribe(durable(ack_wait_s=1, max_in_flight=10), buffer)
    found: dict[int, MsgProto] = {}

    async def overflown() -> bool:
        return buffer.dropped > 0

    async with asyncio.timeout(DEADLINE_S):
        await eventually(overflown, "it overflows")
        while len(found) < 2_000:
            assert len(buffer) <= 1_500
            message = await subscription.next()
            assert message is not None
            found[message.sequence] = message
            await subscription.ack(message)
    assert sorted(found) == list(range(1, 2_001))
    assert all(message.redelivered for message in found.values())
    await two.close()


async def test_leaving_a_group_gives_back_what_has_no_ack_and_keeps_the_durable(party: Party) -> None:
    """F33: the other member gets it at once, long before the ack wait; acks that were sent before still count."""
    one, two = await party.client("one"), await party.client("two")
    first = await one.subscribe(durable())
    await publish(one, 10)
    messages = await take(first, 10)
    second = await two.subscribe(durable())
    for message in messages[:4]:
        await first.ack(message)
    await first.close()
    assert sorted(each.sequence for each in await take(second, 6)) == [5, 6, 7, 8, 9, 10]
    await one.close()
    await two.close()


async def test_a_server_that_lost_its_data_counts_from_1_again(party: Party, server: NatsStreamingServer) -> None:
    """F40: sequences repeat, timestamps don't: an old ack must never be taken for a new message's."""
    before = await party.client("one")
    await before.publish("order:created", b"old")
    [old] = await take(await before.subscribe(durable()), 1)
    server.kill()
    await asyncio.to_thread(server.start)
    after = await party.client("one")
    await after.publish("order:created", b"new")
    [new] = await take(await after.subscribe(durable()), 1)
    assert (old.sequence, new.sequence, new.data) == (1, 1, b"new")
    assert new.timestamp > old.timestamp


class TestCheck:
    async def test_a_wrong_cluster_id_is_reported_at_once(self, party: Party) -> None:
        """The error is not a time-out."""
        with pytest.raises(NotStreaming, match="'staging'"):
            await party.client("one", cluster_id="staging")

    async def test_asking_registers_nothing(self, party: Party) -> None:
        """An empty request is answered, and the client id it did not name is free."""
        found = await discover(await party.wire(), CLUSTER_ID, b"")
        assert found.error == "stan: invalid connection request"
        await party.client("one")

    async def test_plain_nats_is_not_nats_streaming(self, tmp_path: Path) -> None:
        """Nor is a stream of JetStream that stores any message."""
        server = NatsServer(tmp_path)
        await asyncio.to_thread(server.start)
        party = Party(server)
        try:
            with pytest.raises(NotStreaming, match="plain NATS"):
                await party.client("one")
            admin = NatsClient()
            await admin.connect(server.url)
            await admin.jetstream().add_stream(name="all", subjects=["_STAN.>"])
            await admin.close()
            with pytest.raises(NotStreaming, match="something other"):
                await party.client("one")
        finally:
            await party.end()
            await asyncio.to_thread(server.stop)
