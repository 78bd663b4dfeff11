"""JetStream keeps the transports' contract, and the rules about streams, against a real nats-server."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from payment.adapters.nats.jetstream.api import OUR_MARK
from payment.adapters.nats.jetstream.transport import JetStreamTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.ports.transport import Delivery, EventTransport, PublishRefused, TransportUnavailable
from tests.contract.transport_contract import CANCELLED, CREATED, PAID, Member, Members, TransportContract
from tests.support.servers.nats import NatsServer
from tests.support.servers.process import free_port

REFUNDED = "payment:refunded"
OURS = [PAID, REFUNDED, "payment:refund_failed", "payment:disputed"]
SUBJECTS = [CREATED, CANCELLED, *OURS]
GUARDED = """
authorization { users [
  { user: admin, password: admin-pass },
  { user: pay, password: pay-pass,
    permissions { publish { deny: ["$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>"] } } }
] }
"""


class JetStreamBench:
    deduplicates = True
    forgets = False

    def __init__(self, server: NatsServer, ack_wait_s: float = 1.0) -> None:
        self.server = server
        self.url = server.url
        self.ack_wait_s = ack_wait_s

    def transport(self, name: str, group: str = "payment-service") -> EventTransport:
        return JetStreamTransport(
            [self.url], name, group, "ticketing", RandomIds(), SystemClock(), ack_wait_s=self.ack_wait_s
        )

    async def kill(self) -> None:
        self.server.kill()

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def begin_anew(self) -> None:
        self.server.kill()
        shutil.rmtree(self.server.data)
        await self.start()


class Admin:
    """Another program's access to the server: plain requests to JetStream's API."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await self._client.request(f"$JS.API.{path}", data, timeout=5)).data)
        return answer

    async def make_stream(self, name: str, *subjects: str, **config: Any) -> None:
        answer = await self.ask(f"STREAM.CREATE.{name}", {"name": name, "subjects": list(subjects), **config})
        assert "error" not in answer, answer

    async def subjects(self, name: str) -> list[str] | None:
        subjects: list[str] | None = (await self.ask(f"STREAM.INFO.{name}")).get("config", {}).get("subjects")
        return subjects


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    server = NatsServer(tmp_path)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.fixture
def bench(server: NatsServer) -> JetStreamBench:
    return JetStreamBench(server)


@pytest.fixture
async def admin(server: NatsServer) -> AsyncIterator[Admin]:
    client = Client()
    await client.connect(servers=[server.url])
    yield Admin(client)
    await client.close()


@pytest.fixture
async def members(bench: JetStreamBench) -> AsyncIterator[Members]:
    members = Members(bench)
    yield members
    await members.stop()


class TestJetStream(TransportContract):
    @pytest.fixture
    def bench(self, server: NatsServer) -> JetStreamBench:
        return JetStreamBench(server)


