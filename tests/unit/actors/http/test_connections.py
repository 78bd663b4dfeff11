"""`payment.actors.http.connections`: malformed HTTP, and connections that are slow, many or broken off."""

import asyncio
import errno
import gc
import inspect
import itertools
import socket
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from aiohttp import streams, web, web_protocol
from aiohttp.base_protocol import BaseProtocol
from structlog.testing import capture_logs

from payment.actors.http import connections as http_wire
from payment.actors.http.connections import (
    ACCEPT_AGAIN_S,
    ACCEPTED_IN_A_TURN,
    REFUSED_AT_ONCE,
    SPARED_S,
    ListeningSockets,
    Server,
    Site,
)
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from tests.unit.actors.http.http_world import (
    FORM,
    REAL_S,
    HttpWorld,
    http_world,
    raw_post,
    read_answer,
)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


GIVEN_UP = 200
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
    """The head has been taken, the body is awaited, and what comes is no chunk: 400 at once, not at the deadline."""
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
async def test_clients_that_hang_up_while_the_process_is_paused_do_no_harm(world: HttpWorld) -> None:
    """F39: a SIGSTOP outlasts their patience. Some requests are parsed in the very turn that shows the client gone."""
    for _ in range(GIVEN_UP):
        with socket.create_connection(("127.0.0.1", world.actor.port)) as client:
            client.sendall(charge_request())
    assert (await world.get("/healthz")).status == 200
    assert not world.running.done()


async def test_one_connection_carries_many_requests(world: HttpWorld) -> None:
    """Keep-alive, also over errors that leave the connection sound, and pipelined."""
    body = msgspec.json.encode(FORM)
    good = raw_post(b"Content-Length: %d\r\n" % len(body), body)
    bad = raw_post(b"Content-Length: 2\r\n", b"[]")
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(good + bad + GET + b"\r\n" + good)
    assert [(await read_answer(reader)).status for _ in range(4)] == [201, 400, 200, 201]
    writer.close()


