"""The contract of `EventTransport`: JetStream, NATS Streaming, the fake and the simulated bus run it.

A subclass gives the fixture `bench`. No test sleeps: it waits with a deadline for an expected event, and where no event
must come it waits for a later one that is certain to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import pytest

from payment.ports.transport import Delivery, EventTransport, TransportUnavailable

CREATED, CANCELLED, PAID = "order:created", "order:cancelled", "payment:created"
DEADLINE_S = 15.0


class Bench(Protocol):
    """A broker under test, and transports to it. Its ack wait is 1 s."""

    deduplicates: bool
    forgets: bool
    """A restart loses the events that there were."""

    def transport(self, name: str, group: str = "payment-service") -> EventTransport:
        """Returns another transport, as another process would have."""

    async def kill(self) -> None:
        """End the broker without a warning; its data stay."""

    async def start(self) -> None:
        """Start it again where it was."""

    async def begin_anew(self) -> None:
        """Let the broker lose everything and count from 1 again, or replace it by another one."""


class Member:
    """A running transport, and a record of its listener's calls and its events."""

    def __init__(self, transport: EventTransport, handle: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        self.transport = transport
        self.got: list[Delivery] = []
        self.reported: list[str] = []
        self.shown = ""
        """The reason of the last `reason_changed`."""
        self.notices: list[str] = []
        self._handle = handle or (lambda delivery: delivery.ack())
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def connected(self) -> None:
        self.reported.append("connected")
        self._changed.set()

    def disconnected(self, reason: str) -> None:
        self.reported.append(f"disconnected: {reason}")
        self._changed.set()

    def reason_changed(self, reason: str) -> None:
        self.shown = reason
        self._changed.set()

    def noticed(self, text: str, *, alarm: bool) -> None:
        self.notices.append(f"alarm: {text}" if alarm else text)
        self._changed.set()

    async def start(self, *subjects: str) -> Member:
        self._task = asyncio.create_task(self.transport.run(dict.fromkeys(subjects, self._on_event), self))
        self._task.add_done_callback(lambda _: self._changed.set())
        return self

    async def until(self, met: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait until `met()` holds; the transport's own end fails the test."""
        async with asyncio.timeout(deadline_s):
            while not met():
                self._changed.clear()
                if self._task is not None and self._task.done():
                    self._task.result()
                    raise AssertionError("run returned")
                await self._changed.wait()

    async def up(self) -> Member:
        await self.until(lambda: bool(self.reported) and self.reported[-1] == "connected")
        return self

    async def got_data(self, *data: bytes) -> None:
        await self.until(lambda: set(data) <= set(self.data))

    async def publish(self, subject: str, *data: bytes) -> None:
        for each in data:
            await self.transport.publish(subject, each, f"{subject} {each.decode()}")

    @property
    def data(self) -> list[bytes]:
        return [delivery.data for delivery in self.got]

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=DEADLINE_S)
            assert self._task.done(), "run did not end when it was cancelled"
        await self.transport.close()

    async def _on_event(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        self._changed.set()
        await self._handle(delivery)


class Members:
    """Makes members and stops them at the end."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._made: list[Member] = []

    async def join(
        self,
        *subjects: str,
        handle: Callable[[Delivery], Awaitable[None]] | None = None,
        group: str = "payment-service",
    ) -> Member:
        """Returns a connected member that subscribes to the subjects."""
        member = Member(self._bench.transport(f"member-{len(self._made)}", group), handle)
        self._made.append(member)
        await member.start(*subjects)
        return await member.up()

    async def stop(self) -> None:
        for member in self._made:
            await member.stop()


async def keep(_: Delivery) -> None:
    """Leave an event without an ack."""


class TransportContract:
    """Inherited by one test class for each transport."""

    @pytest.fixture
    async def members(self, bench: Bench) -> AsyncIterator[Members]:
        members = Members(bench)
        yield members
        await members.stop()

    async def test_a_published_event_arrives_at_a_subscriber(self, members: Members) -> None:
        """Subject and bytes arrive unchanged, with an identity, as a first delivery."""
        one, other = await members.join(CREATED), await members.join()
        await other.publish(CREATED, b'{"id": "\xc3\xa4"}')
        await one.got_data(b'{"id": "\xc3\xa4"}')
        delivery = one.got[0]
        assert (delivery.subject, delivery.redelivered, bool(delivery.identity)) == (CREATED, 0, True)

    async def test_only_an_unacknowledged_event_is_delivered_again(self, members: Members) -> None:
        """F08: after the ack wait the same event is redelivered with the same identity; an acknowledged one never."""

        async def ack_the_first(delivery: Delivery) -> None:
            if delivery.data == b"first" or delivery.redelivered:
                await delivery.ack()

        one = await members.join(CREATED, handle=ack_the_first)
        await one.publish(CREATED, b"first", b"second")
        await one.until(lambda: one.data.count(b"second") == 2)
        assert one.data == [b"first", b"second", b"second"]
        assert one.got[1].identity == one.got[2].identity != one.got[0].identity
        assert [each.redelivered for each in one.got] == [0, 0, 1]

    async def test_no_two_events_have_one_identity_though_the_broker_counts_from_1_again(
        self, members: Members, bench: Bench
    ) -> None:
        """F30: otherwise a bad event would count as one that was kept before, and be lost."""
        before = await members.join(CREATED)
        await before.publish(CREATED, b"old")
        await before.got_data(b"old")
        await members.stop()
        await bench.begin_anew()
        after = await members.join(CREATED)
        await after.publish(CREATED, b"new")
        await after.got_data(b"new")
        assert before.got[0].identity != after.got[0].identity

    async def test_retry_brings_the_same_event_again(self, members: Members) -> None:
        """A retried event comes again with its identity, marked as redelivered."""

        async def retry_once(delivery: Delivery) -> None:
            await (delivery.ack() if delivery.redelivered else delivery.retry(0.05))

        one = await members.join(CREATED, handle=retry_once)
        await one.publish(CREATED, b"again")
        await one.until(lambda: len(one.got) == 2)
        assert one.got[0].identity == one.got[1].identity
        assert one.got[1].redelivered == 1

    async def test_poison_does_not_block_those_behind_it(self, members: Members) -> None:
        """F30: an event that is never acknowledged holds up no other."""

        async def refuse_poison(delivery: Delivery) -> None:
            await (delivery.retry(0.2) if delivery.data == b"poison" else delivery.ack())

        one = await members.join(CREATED, handle=refuse_poison)
        await one.publish(CREATED, b"poison", b"1", b"2", b"3")
        await one.got_data(b"1", b"2", b"3")

    async def test_a_group_shares_its_events(self, members: Members) -> None:
        """F01: each event goes to one member of a group."""
        sent, handled, all_handled = [b"%d" % number for number in range(20)], [], asyncio.Event()

        async def count(delivery: Delivery) -> None:
            await delivery.ack()
            handled.append(delivery.data)
            if len(handled) >= len(sent):
                all_handled.set()

        one, _ = await members.join(CREATED, handle=count), await members.join(CREATED, handle=count)
        await one.publish(CREATED, *sent)
        async with asyncio.timeout(DEADLINE_S):
            await all_handled.wait()
        assert sorted(handled, key=int) == sent

    async def test_each_group_gets_all_events(self, members: Members) -> None:
        """F01: an event that one service has acknowledged is delivered to another one too."""
        one, other = await members.join(CREATED), await members.join(CREATED, group="another-service")
        await one.publish(CREATED, b"1", b"2", b"3")
        await one.got_data(b"1", b"2", b"3")
        await other.got_data(b"1", b"2", b"3")

    async def test_a_handler_is_awaited_before_the_next_event_of_its_subject(self, members: Members) -> None:
        """F39: a waiting handler is the back pressure; the other subject goes on."""
        released = asyncio.Event()

        async def wait_for_release(delivery: Delivery) -> None:
            if delivery.subject == CREATED:
                await released.wait()
            await delivery.ack()

        one = await members.join(CREATED, CANCELLED, handle=wait_for_release)
        await one.publish(CREATED, b"1", b"2")
        await one.got_data(b"1")
        await one.publish(CANCELLED, b"c1", b"c2", b"c3")
        await one.got_data(b"c1", b"c2", b"c3")
        assert b"2" not in one.data
        released.set()
        await one.got_data(b"2")

    async def test_the_same_message_id_is_delivered_once(self, members: Members, bench: Bench) -> None:
        """F07: a broker with message ids drops the second; equal bytes with two ids are two events (F42)."""
        if not bench.deduplicates:
            pytest.skip("this broker has no message ids")
        one = await members.join(CREATED)
        for message_id, data in (("a", b"paid"), ("a", b"paid"), ("b", b"paid"), ("c", b"last")):
            await one.transport.publish(CREATED, data, message_id)
        await one.got_data(b"last")
        assert one.data == [b"paid", b"paid", b"last"]

    async def test_a_durable_goes_on_where_it_was_after_its_members_were_away(self, members: Members) -> None:
        """F33: events that are published while the group has no member wait for it, and acknowledged ones don't come
        again.
        """
        one, publisher = await members.join(CREATED), await members.join()
        await publisher.publish(CREATED, b"before")
        await one.got_data(b"before")
        await one.transport.stop_consuming()
        await one.stop()
        await publisher.publish(CREATED, b"while away")
        two = await members.join(CREATED)
        await publisher.publish(CREATED, b"after")
        await two.got_data(b"while away", b"after")
        assert two.data == [b"while away", b"after"]

    async def test_a_stopped_member_gets_nothing_more_but_may_publish_and_ack(self, members: Members) -> None:
        """F33: a drain gets no further events; acks and publishes still pass."""
        one = await members.join(CREATED, handle=keep)
        await one.publish(CREATED, b"held")
        await one.got_data(b"held")
        await one.transport.stop_consuming()
        await one.got[0].ack()
        two = await members.join(CREATED)
        await one.publish(CREATED, b"late", b"later")
        await two.got_data(b"late", b"later")
        assert one.data == [b"held"]
        assert two.data == [b"late", b"later"]

    async def test_a_killed_broker_is_found_again_and_nothing_is_lost(self, members: Members, bench: Bench) -> None:
        """F28: each change is reported once, publishing fails in between, and afterwards the transport works again."""
        one, publisher = await members.join(CREATED), await members.join()
        await publisher.publish(CREATED, b"before")
        await one.got_data(b"before")
        await bench.kill()
        for member in (one, publisher):
            await member.until(lambda member=member: len(member.reported) == 2)  # type: ignore[misc]
        with pytest.raises(TransportUnavailable):
            await publisher.publish(PAID, b"not now")
        await bench.start()
        for member in (one, publisher):
            await member.up()
            assert [each.split(":")[0] for each in member.reported] == ["connected", "disconnected", "connected"]
        await publisher.publish(CREATED, b"after")
        await one.got_data(b"after")

    async def test_an_ack_that_can_not_be_sent_is_a_redelivery(self, members: Members, bench: Bench) -> None:
        """F08: acknowledging to a broker that is away raises nothing; the event comes again when it is back."""
        if bench.forgets:
            pytest.skip("this broker forgets its events")
        one = await members.join(CREATED, handle=keep)
        await one.publish(CREATED, b"held")
        await one.got_data(b"held")
        await bench.kill()
        await one.until(lambda: len(one.reported) == 2)
        await one.got[0].ack()
        await one.got[0].retry(0.1)
        await bench.start()
        await one.until(lambda: len(one.got) == 2)
        assert one.got[1].identity == one.got[0].identity

    async def test_check_names_the_broker(self, bench: Bench) -> None:
        """A check returns the broker's name, and raises TransportUnavailable for a broker that is away."""
        transport = bench.transport("checker")
        assert await transport.check()
        await bench.kill()
        with pytest.raises(TransportUnavailable):
            await transport.check()
        await transport.close()
