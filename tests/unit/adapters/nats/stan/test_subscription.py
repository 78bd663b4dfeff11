"""Subscriptions, against a minimal server, in virtual time: transcripts."""

from __future__ import annotations

import asyncio

import pytest

from payment.adapters.nats.stan.codec import Message, decode, encode
from payment.adapters.nats.stan.errors import (
    InvalidName,
    NotStreaming,
    RefusedByServer,
    ServerUnreachable,
    SessionLost,
    StanError,
)
from payment.adapters.nats.stan.messages import (
    Ack,
    MsgProto,
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
)
from payment.adapters.nats.stan.subscription import Durable
from tests.support.fakes.clock import FakeClock
from tests.unit.adapters.nats.stan.fake_wire import ACKS, HEARTBEATS, ORDERS, PONGS, FakeWire, connect


class TestSubscribing:
    async def test_a_message_before_the_servers_answer_is_kept(self, wire: FakeWire, clock: FakeClock) -> None:
        """Deliveries and the answer come over different subjects: none is lost, and acks go to the answer's ack
        inbox.
        """

        async def deliver_first(subject: str, data: bytes) -> None:
            if subject == "sub":
                inbox = decode(SubscriptionRequest, data).inbox
                await wire.deliver(inbox, encode(MsgProto(5, "order:created", data=b"early", timestamp=1)))

        wire.before_answer = deliver_first
        client = await connect(wire, clock)
        subscription = await client.subscribe(ORDERS)
        request = decode(SubscriptionRequest, wire.asked[-1][1])
        assert request == SubscriptionRequest(
            "pay", "order:created", "payment", "inbox-3", 7, 10, "payment", start_position=4
        )
        message = await subscription.next()
        assert message is not None
        await subscription.ack(message)
        assert wire.sent == [("acks-of-sub", encode(Ack("order:created", 5)), "")]
        await client.close()

    async def test_a_subscription_without_an_answer_is_closed_by_its_inbox(
        self, wire: FakeWire, clock: FakeClock
    ) -> None:
        """The server may have accepted it: it must not deliver to a subscription without a member. The durable
        stays.
        """
        wire.answers["sub"] = ServerUnreachable("no answer")
        client = await connect(wire, clock)
        with pytest.raises(ServerUnreachable):
            await client.subscribe(ORDERS)
        [(subject, data, _)] = wire.sent
        assert subject == "subclose"
        assert decode(UnsubscribeRequest, data) == UnsubscribeRequest("pay", "order:created", "inbox-3", "payment")
        assert "inbox-3" not in wire.subjects
        await client.close()

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (SubscriptionResponse(error="stan: unknown clientID"), RefusedByServer),
            (SubscriptionResponse(), RefusedByServer),
            (b"{}", NotStreaming),
        ],
    )
    async def test_a_refused_subscription_leaves_nothing(
        self, answer: Message | bytes, expected: type[StanError], wire: FakeWire, clock: FakeClock
    ) -> None:
        """Its inbox is unsubscribed."""
        wire.answers["sub"] = answer
        client = await connect(wire, clock)
        with pytest.raises(expected):
            await client.subscribe(ORDERS)
        assert wire.subjects == [HEARTBEATS, PONGS, ACKS]
        await client.close()

    @pytest.mark.parametrize("durable", [Durable("a", "g", "with:colon", 10), Durable("a.*", "g", "g", 10)])
    async def test_names_that_the_server_refuses_are_not_sent(
        self, durable: Durable, wire: FakeWire, clock: FakeClock
    ) -> None:
        """A colon in a durable, a wildcard in a channel."""
        client = await connect(wire, clock)
        with pytest.raises(InvalidName):
            await client.subscribe(durable)
        assert len(wire.asked) == 1
        await client.close()

    async def test_foreign_messages_in_the_inbox_are_ignored(self, wire: FakeWire, clock: FakeClock) -> None:
        """Malformed messages, another channel, no sequence: none of them is from the server."""
        client = await connect(wire, clock)
        subscription = await client.subscribe(ORDERS)
        for data in (b"\xff", encode(MsgProto(1, "other")), encode(MsgProto(0, "order:created"))):
            await wire.deliver("inbox-3", data)
        assert len(subscription.buffer) == 0
        await client.close()

    async def test_a_message_put_back_is_handed_out_again_after_its_delay(
        self, wire: FakeWire, clock: FakeClock
    ) -> None:
        """Without the server: its ack wait is 10 s, and the delay is the requested one."""
        client = await connect(wire, clock)
        subscription = await client.subscribe(ORDERS)
        await wire.deliver("inbox-3", encode(MsgProto(1, "order:created", timestamp=1)))
        first = await subscription.next()
        assert first is not None
        subscription.put_back(first, 2.0)
        following = asyncio.create_task(subscription.next())
        await clock.advance(1.9)
        assert not following.done()
        await clock.advance(0.1)
        assert await following == first
        assert subscription.redelivered(first) == 1
        await client.close()

    async def test_an_ack_of_a_lost_session_is_not_sent(self, wire: FakeWire, clock: FakeClock) -> None:
        """F40: its sequence may mean another message by now."""
        client = await connect(wire, clock)
        subscription = await client.subscribe(ORDERS)
        await wire.deliver("inbox-3", encode(MsgProto(1, "order:created", timestamp=1)))
        first = await subscription.next()
        assert first is not None
        client.end("replaced")
        with pytest.raises(SessionLost):
            await subscription.ack(first)
        subscription.put_back(first, 1.0)
        assert await subscription.next() is None
        assert wire.sent == []
        with pytest.raises(SessionLost):
            await client.subscribe(ORDERS)

    async def test_a_group_that_can_not_be_left_ends_the_session(self, wire: FakeWire, clock: FakeClock) -> None:
        """The membership is uncertain, and a new session makes it certain."""
        client = await connect(wire, clock)
        subscription = await client.subscribe(ORDERS)
        wire.answers["subclose"] = ServerUnreachable("no answer")
        await subscription.close()
        assert client.lost.is_set()
        await client.leave()
