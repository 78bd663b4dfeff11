"""A session from its opening to its end, against a minimal server, in virtual time: transcripts."""

from __future__ import annotations

import pytest

from payment.adapters.nats.stan.codec import Message, decode, encode
from payment.adapters.nats.stan.errors import (
    SERVER_ERRORS,
    ClientIdTaken,
    ErrorVerdict,
    InvalidName,
    NoListener,
    NotStreaming,
    RefusedByServer,
    ServerUnreachable,
    StanError,
    refused,
)
from payment.adapters.nats.stan.messages import (
    ConnectRequest,
    ConnectResponse,
    Ping,
    PingResponse,
)
from payment.adapters.nats.stan.session import PING_EVERY_S, PINGS_UNANSWERED_MAX
from tests.support.fakes.clock import FakeClock
from tests.unit.adapters.nats.stan.fake_wire import ACKS, DISCOVER, HEARTBEATS, ORDERS, PONGS, FakeWire, connect

REPLACED = "client has been replaced or is no longer registered"


class TestOpening:
    async def test_all_inboxes_are_known_to_nats_before_the_server_is_asked(
        self, wire: FakeWire, clock: FakeClock
    ) -> None:
        """The server may send a heartbeat before it answers."""
        client = await connect(wire, clock)
        assert wire.done == [
            *(f"listen {subject}" for subject in (HEARTBEATS, PONGS, ACKS)),
            "flush",
            f"ask {DISCOVER}",
        ]
        assert decode(ConnectRequest, wire.asked[0][1]) == ConnectRequest("pay", HEARTBEATS, 1, b"c1", PING_EVERY_S, 3)
        assert (PING_EVERY_S * (PINGS_UNANSWERED_MAX + 1)) <= 10
        await client.close()

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (ConnectResponse(error="stan: clientID already registered"), ClientIdTaken),
            (ConnectResponse(error="stan: something new"), RefusedByServer),
            (ServerUnreachable("no answer"), ServerUnreachable),
            (NoListener("nobody"), NotStreaming),
            (b'{"stream":"cap","seq":1}', NotStreaming),
            (b"", NotStreaming),
            (ConnectResponse(pub_prefix="p", sub_requests="s", close_requests="c"), NotStreaming),
        ],
    )
    async def test_a_try_that_failed_leaves_nothing_that_could_answer_for_us(
        self, answer: Message | bytes | Exception, expected: type[StanError], wire: FakeWire, clock: FakeClock
    ) -> None:
        """F40: a request without an answer may have registered the client: its heartbeat inbox must not lock the client
        out.
        """
        wire.answers[DISCOVER] = answer
        with pytest.raises(expected):
            await connect(wire, clock)
        assert wire.subjects == []
        assert wire.done[-3:] == [f"leave {HEARTBEATS}", f"leave {PONGS}", f"leave {ACKS}"]

    async def test_a_client_id_that_no_server_takes_is_not_even_sent(self, wire: FakeWire, clock: FakeClock) -> None:
        """Letters, digits, - and _ only."""
        with pytest.raises(InvalidName):
            await connect(wire, clock, "web.1")
        assert wire.done == []