async def test_a_connection_outlives_the_routers() -> None:
    """The router closes after 90 s: if the service closed first, a request could meet a closed connection."""
    assert http_wire.KEEPALIVE_S > 90


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
@pytest.mark.parametrize("turns", range(5))
async def test_a_client_that_connects_during_the_stop_leaves_nothing_behind(
    host: str | None, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: asyncio's own server drops what it accepted just before it closed, and complains at the next collection."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    async with http_world(host=host) as world:
        with socket.create_connection(("127.0.0.1", world.actor.port)):
            for _ in range(turns):
                await asyncio.sleep(0)
            await world.actor.drain()
    gc.collect()
    assert unraisable == []


# How clients are accepted.


class Descriptors:
    """A listening socket of a process that has no descriptor left, until a test says otherwise."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.left = False
        self.tried = 0

    def accept(self) -> object:
        self.tried += 1
        if not self.left:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listening.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self.listening, name)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_burst_of_clients_is_accepted_in_many_turns(world: HttpWorld) -> None:
    """F39: and all of it, so that later clients wait for no timer."""
    clients = [socket.create_connection(("127.0.0.1", world.actor.port)) for _ in range(ACCEPTED_IN_A_TURN * 3)]
    assert world.actor._runner is not None
    (site,) = world.actor._runner.sites
    assert isinstance(site, Site)
    accepted = [0]
    while len(world.server.connections) < len(clients):
        await asyncio.sleep(0)
        accepted.append(len(world.server.connections))
    in_a_turn = [after - before for before, after in itertools.pairwise(accepted)]
    assert max(in_a_turn) == ACCEPTED_IN_A_TURN
    await world.until(lambda: not site._connecting)
    for client in clients:
        client.close()


async def test_few_clients_are_accepted_at_once_where_there_is_no_room() -> None:
    """F51: accepted sockets take descriptors too, before they are refused."""
    async with http_world(connections_max=1) as world:
        assert world.actor._runner is not None
        (site,) = world.actor._runner.sites
        assert isinstance(site, Site)
        clients = [socket.create_connection(("127.0.0.1", world.actor.port)) for _ in range(REFUSED_AT_ONCE * 3)]
        most = 0
        for _ in range(100):
            await asyncio.sleep(0)
            most = max(most, len(site._connecting))
        assert most == REFUSED_AT_ONCE
        for client in clients:
            client.close()


async def test_a_site_that_stops_waits_for_the_connections_that_it_accepted(world: HttpWorld) -> None:
    """F33: none of them is left without a protocol."""
    assert world.actor._runner is not None
    (site,) = world.actor._runner.sites
    assert isinstance(site, Site)
    with socket.create_connection(("127.0.0.1", world.actor.port)):
        await world.until(lambda: len(site._connecting) == 1)
        await site.stop()
        assert (len(site._connecting), len(world.server.connections)) == (0, 1)


async def test_without_a_descriptor_clients_are_accepted_later_and_the_log_says_so(world: HttpWorld) -> None:
    """F39: the kernel keeps them, and the loop does not spin on them; a stop does not wait for the next try."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    descriptors = Descriptors(listening)
    assert world.actor._runner is not None
    site = Site(world.actor._runner, descriptors, get_logger())  # type: ignore[arg-type]
    with capture_logs() as logged:
        await site.start()
        with socket.create_connection(listening.getsockname()):
            await world.until(lambda: descriptors.tried == 1)
            await _turns(20)
            assert descriptors.tried == 1
            assert site._again is not None
            assert site._again.when() - asyncio.get_running_loop().time() == pytest.approx(ACCEPT_AGAIN_S, abs=0.5)
            descriptors.left = True
            site._again.cancel()
            asyncio.get_running_loop().add_reader(listening, site._accept)
            await world.until(lambda: len(world.server.connections) == 1)
        await site.stop()
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == [Event.CONNECTIONS_WAIT]


async def test_a_head_that_dribbles_is_given_up(world: HttpWorld) -> None:
    """A slow head has a deadline from its first byte on; a whole one none, and the next one its own."""
    connection, transport = await world.connected()
    now = asyncio.get_running_loop().time
    connection.data_received(b"GET /healthz HTTP/1.1\r\n")
    first = connection._keepalive_handle
    assert isinstance(first, asyncio.TimerHandle)
    assert first.when() - now() == pytest.approx(http_wire.HEAD_S, abs=1)
    connection.data_received(b"X-A: 1\r\n")
    assert connection._keepalive_handle is first, "more of the same head moves nothing"
    connection.data_received(b"Host: x\r\n\r\n")
    await world.until(lambda: b"200 OK" in transport.written and connection._waiter is not None)
    connection._process_keepalive()
    open_yet = not transport.closed
    assert open_yet
    assert connection._next_keepalive_close_time - now() == pytest.approx(http_wire.KEEPALIVE_S, abs=1)
    connection.data_received(b"GET")
    connection._next_keepalive_close_time = 0.0
    connection._process_keepalive()
    assert transport.closed
    connection.connection_lost(None)


# How many connections there are.


def _aged(server: Server) -> None:
    """Every idle connection has been idle for long enough to give way."""
    for connection in server.idle:
        server.idle[connection] -= SPARED_S


async def test_connections_beyond_the_limit_are_closed() -> None:
    """F39: memory is bounded also against clients that only connect; one that leaves makes room for another."""
    async with http_world(connections_max=1) as world:
        (first, one), (second, two) = await world.connected(), await world.connected()
        assert (one.closed, two.closed) == (False, True)
        for connection in (first, second):
            connection.connection_lost(None)
        await world.until(lambda: not world.server.connections)
        third, three = await world.connected()
        assert not three.closed
        third.connection_lost(None)


async def test_the_connection_that_has_been_idle_longest_gives_way() -> None:
    """F51: none that has been idle for less than `SPARED_S`, and none that has a request under way."""
    async with http_world(connections_max=3) as world:
        server = world.server
        (busy, wire), (asked, _), (silent, _) = [await world.connected() for _ in range(3)]
        world.ledger.holding = True
        for connection, request in ((busy, charge_request()), (asked, GET + b"\r\n")):
            connection.data_received(request)
        await world.ledger.holds(1)
        await world.until(lambda: list(server.idle) == [silent, asked])
        assert not server.takes_one_more(), "all have been idle for too short a time"
        _aged(server)
        assert server.takes_one_more()
        assert (silent.transport, list(server.idle)) == (None, [asked])
        assert server.takes_one_more()
        assert (asked.transport, list(server.idle)) == (None, [])
        assert not server.takes_one_more()
        assert not wire.closed
        for connection in (busy, asked, silent):
            connection.connection_lost(None)


async def test_a_connection_that_is_gone_is_not_idle(world: HttpWorld) -> None:
    """F39: its request may end later, and must leave nothing behind."""
    world.ledger.holding = True
    connection, _ = await world.connected()
    connection.data_received(charge_request())
    await world.ledger.holds(1)
    connection.connection_lost(None)
    world.ledger.asked[0].answer.set_result(world.ledger.answer)  # type: ignore[arg-type]
    await world.until(lambda: not world.server.connections)
    assert list(world.server.idle) == []


# What is used of aiohttp's inner parts. Where one has gone, `payment.actors.http.connections` has to be read again.


async def test_aiohttps_server_makes_its_protocol_as_it_did() -> None:
    """`Runner._make_server` replaces the server that aiohttp's runner makes, and `Server.__call__` the protocol."""
    assert inspect.iscoroutinefunction(web.AppRunner._make_server)
    assert {"request_handler", "request_factory", "_connections", "_loop"} <= set(vars(web.Server(_no_handler)))
    source = inspect.getsource(web.BaseRunner.setup)
    assert "self._server = await self._make_server()" in source
    assert {"_runner", "_server"} <= set(web.BaseSite.__slots__)
    assert "self._runner._unreg_site(self)" in inspect.getsource(web.BaseSite.stop)


def test_aiohttps_protocol_has_the_names_that_are_used() -> None:
    """Attributes and methods that `Connection` reads, sets or overrides."""
    used = {
        "_messages",
        "_waiter",
        "_request_count",
        "_current_request",
        "_keepalive_handle",
        "_next_keepalive_close_time",
    }
    assert used <= set(web.RequestHandler.__slots__)
    assert {"_parser", "_upgraded"} <= set(BaseProtocol.__slots__)
    for name in ("_process_keepalive", "handle_error", "force_close", "pause_writing", "resume_writing"):
        assert callable(getattr(web.RequestHandler, name))
    limits = {"max_line_size", "max_field_size", "max_headers", "lingering_time", "keepalive_timeout"}
    assert limits | {"auto_decompress", "access_log"} <= set(inspect.signature(web.RequestHandler.__init__).parameters)
    assert {"status", "exc", "message"} <= set(inspect.signature(web_protocol._ErrInfo).parameters)
    assert streams.EMPTY_PAYLOAD.is_eof()


def test_aiohttps_protocol_wakes_its_task_by_the_waiter() -> None:
    """`Connection.data_received` takes the waiter away while aiohttp parses, and sets its result itself."""
    source = inspect.getsource(web.RequestHandler.data_received)
    assert "waiter = self._waiter\n            if messages and waiter is not None and not waiter.done():" in source
    assert "self._parser.message_consumed()" in inspect.getsource(web.RequestHandler.start)
    assert "if self._waiter and not self._waiter.done():\n            self.force_close()" in inspect.getsource(
        web.RequestHandler._process_keepalive
    )


async def _no_handler(_request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("no request is made")


async def test_a_start_that_is_cancelled_leaves_no_socket_open() -> None:
    """The thread that opens them ends after the cancel; what it opened is closed, not left to the garbage collector."""
    listening = ListeningSockets("127.0.0.1", 0, get_logger())
    starting = asyncio.ensure_future(listening.sites(web.AppRunner(web.Application())))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    gc.collect()  # a socket that is still open is a ResourceWarning here, which is an error
    assert starting.cancelled()
    assert listening.port == 0