class TestStreams:
    """Each of the six subjects uses the stream that stores it; subjects without a stream go to one of the service."""

    async def test_one_stream_is_made_for_all_where_there_is_none(self, members: Members, admin: Admin) -> None:
        """On an empty server NATS_STREAM is created, with all six subjects."""
        await members.join(CREATED, CANCELLED)
        assert sorted(await admin.subjects("ticketing") or ()) == sorted(SUBJECTS)

    async def test_a_subject_stays_in_the_stream_that_holds_it(self, members: Members, admin: Admin) -> None:
        """A stream that stores one of the six is used for it, a work queue too; the others go to the service's
        stream.
        """
        await admin.make_stream("orders", CREATED, retention="workqueue")
        one = await members.join(CREATED, CANCELLED)
        await one.publish(CREATED, b"1")
        await one.publish(CANCELLED, b"2")
        await one.got_data(b"1", b"2")
        assert sorted(await admin.subjects("ticketing") or ()) == sorted([CANCELLED, *OURS])
        assert {each.identity.rpartition(":")[0] for each in one.got} == {"orders:1", "ticketing:1"}

    async def test_a_wildcard_stream_is_used_as_it_is(self, members: Members, admin: Admin) -> None:
        """A stream that stores the subjects by a wildcard is used for all, and none is created."""
        await admin.make_stream("all", "*")
        one = await members.join(CREATED)
        await one.publish(CREATED, b"1")
        await one.publish(PAID, b"2")
        await one.got_data(b"1")
        assert await admin.subjects("ticketing") is None

    async def test_a_name_that_is_taken_is_left_alone(self, members: Members, admin: Admin) -> None:
        """Where another program created NATS_STREAM, NATS_STREAM-payments is created and the other is not changed."""
        await admin.make_stream("ticketing", CREATED, "ticket:created")
        one = await members.join(CREATED)
        await one.publish(PAID, b"1")
        assert await admin.subjects("ticketing") == [CREATED, "ticket:created"]
        assert sorted(await admin.subjects("ticketing-payments") or ()) == sorted(OURS)

    async def test_our_own_stream_gets_a_subject_that_it_lacks(self, members: Members, admin: Admin) -> None:
        """The service's stream of an earlier release is extended; its other settings stay."""
        await admin.make_stream("ticketing", CREATED, PAID, description=OUR_MARK, max_msgs=50_000)
        one = await members.join(CREATED, CANCELLED)
        await one.publish(REFUNDED, b"1")
        assert sorted(await admin.subjects("ticketing") or ()) == sorted(SUBJECTS)
        assert (await admin.ask("STREAM.INFO.ticketing"))["config"]["max_msgs"] == 50_000

    async def test_a_full_stream_refuses_with_its_reason(self, members: Members, admin: Admin) -> None:
        """F54: the stream exists and refuses events; the transport itself is well, and incoming events go on."""
        await admin.make_stream("ticketing", *SUBJECTS, discard="new")
        one = await members.join(CREATED, CANCELLED)
        full = {"name": "ticketing", "subjects": SUBJECTS, "discard": "new", "max_msgs": 1}
        await admin.ask("STREAM.UPDATE.ticketing", full)
        await one.publish(PAID, b"1")
        with pytest.raises(PublishRefused, match="maximum messages exceeded"):
            await one.publish(PAID, b"2")
        await admin.ask("STREAM.UPDATE.ticketing", {"name": "ticketing", "subjects": SUBJECTS, "discard": "new"})
        await one.publish(PAID, b"2")
        assert one.reported[0] == "connected"

    async def test_a_consumer_that_is_there_is_used_as_it_is(self, members: Members, admin: Admin) -> None:
        """A durable with the consumer's name and other settings, limits on pulls among them, is neither changed nor
        refused.
        """
        await admin.make_stream("orders", CREATED)
        name = "payment-service-order:created"
        config = {"durable_name": name, "ack_policy": "explicit", "max_batch": 2, "max_expires": 10**9}
        await admin.ask(f"CONSUMER.CREATE.orders.{name}", {"stream_name": "orders", "config": {**config, "name": name}})
        one = await members.join(CREATED)
        await one.publish(CREATED, b"1", b"2", b"3", b"4", b"5")
        await one.got_data(b"1", b"2", b"3", b"4", b"5")
        info = await admin.ask(f"CONSUMER.INFO.orders.{name}")
        assert (info["config"]["max_batch"], info["config"]["ack_wait"]) == (2, 30 * 10**9)

    async def test_a_new_consumer_has_the_settings_of_the_contract(self, members: Members, admin: Admin) -> None:
        """Durable by group and subject, explicit ack, deliver all, no max_deliver; a name takes no dot."""
        await members.join(CREATED, group="payment.service")
        config = (await admin.ask("CONSUMER.INFO.ticketing.payment_service-order:created"))["config"]
        assert (config["ack_policy"], config["deliver_policy"], config["max_deliver"]) == ("explicit", "all", -1)

    async def test_a_deleted_consumer_is_made_again(self, members: Members, admin: Admin) -> None:
        """It is not reported, and events go on."""
        one = await members.join(CREATED)
        await admin.ask("CONSUMER.DELETE.ticketing.payment-service-order:created")
        await one.publish(CREATED, b"1")
        await one.got_data(b"1")
        assert one.reported == ["connected"]

    async def test_a_deleted_stream_is_made_again(self, members: Members, admin: Admin) -> None:
        """A publish fails; the stream is searched again, and the next publish passes."""
        one = await members.join(CREATED)
        await admin.ask("STREAM.DELETE.ticketing")
        await publish_when_possible(one, PAID)
        await publish_when_possible(one, CREATED)
        await one.until(lambda: b"x" in one.data)


