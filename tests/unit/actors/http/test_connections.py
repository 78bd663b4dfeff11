"""`payment.actors.http.connections`: what is no proper HTTP, and connections that are slow, many or broken off."""

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Iterable

import msgspec
import pytest
import pytest_asyncio

from payment.actors.http import connections as http_wire
from payment.actors.http.connections import Connection
from tests.unit.actors.http.http_world import (
    FORM,
    REAL_S,
    HttpWorld,
    Wire,
    Written,
    http_world,
    raw_post,
    read_answer,
)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


GIVEN_UP = 200
"""More than are looked at as they come."""
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
BAD_HTTP = {
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
    "half a request line": (b"GET\r\n\r\n", 400),
    "an unknown method": (b"FROBNICATE / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an unknown version": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "no Host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "a header without a colon": (GET + b"nonsense\r\n\r\n", 400),
    "NUL in a header": (GET + b"X-A: a\x00b\r\n\r\n", 400),
    "two lengths": (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a negative length": (GET + b"Content-Length: -1\r\n\r\n", 400),
    "a length and chunks": (GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a request line of 9 KB": (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "a header of 9 KB": (GET + b"X-A: " + b"x" * 9_000 + b"\r\n\r\n", 431),
    "200 headers": (GET + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
    "an address of another kind": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
}


@pytest.mark.parametrize(("sent", "status"), BAD_HTTP.values(), ids=BAD_HTTP.keys())
async def test_bad_http_is_refused_in_the_platforms_shape(world: HttpWorld, sent: bytes, status: int) -> None:
    """aiohttp's own errors too, with a request id, and nothing of what was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(sent)
    got = await asyncio.wait_for(read_answer(reader), REAL_S)
    assert (got.status, len(got.errors)) == (status, 1), got
    assert got.headers["X-Request-Id"]
    assert len(got.body) < 200
    assert await asyncio.wait_for(reader.read(), REAL_S) == b"", "the connection is closed"
    writer.close()
    assert not world.running.done()


async def test_chunks_that_are_broken_are_400(world: HttpWorld) -> None:
    """In the middle of a body whose beginning was right."""
    got = await world.raw(raw_post(b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\nzz\r\n"))
    assert (got.status, len(got.errors)) == (400, 1)


async def test_chunks_that_break_while_they_are_read_are_400(world: HttpWorld) -> None:
    """The head has been taken, the body is being waited for, and what comes is no chunk: nobody waits for long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(raw_post(b"Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n"))
    await world.until(lambda: world.clock.sleepers == 2)
    writer.write(b"zz\r\n")
    got = await asyncio.wait_for(read_answer(reader), REAL_S)
    assert (got.status, len(got.errors)) == (400, 1)
    writer.close()


async def test_a_client_that_hangs_up_in_its_body_does_no_harm(world: HttpWorld) -> None:
    """No 500, no dead actor, no message."""
    idle = world.clock.sleepers
    _, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(raw_post(b"Content-Length: 50\r\n", b"{"))
    await world.until(lambda: world.clock.sleepers == idle + 1)
    writer.transport.abort()
    await world.until(lambda: world.clock.sleepers == idle)
    assert (await world.get("/healthz")).status == 200
    assert b'status="500"' not in (await world.get("/metrics")).body
    assert world.ledger.asked == []


def charge_request() -> bytes:
    body = msgspec.json.encode(FORM)
    return raw_post(b"Content-Length: %d\r\n" % len(body), body)


@pytest_asyncio.fixture
async def nothing_uncaught() -> AsyncIterator[None]:
    """The event loop has nothing to complain of."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    yield
    gc.collect()
    assert complaints == []


@pytest.mark.usefixtures("nothing_uncaught")
async def test_a_crowd_that_hangs_up_while_we_are_paused_does_no_harm(world: HttpWorld) -> None:
    """F39: a SIGSTOP outlasts their patience. Some are looked at in the very turn in which they turn out to be gone."""
    for _ in range(GIVEN_UP):
        with socket.create_connection(("127.0.0.1", world.actor.port)) as client:
            client.sendall(charge_request())
    assert (await world.get("/healthz")).status == 200
    assert not world.running.done()


@pytest.mark.usefixtures("nothing_uncaught")
async def test_who_has_hung_up_is_not_looked_at(world: HttpWorld) -> None:
    """F39: its turn comes when the event loop knows that it is gone, and has not said so yet."""
    connection, transport = world.listener().connection(world.clock.monotonic()), Wire()
    connection.connection_made(transport)
    await asyncio.sleep(0)
    transport.close()
    connection.look_at(charge_request(), 0.0)
    connection.refuse(charge_request())
    connection.connection_lost(None)
    assert (await world.get("/healthz")).status == 200
    assert (transport.written, world.ledger.asked) == (b"", [])


async def test_one_connection_carries_many_requests(world: HttpWorld) -> None:
    """Keep-alive, also over errors that leave the connection sound, and pipelined."""
    body = msgspec.json.encode(FORM)
    good = raw_post(b"Content-Length: %d\r\n" % len(body), body)
    bad = raw_post(b"Content-Length: 2\r\n", b"[]")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(good + bad + GET + b"\r\n" + good)
    assert [(await read_answer(reader)).status for _ in range(4)] == [201, 400, 200, 201]
    writer.close()


class Impatient(Wire):
    """Asks again as soon as the first bytes of an answer are there."""

    def __init__(self, connection: Connection, request: bytes) -> None:
        super().__init__()
        self.connection = connection
        self.request = request

    def write(self, data: Written) -> None:
        super().write(data)
        if self.written.count(b"HTTP/1.1 201") == 1:
            asyncio.get_running_loop().call_soon(self.connection.data_received, self.request)

    def writelines(self, list_of_data: Iterable[Written]) -> None:
        self.write(b"".join(list_of_data))


async def test_who_asks_again_at_once_stands_in_line_too(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """F39: also before aiohttp's own task has noticed that the answer was written."""
    request = charge_request()
    listener = world.listener()
    connection = listener.connection(world.clock.monotonic())
    transport = Impatient(connection, request)
    came: list[bytes] = []
    monkeypatch.setattr(listener.line, "take", lambda _caller, data, _came_at: came.append(data))
    connection.connection_made(transport)
    await asyncio.sleep(0)
    connection.data_received(request)
    await world.until(lambda: transport.written.count(b"HTTP/1.1 201") == 2)
    assert came == [request, request]
    connection.connection_lost(None)


async def test_a_connection_outlives_the_routers() -> None:
    """The router closes after 90 s: were we to close first, a request could meet a closed door."""
    assert http_wire.KEEPALIVE_S > 90


async def test_a_head_that_dribbles_is_given_up(world: HttpWorld) -> None:
    """A slow head is on a timer from its first byte, and off it once it is whole."""
    listener = world.listener()
    connection = listener.connection(world.clock.monotonic())
    transport = Wire()
    connection.connection_made(transport)
    await asyncio.sleep(0)
    connection.data_received(b"GET /healthz HTTP/1.1\r\n")
    begun = connection._head_timer
    connection.data_received(b"Host: x\r\n\r\n")
    assert (begun is None, connection._head_timer) == (False, None)
    await world.until(lambda: b"200 OK" in transport.written and connection._waiter is not None)
    connection.data_received(b"GET")
    timer = connection._head_timer
    assert timer is not None
    assert timer.when() - asyncio.get_running_loop().time() == pytest.approx(http_wire.HEAD_S, abs=1)
    timer.cancel()
    connection._head_is_late()
    assert transport.closed
    connection.connection_lost(None)


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_while_we_stop_leaves_nothing_behind(
    host: str | None, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: asyncio drops what it accepted just before its server closed, and complains at the next collection."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    async with http_world(host=host) as world:
        with socket.create_connection(("127.0.0.1", world.actor.port)):
            for _ in range(turns):
                await asyncio.sleep(0)
            await world.actor.drain()
    gc.collect()
    assert unraisable == []


async def test_connections_beyond_the_limit_are_closed(world: HttpWorld) -> None:
    """F39: memory is bounded also against clients that only connect; one that leaves makes room for another."""
    listener = world.listener(connections_max=1)
    pairs = [(listener.connection(world.clock.monotonic()), Wire()) for _ in range(3)]
    for connection, transport in pairs[:2]:
        connection.connection_made(transport)
    assert [transport.closed for _, transport in pairs] == [False, True, False]
    for connection, _ in pairs[:2]:
        connection.connection_lost(None)
    await world.until(lambda: not listener.full)
    pairs[2][0].connection_made(pairs[2][1])
    assert not pairs[2][1].closed
    pairs[2][0].connection_lost(None)
