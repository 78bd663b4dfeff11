"""The transport over NATS Streaming and deaths: of the service's process, of the server, or of the server of a living
NATS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payment.ports.transport import Delivery, TransportUnavailable
from tests.contract.transport_contract import CREATED, PAID, keep
from tests.support.servers.nats import NatsServer
from tests.support.servers.nats_streaming import QUICK_HEARTBEATS, NatsStreamingServer
from tests.unit.adapters.nats.streaming_world import Hurried, StreamingStack, server, stack, until, words

pytestmark = [pytest.mark.servers, pytest.mark.slow]

__all__ = ["server", "stack"]


class TestOurOwnDeath:
    async def test_kill_9_and_back_under_the_same_client_id(self, stack: StreamingStack) -> None:
        """F40: the new process takes the id over at once and gets the unacknowledged events of the old one at once."""
        one = await stack.process("payment", ack_mode="keep")
        publisher = await stack.member("publisher")
        await publisher.publish(CREATED, b"1", b"2")
        await until(lambda: set(one.got()) == {"1", "2"}, "both are held")
        one.kill()
        await asyncio.to_thread(one.start)
        await until(lambda: sorted(one.got()) == ["1", "1", "2", "2"], "both come again")

    async def test_the_events_of_a_dead_member_come_to_the_others(self, stack: StreamingStack) -> None:
        """F40: a group of two and a third member that dies with unacknowledged events: none is lost, and the others get
        them.
        """
        dying = await stack.process("dying", ack_wait_s=1, ack_mode="keep")
        one, two = [await stack.member(name, CREATED, ack_wait_s=1) for name in ("one", "two")]
        publisher = await stack.member("publisher")
        sent = [b"%d" % number for number in range(30)]
        await publisher.publish(CREATED, *sent[:15])
        await until(lambda: bool(dying.got()), "the third has a share")
        dying.kill()
        await publisher.publish(CREATED, *sent[15:])
        await until(lambda: set(one.data) | set(two.data) == set(sent), "the two have them all")

    async def test_a_process_stopped_for_longer_than_its_heartbeats_allow_comes_back(
        self, stack: StreamingStack
    ) -> None:
        """F34, F40: it wakes in a lost session, detects it, and opens the next: nothing is lost."""
        one = await stack.process("payment")
        publisher = await stack.member("publisher")
        await publisher.publish(CREATED, b"before")
        # If it were stopped before that, it would get the event once more.
        await until(lambda: one.acked() == ["before"], "it works")
        one.pause()
        await asyncio.to_thread(stack.server.wait_for_line, "Timed out on heartbeats")
        await publisher.publish(CREATED, b"meanwhile")
        one.resume()
        await until(lambda: one.got() == ["before", "meanwhile"], "it is back", deadline_s=20)
        assert one.reported() == ["connected", "disconnected", "connected"]


class TestTheServersDeath:
    async def test_a_restart_with_its_data_loses_nothing(self, stack: StreamingStack) -> None:
        """F40: held events are redelivered with their identity; acknowledged ones aren't; each change is reported
        once.
        """

        async def ack_all_but_held(delivery: Delivery) -> None:
            if delivery.data != b"held" or delivery.redelivered:
                await delivery.ack()

        one = await stack.member("one", CREATED, handle=ack_all_but_held)
        await one.publish(CREATED, b"done", b"held")
        await one.got_data(b"done", b"held")
        await stack.restart()
        await one.until(lambda: one.data.count(b"held") == 2)
        await one.up()
        await one.publish(CREATED, b"after")
        await one.got_data(b"after")
        assert one.data.count(b"done") == 1
        assert one.got[1].identity == one.got[2].identity
        assert words(one) == ["connected", "disconnected", "connected"]

    @pytest.mark.parametrize("server", ["memory"], indirect=True)
    async def test_a_restart_without_its_data_is_survived(self, stack: StreamingStack) -> None:
        """F40: a memory store loses the session and counts from 1 again: a new event has its own identity, and an
        earlier ack does not settle it.
        """
        one = await stack.member("one", CREATED, handle=keep, ack_wait_s=1)
        await one.publish(CREATED, b"old")
        await one.got_data(b"old")
        await stack.restart()
        await one.until(lambda: words(one) == ["connected", "disconnected", "connected"])
        await one.publish(CREATED, b"new")
        await one.got_data(b"new")
        old, new = one.got
        assert old.identity.split(":")[:4] == new.identity.split(":")[:4]
        assert old.identity != new.identity
        await old.ack()
        await one.until(lambda: one.data.count(b"new") == 2)

    async def test_an_event_acknowledged_while_the_server_died_is_there(self, stack: StreamingStack) -> None:
        """F28: when a session is lost while publishing, each publish soon succeeds and is stored, or fails."""
        publisher = await stack.member("publisher")
        stored: list[bytes] = []
        enough = asyncio.Event()

        async def publish(number: int) -> None:
            data = b"%d" % number
            try:
                await publisher.transport.publish(PAID, data, "")
            except TransportUnavailable:
                return
            stored.append(data)
            if len(stored) == 500:
                enough.set()

        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                for number in range(5_000):
                    group.create_task(publish(number))
                await enough.wait()
                stack.server.kill()
        assert 500 <= len(stored) < 5_000
        await asyncio.to_thread(stack.server.start)
        await publisher.up()
        reader = await stack.member("reader", PAID)
        await reader.got_data(*stored)

    async def test_a_server_stopped_for_longer_than_every_deadline_is_noticed_and_found_again(
        self, stack: StreamingStack
    ) -> None:
        """F40: within 20 s; publishes fail in between; afterwards the transport works again."""
        one = await stack.member("one", CREATED)
        stack.server.pause()
        try:
            await one.until(lambda: len(one.reported) == 2, deadline_s=20)
            with pytest.raises(TransportUnavailable):
                await one.publish(PAID, b"not now")
        finally:
            stack.server.resume()
        await one.up()
        await one.publish(CREATED, b"1")
        await one.got_data(b"1")
        assert words(one) == ["connected", "disconnected", "connected"]


class TestNatsWithoutTheServer:
    """NATS Streaming as a client of a separate NATS: it dies, and the connection to NATS lives."""

    @pytest.fixture
    async def nats(self, tmp_path: Path) -> AsyncIterator[NatsServer]:
        nats = NatsServer(tmp_path / "nats", jetstream=False)
        await asyncio.to_thread(nats.start)
        yield nats
        await asyncio.to_thread(nats.stop)

    @pytest.fixture
    async def server(
        self, nats: NatsServer, request: pytest.FixtureRequest, tmp_path: Path
    ) -> AsyncIterator[NatsStreamingServer]:
        memory = getattr(request, "param", "file") == "memory"
        server = NatsStreamingServer(tmp_path, memory=memory, options=QUICK_HEARTBEATS, nats_url=nats.url)
        await asyncio.to_thread(server.start)
        yield server
        await asyncio.to_thread(server.stop)

    async def test_its_death_is_noticed_by_the_pings_and_reported_as_what_it_is(self, stack: StreamingStack) -> None:
        """F40: pings get no answer; when the server is back, the session is too, with the held events."""
        one = await stack.member("one", CREATED, handle=keep, clock=Hurried())
        await one.publish(CREATED, b"held")
        await one.got_data(b"held")
        stack.server.kill()
        await one.until(lambda: len(one.reported) == 2)
        assert one.reported[1].endswith("has not answered a ping for 8 s")
        with pytest.raises(TransportUnavailable):
            await one.publish(PAID, b"not now")
        await asyncio.to_thread(stack.server.start)
        await one.until(lambda: one.data.count(b"held") == 2)
        assert words(one) == ["connected", "disconnected", "connected"]

    @pytest.mark.parametrize("server", ["memory"], indirect=True)
    async def test_a_session_that_the_server_forgot_ends_at_the_next_ping(self, stack: StreamingStack) -> None:
        """F40: a memory store was restarted and nothing else shows it: a new session subscribes again."""
        one = await stack.member("one", CREATED, clock=Hurried())
        await stack.restart()
        await one.until(lambda: words(one) == ["connected", "disconnected", "connected"])
        assert "client has been replaced or is no longer registered" in one.reported[1]
        await one.publish(CREATED, b"1")
        await one.got_data(b"1")