class TestStaying:
    async def test_each_heartbeat_is_answered(self, wire: FakeWire, clock: FakeClock) -> None:
        """With an empty message, to the server's reply subject."""
        client = await connect(wire, clock)
        await wire.deliver(HEARTBEATS, reply="hb.1")
        assert wire.sent == [("hb.1", b"", "")]
        await client.close()

    async def test_pings_go_out_and_any_good_answer_counts_for_all_before(
        self, wire: FakeWire, clock: FakeClock
    ) -> None:
        """A server that misses all but every third ping keeps its session."""
        client = await connect(wire, clock)
        for _ in range(5):
            await clock.advance(PING_EVERY_S * PINGS_UNANSWERED_MAX)
            await wire.deliver(PONGS)
        assert not client.lost.is_set()
        assert {(subject, data, reply) for subject, data, reply in wire.sent} == {("pings", encode(Ping(b"c1")), PONGS)}
        await client.close()

    @pytest.mark.parametrize("answer", [None, (b"", {"Status": "503"}), (b'{"stream":"cap"}', None)])
    async def test_a_server_that_does_not_answer_pings_is_lost_within_20_s(
        self, answer: tuple[bytes, dict[str, str] | None] | None, wire: FakeWire, clock: FakeClock
    ) -> None:
        """F40: silence, NATS's own empty 503, and another program's answer all count as no answer."""
        client = await connect(wire, clock)
        for _ in range(PINGS_UNANSWERED_MAX):
            await clock.advance(PING_EVERY_S)
            if answer is not None:
                await wire.deliver(PONGS, answer[0], headers=answer[1])
        assert not client.lost.is_set()
        await clock.advance(PING_EVERY_S)
        assert client.lost.is_set()
        assert client.reason == "NATS Streaming, cluster id 'ticketing', has not answered a ping for 8 s"

    @pytest.mark.parametrize("server_text", [REPLACED, "stan: unknown clientID"])
    async def test_a_ping_answer_that_the_session_is_gone_ends_it_at_once(
        self, server_text: str, wire: FakeWire, clock: FakeClock
    ) -> None:
        """F40: replaced, or forgotten by a memory store."""
        client = await connect(wire, clock)
        await clock.advance(PING_EVERY_S)
        await wire.deliver(PONGS, encode(PingResponse(error=server_text)))
        assert client.lost.is_set()
        assert server_text in client.reason

    async def test_another_error_of_a_ping_is_no_answer_and_no_end(self, wire: FakeWire, clock: FakeClock) -> None:
        """Only an error that the session is gone ends it at once."""
        client = await connect(wire, clock)
        await wire.deliver(PONGS, encode(PingResponse(error="stan: busy")))
        assert not client.lost.is_set()
        await client.close()

    async def test_a_connection_that_breaks_ends_the_session_at_its_next_ping(
        self, wire: FakeWire, clock: FakeClock
    ) -> None:
        """The session has the connection's reason."""
        client = await connect(wire, clock)
        wire.gone = True
        await clock.advance(PING_EVERY_S)
        assert client.reason == "the connection is gone"
        await client.leave()


class TestLeaving:
    async def test_a_lost_session_answers_nothing_any_more(self, wire: FakeWire, clock: FakeClock) -> None:
        """F40: not even a heartbeat that is in transit while its inbox is unsubscribed."""
        client = await connect(wire, clock)
        client.end("replaced")
        await wire.deliver(HEARTBEATS, reply="hb.1")
        await client.leave()
        assert (wire.sent, wire.subjects, client.reason) == ([], [], "replaced")
        assert "ask close" not in wire.done

    async def test_closing_sends_a_close_request_and_never_unsubscribes(self, wire: FakeWire, clock: FakeClock) -> None:
        """The durable must still be there for the next member."""
        client = await connect(wire, clock)
        subscription = await client.subscribe(ORDERS)
        await subscription.close()
        await client.subscribe(ORDERS)
        await client.close()
        assert [subject for subject, _ in wire.asked] == [DISCOVER, "sub", "subclose", "sub", "close"]
        assert "unsub" not in [subject for subject, *_ in wire.sent]
        assert wire.subjects == []

    async def test_closing_without_an_answer_is_closed_all_the_same(self, wire: FakeWire, clock: FakeClock) -> None:
        """The server detects it by its heartbeats, which are not answered any more."""
        client = await connect(wire, clock)
        wire.answers["close"] = ServerUnreachable("no answer")
        await client.close()
        assert client.lost.is_set()
        await wire.deliver(HEARTBEATS, reply="hb.1")
        assert wire.sent == []


def test_a_servers_error_text_is_shown_with_its_meaning() -> None:
    """Known ones have a meaning, unknown ones are shown unchanged; only three mean that the session is gone."""
    assert str(refused("stan: unknown clientID")).endswith("the server doesn't know this session any more")
    assert str(refused("what?")) == "NATS Streaming answers 'what?'"
    gone = {server_text for server_text, (verdict, _) in SERVER_ERRORS.items() if verdict is ErrorVerdict.SESSION_GONE}
    assert gone == {REPLACED, "stan: unknown clientID", "stan: invalid publish request"}
