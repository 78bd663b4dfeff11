"""The transport over NATS Streaming and the real server: client ids, deliveries, and error texts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payment.adapters.nats.streaming.transport import PERSISTENT_S, StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.ports.transport import Delivery, TransportUnavailable
from tests.contract.transport_contract import CANCELLED, CREATED, PAID, keep
from tests.support.servers.nats import NatsServer
from tests.support.servers.nats_streaming import CLUSTER_ID, NatsStreamingServer
from tests.unit.adapters.nats.streaming_world import Skipping, StreamingStack, server, stack, until

pytestmark = [pytest.mark.servers, pytest.mark.slow]

__all__ = ["server", "stack"]


class TestTheClientId:
    async def test_a_taken_client_id_is_reported_with_what_to_do(self, stack: StreamingStack) -> None:
        """F40: at once, once more after a minute, and no third time; when the other client goes, this one connects."""
        clock = Skipping()
        other = await stack.member("payment", CREATED)
        one = await stack.member("payment", CREATED, up=False, clock=clock)
        await one.until(lambda: len(one.reported) == 1)
        clock.ahead_s += PERSISTENT_S
        await one.until(lambda: len(one.reported) == 2)
        assert one.reported[0] == one.reported[1]
        assert one.reported[0].startswith(f"disconnected: NATS Streaming at 127.0.0.1:{stack.server.port}: ")
        for word in ("another living client", "'payment'", "NATS_CLIENT_ID", "DYNO"):
            assert word in one.reported[0]
        with pytest.raises(TransportUnavailable, match="another living client"):
            await one.publish(PAID, b"not now")
        await other.transport.close()
        await one.up()
        assert len(one.reported) == 3

    async def test_a_client_whose_session_is_taken_over_comes_back(self, stack: StreamingStack) -> None:
        """F40: while the holder's connection is silent another client takes over; the first reports it and waits."""
        one = await stack.process("payment")
        one.pause()
        other = await stack.member("payment", CREATED)
        one.resume()
        await until(lambda: one.reported() == ["connected", "disconnected"], "it noticed", deadline_s=10)
        await other.transport.close()
        await until(lambda: one.reported() == ["connected", "disconnected", "connected"], "it is back", deadline_s=10)


class TestOneSubjectInTrouble:
    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
        server = NatsStreamingServer(tmp_path, options=("-mc", "1"))
        await asyncio.to_thread(server.start)
        yield server
        await asyncio.to_thread(server.stop)

    async def test_it_is_reported_once_and_holds_up_no_other(self, stack: StreamingStack) -> None:
        """With a server that accepts no second channel events of the first go on; once it does, the transport
        recovers.
        """
        first = await stack.member("first", CREATED)
        one = await stack.member("one", CREATED, CANCELLED, up=False)
        await one.until(lambda: len(one.reported) == 1)
        assert one.reported[0].startswith("disconnected: order:cancelled: NATS Streaming at 127.0.0.1:")
        assert "answers 'too many channels': its limit max_channels is reached" in one.reported[0]
        sent = [b"%d" % number for number in range(10)]
        await one.publish(CREATED, *sent)
        await until(lambda: {*first.data, *one.data} == set(sent), "the first subject's events arrive")
        with pytest.raises(TransportUnavailable, match="too many channels"):
            await one.publish(PAID, b"no room")
        stack.server.command[-1] = "10"
        await stack.restart()
        await one.up()
        await one.publish(CANCELLED, b"now")
        await one.got_data(b"now")