class TestWithoutPermission:
    """Without permission to create a stream, events that can't be published wait, are reported once, and hold up
    nothing else.
    """

    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[NatsServer]:
        server = NatsServer(tmp_path, config=GUARDED)
        await asyncio.to_thread(server.start)
        yield server
        await asyncio.to_thread(server.stop)

    @pytest.fixture
    async def admin(self, server: NatsServer) -> AsyncIterator[Admin]:
        client = Client()
        await client.connect(servers=[server.url_for("admin", "admin-pass")])
        yield Admin(client)
        await client.close()

    async def test_the_rest_goes_on_and_a_stream_that_appears_later_is_found(
        self, server: NatsServer, admin: Admin, members: Members, bench: JetStreamBench
    ) -> None:
        """It is reported once, without a credential; events are consumed in the meantime; the transport recovers once
        the stream exists.
        """
        bench.url = server.url_for("pay", "pay-pass")
        await admin.make_stream("orders", CREATED, CANCELLED)
        await admin.make_stream("refunds", *OURS[1:])
        one = Member(bench.transport("one"))
        await one.start(CREATED, CANCELLED)
        try:
            await one.until(lambda: len(one.reported) == 1)
            assert "payment:created: " in one.reported[0]
            assert "permission denied" in one.reported[0]
            assert "pay-pass" not in one.reported[0]
            await one.publish(CREATED, b"1")
            await one.publish(REFUNDED, b"2")
            await one.got_data(b"1")
            with pytest.raises(TransportUnavailable, match="permission denied"):
                await one.publish(PAID, b"3")
            await admin.make_stream("payments", PAID)
            await one.up()
            await one.publish(PAID, b"3")
            assert len(one.reported) == 2
        finally:
            await one.stop()

    async def test_a_wrong_password_is_not_shown(self, server: NatsServer, bench: JetStreamBench) -> None:
        """The reason has the address and the server's own text."""
        bench.url = server.url_for("pay", "wr0ng-pass")
        with pytest.raises(TransportUnavailable) as refused:
            await bench.transport("one").check()
        assert str(refused.value) == (
            f"NATS at 127.0.0.1:{server.port}: the server does not take our user, password, token or key "
            "(authorization violation)"
        )


class TestConnection:
    async def test_check_names_server_and_version(self, server: NatsServer, bench: JetStreamBench) -> None:
        """The text of --check."""
        found = await bench.transport("one").check()
        assert found.startswith(f"JetStream at 127.0.0.1:{server.port}, server 2.")

    async def test_an_unreachable_server_is_reported_once_without_credentials(self) -> None:
        """F28: the connection is refused: one call with the address and no password, and `run` goes on trying."""
        port = free_port()
        server = f"nats://user:s3cret@127.0.0.1:{port}"
        transport = JetStreamTransport([server], "one", "payment-service", "ticketing", RandomIds(), SystemClock())
        tried = asyncio.Event()

        class Watcher(Member):
            def disconnected(self, reason: str) -> None:
                super().disconnected(reason)
                tried.set()

        one = Watcher(transport)
        await one.start(CREATED)
        await tried.wait()
        with pytest.raises(TransportUnavailable) as refused:
            await transport.check()
        await one.stop()
        assert one.reported == [f"disconnected: NATS at 127.0.0.1:{port}: Connection refused"]
        assert str(refused.value) == f"NATS at 127.0.0.1:{port}: Connection refused"

    @pytest.mark.parametrize("address", ["nats://user:s3/cret@127.0.0.1:4222", "nats://user:s3cret@:4222"])
    async def test_an_address_that_can_not_be_read_is_not_quoted(self, address: str) -> None:
        """With a password with an unescaped slash, or without a host, it is unavailable, and no part of it is in the
        reason.
        """
        transport = JetStreamTransport([address], "one", "payment-service", "ticketing", RandomIds(), SystemClock())
        with pytest.raises(TransportUnavailable) as refused:
            await transport.check()
        assert "s3" not in str(refused.value)
        assert "cret" not in str(refused.value)

    async def test_a_server_without_jetstream_is_reported_and_waited_for(self, tmp_path: Path) -> None:
        """A NATS server without JetStream is reported once; with JetStream the transport recovers."""
        plain = NatsServer(tmp_path, jetstream=False)
        await asyncio.to_thread(plain.start)
        bench = JetStreamBench(plain)
        one = Member(bench.transport("one"))
        await one.start(CREATED)
        try:
            await one.until(lambda: len(one.reported) == 1)
            assert one.reported[0].startswith("disconnected: ")
            assert "JetStream is not enabled" in one.reported[0]
            with pytest.raises(TransportUnavailable, match="JetStream is not enabled"):
                await bench.transport("two").check()
            await asyncio.to_thread(plain.stop)
            plain.command += ["--jetstream", "--store_dir", str(plain.data)]
            await asyncio.to_thread(plain.start)
            await one.up()
            await one.publish(CREATED, b"1")
            await one.got_data(b"1")
        finally:
            await one.stop()
            await asyncio.to_thread(plain.stop)

    async def test_a_paused_server_is_noticed_and_found_again(self, members: Members, server: NatsServer) -> None:
        """F28: a peer that keeps its socket open and answers nothing is given up within 10 s; then the transport
        recovers.
        """
        one = await members.join(CREATED)
        server.pause()
        try:
            waiting = asyncio.create_task(one.publish(PAID, b"held"))
            waiting.add_done_callback(lambda task: task.exception())
            await one.until(lambda: len(one.reported) == 2, deadline_s=10)
            # SIGSTOP takes a moment to reach every thread, so this event may have been stored: the publish ends in any
            # case.
            await asyncio.wait([waiting], timeout=1)
            assert waiting.done()
            with pytest.raises(TransportUnavailable):
                await one.publish(PAID, b"not now")
        finally:
            server.resume()
        await one.up()
        await one.publish(CREATED, b"1")
        await one.got_data(b"1")

    async def test_stopping_gives_back_what_was_fetched_and_not_handed_over(self, server: NatsServer) -> None:
        """F33: another member gets them at once, long before the ack wait."""
        bench = JetStreamBench(server, ack_wait_s=60.0)
        members, never = Members(bench), asyncio.Event()

        async def hold(_: Delivery) -> None:
            await never.wait()

        one = await members.join(CREATED, handle=hold)
        await one.publish(CREATED, *(b"%d" % number for number in range(10)))
        await one.got_data(b"0")
        two = await members.join(CREATED)
        await one.transport.stop_consuming()
        await two.got_data(*(b"%d" % number for number in range(1, 10)))
        assert one.data == [b"0"]
        await members.stop()

    async def test_a_handler_that_raises_ends_run(self, bench: JetStreamBench) -> None:
        """F32: a bug of the service is not the broker's fault: the actor must get the exception."""

        async def fail(_: Delivery) -> None:
            raise ZeroDivisionError

        one = await Member(bench.transport("one"), fail).start(CREATED)
        await one.up()
        await one.publish(CREATED, b"1")
        with pytest.raises(ZeroDivisionError):
            await one.until(lambda: False)
        await one.stop()


async def publish_when_possible(member: Member, subject: str) -> None:
    """Publish as the actor does: repeat while the transport refuses."""
    async with asyncio.timeout(10):
        while True:
            try:
                await member.publish(subject, b"x")
            except TransportUnavailable:
                await asyncio.sleep(0)
            else:
                return