class TestDelivering:
    async def test_poison_among_good_events_blocks_none_of_them(self, stack: StreamingStack) -> None:
        """F30: 50 events that are never acknowledged are redelivered again and again; each good one among them comes
        once.
        """

        async def never_ack_poison(delivery: Delivery) -> None:
            if not delivery.data.startswith(b"poison"):
                await delivery.ack()

        one = await stack.member("one", CREATED, handle=never_ack_poison, ack_wait_s=1)
        good = [b"%d" % number for number in range(200)]
        for number, each in enumerate(good):
            await one.publish(CREATED, each, *([b"poison %d" % number] if number % 4 == 0 else []))
        await one.got_data(*good)
        assert all(one.data.count(each) == 1 for each in good)

    async def test_an_event_that_can_not_be_written_now_comes_again_after_the_delay_asked_for(
        self, stack: StreamingStack
    ) -> None:
        """F25: without waiting for the server's ack wait, as often as need be; its count rises each time."""

        async def write_at_the_fourth(delivery: Delivery) -> None:
            await (delivery.ack() if delivery.redelivered == 3 else delivery.retry(0.01 * 2**delivery.redelivered))

        one = await stack.member("one", CREATED, handle=write_at_the_fourth)
        await one.publish(CREATED, b"1")
        await one.until(lambda: len(one.got) == 4)
        assert [each.redelivered for each in one.got] == [0, 1, 2, 3]
        await one.publish(CREATED, b"2")
        await one.until(lambda: len(one.got) == 8)

    async def test_handling_that_outlasts_the_ack_wait_is_not_done_twice_at_once(self, stack: StreamingStack) -> None:
        """F29: the server redelivers it again and again; only one handler handles it."""
        at_work, most, room = 0, 0, asyncio.Event()

        async def be_slow(delivery: Delivery) -> None:
            nonlocal at_work, most
            at_work, most = at_work + 1, max(most, at_work + 1)
            await (room.wait() if delivery.data == b"slow" else asyncio.sleep(0))
            at_work -= 1
            await delivery.ack()

        one = await stack.member("one", CREATED, CANCELLED, handle=be_slow, ack_wait_s=1)
        two = await stack.member("two", PAID, handle=keep, ack_wait_s=1)
        await two.publish(CREATED, b"slow")
        await one.got_data(b"slow")
        await two.publish(PAID, b"clock")
        await two.until(lambda: two.data.count(b"clock") == 3)  # two ack waits have passed
        room.set()
        await two.publish(CREATED, b"next")
        await one.got_data(b"next")
        assert (one.data, most) == ([b"slow", b"next"], 1)

    async def test_2_000_unacknowledged_at_once_arrive_all(self, stack: StreamingStack) -> None:
        """The first member that returns to its group gets all unacknowledged events at once."""
        away = [await stack.member(f"away-{number}", CREATED, handle=keep) for number in range(4)]
        publisher = await stack.member("publisher")
        sent = [b"%d" % number for number in range(2_000)]
        await asyncio.gather(*(publisher.publish(CREATED, each) for each in sent))
        await until(lambda: sum(len(each.got) for each in away) == 2_000, "all are held")
        for each in away:
            await each.transport.close()
        one = await stack.member("one", CREATED)
        await one.got_data(*sent)
        assert len(one.got) == 2_000

    async def test_stopping_gives_back_what_was_not_handed_over(self, stack: StreamingStack) -> None:
        """F33: another member gets them in a second or two, while the handler still hangs, long before the ack wait."""

        async def hold(_: Delivery) -> None:
            await asyncio.Event().wait()

        one = await stack.member("one", CREATED, handle=hold)
        await one.publish(CREATED, *(b"%d" % number for number in range(10)))
        await one.got_data(b"0")
        two = await stack.member("two", CREATED)
        await one.transport.stop_consuming()
        await two.got_data(*(b"%d" % number for number in range(1, 10)))
        assert one.data == [b"0"]

    async def test_a_handler_that_raises_ends_run(self, stack: StreamingStack) -> None:
        """F32: a bug of the service is not the broker's fault: the actor must get the exception."""

        async def fail(_: Delivery) -> None:
            raise ZeroDivisionError

        one = await stack.member("one", CREATED, handle=fail)
        await one.publish(CREATED, b"1")
        with pytest.raises(ZeroDivisionError):
            await one.until(lambda: False)


class TestCheck:
    async def test_check_names_the_server_and_disturbs_no_session(self, stack: StreamingStack) -> None:
        """The text of --check; a running service of the same client id keeps its session."""
        one = await stack.member("payment", CREATED)
        found = await stack.transport("payment").check()
        assert found.startswith(
            f"NATS Streaming, cluster id 'ticketing', at 127.0.0.1:{stack.server.port}, NATS server 2"
        )
        await one.publish(CREATED, b"1")
        await one.got_data(b"1")
        assert one.reported == ["connected"]

    async def test_a_wrong_cluster_id_is_reported_as_such(self, stack: StreamingStack) -> None:
        """By --check and while running, with the variable to correct; not as a time-out."""
        with pytest.raises(TransportUnavailable, match=r"cluster id 'staging'.*NATS_CLUSTER_ID"):
            await stack.transport("one", cluster_id="staging").check()
        one = await stack.member("one", CREATED, up=False, cluster_id="staging")
        await one.until(lambda: len(one.reported) == 1, deadline_s=2)
        assert "no NATS Streaming with the cluster id 'staging'" in one.reported[0]

    async def test_plain_nats_is_reported_as_such(self, tmp_path: Path) -> None:
        """A NATS server without NATS Streaming, by its address."""
        plain = NatsServer(tmp_path / "plain", jetstream=False)
        await asyncio.to_thread(plain.start)
        try:
            transport = StreamingTransport(
                [plain.url], CLUSTER_ID, "one", "payment-service", RandomIds(), SystemClock()
            )
            with pytest.raises(TransportUnavailable, match=f"NATS at 127.0.0.1:{plain.port}: .*this is plain NATS"):
                await transport.check()
        finally:
            await asyncio.to_thread(plain.stop)
