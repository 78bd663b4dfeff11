"""Connections: what the service's HTTP server adds to aiohttp's own.

aiohttp's `AppRunner` serves an `Application`. This file holds what aiohttp does not offer, and no more;
`docs/decisions/0020-aiohttp-s-own-server.md` has the figures for each piece:

- malformed HTTP, and an exception that no handler expected, are answered in the platform's shape;
- a charge that is not admitted is answered as soon as its bytes are parsed, without a task, a request and a response;
- a head has a deadline (`HEAD_S`) and a size (`HEAD_BYTES_MAX`);
- a client that does not read its answers is disconnected (`UNREAD_S`);
- connections have a limit, and one that is idle is closed for a new one;
- a burst of clients is accepted in many turns of the event loop, and not in one, nor one client in each (`Site`).

It must never decide what a request means: `payment.actors.http.actor` does.

Internals of aiohttp that this file uses. A test for each fails clearly where one has gone
(`tests/unit/actors/http/test_connections.py`): `AppRunner._make_server`, `BaseSite._runner`; of `web.Server`
`request_handler`, `request_factory`, `_connections`, `_loop` and `__call__`, which makes the protocol; of
`RequestHandler` its keyword arguments, `handle_error`, `_messages`, `_waiter`, `_parser.message_consumed`,
`_request_count`, `_current_request`, `_upgraded`, `_keepalive_handle`, `_next_keepalive_close_time` and
`_process_keepalive`;
`web_protocol._ErrInfo`, `streams.EMPTY_PAYLOAD`, `helpers.set_exception`.
"""

import asyncio
import socket
import sys
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestPayloadError, _ErrInfo
from structlog.typing import FilteringBoundLogger

from payment.actors.http.admission import CONNECTIONS_MAX
from payment.actors.http.requests import BODY_BYTES_MAX
from payment.actors.http.responses import PAYMENTS_PATH, Case, Rendered, error
from payment.ops.log_schema import Event
from payment.process.listening import listen

HEAD_S = 20.0
"""How long a head may take to arrive, in seconds, from its first byte: slower is an attack, not a phone."""
KEEPALIVE_S = 95.0
"""How long a connection may be idle, in seconds. Longer than the router's 90 s: the router must close first."""
LINGER_S = 2.0
"""How long the rest of a body that was refused is read and dropped, in seconds, so that its sender can read the
answer."""
LINE_BYTES_MAX = 8_190
"""Longest request line, and longest header: what the platform's router lets through."""
HEADERS_MAX = 100
"""Most headers of a request. Browsers and routers send about 30."""
HEAD_BYTES_MAX = 65_536
"""Longest head, in bytes, that is kept until it is whole: eight headers of the largest size. Clients have a tenth."""
UNREAD_S = 30.0
"""How long a client may leave an answer unread, in seconds, once its connection takes no more. The answers are small: a
phone in a tunnel comes out of it, a client that never reads is disconnected."""
SPARED_S = 1.0
"""No connection is closed to make room before it has been idle this long, in seconds: the first request of a new client
is on its way, or the next one of an old one."""
FLUSH_S = 2.0
"""How long answers may take to be written at the end, in seconds. They are small: only the sockets' buffers count."""
ACCEPTED_IN_A_TURN = 32
"""Connections that are accepted in one turn of the event loop. aiohttp's `SockSite` on uvloop accepts one, and the
others wait in the kernel's queue; to make a connection costs a tenth of a millisecond, so thousands must not be made
at once."""
REFUSED_AT_ONCE = 8
"""Connections that are accepted together where there is room for none: to refuse them, or to close idle ones for
them."""
ACCEPT_AGAIN_S = 1.0
"""How long nothing is accepted, in seconds, after the process or the machine had no file descriptor or buffer left."""


class Answers(Protocol):
    """What connections ask of the HTTP actor."""

    def admits_charge(self) -> bool:
        """Whether a request for a charge that has just arrived is handled."""

    def refuse_charge(self, given_id: str | None) -> bytes:
        """Returns the whole response to a charge that is not admitted. `given_id`: the `X-Request-ID` that it has."""

    def refuse_connection(self) -> bytes:
        """Returns the whole response to a client for which there is no connection."""

    def failed(self, request: web.BaseRequest, known: Rendered | None, exc: BaseException | None) -> web.Response:
        """Returns the response where a handler gave none: `known` for malformed HTTP, else for an exception of ours."""


class Listening(Protocol):
    """Where the HTTP actor listens. It outlives the actor: a new one listens on the same port."""

    @property
    def port(self) -> int:
        """The port, once `sites` has returned."""

    async def sites(self, runner: web.BaseRunner) -> list[web.BaseSite]:
        """Returns what `runner` serves on, not started yet. Raises OSError: the port is taken or not permitted."""

    def close(self) -> None:
        """Listen no more. Connections are refused from now on."""


class ListeningSockets:
    """Sockets that the process listens on, opened here unless they were given."""

    def __init__(
        self, host: str | None, port: int, logger: FilteringBoundLogger, opened: list[socket.socket] | None = None
    ) -> None:
        """`host` None: every interface; `port` 0: any free one. `opened` listen there already."""
        self._host = host
        self._port = port
        self._log = logger
        self._opened = opened or []

    @property
    def port(self) -> int:
        return int(self._opened[0].getsockname()[1]) if self._opened else self._port

    async def sites(self, runner: web.BaseRunner) -> list[web.BaseSite]:
        if not self._opened:
            self._opened = await self._open()
        return [Site(runner, each.dup(), self._log) for each in self._opened]

    def close(self) -> None:
        for each in self._opened:
            each.close()
        self._opened = []

    async def _open(self) -> list[socket.socket]:
        """Open the sockets in a thread: a look-up of a name may take long. A start that is cancelled leaves none."""
        opening = asyncio.ensure_future(asyncio.to_thread(listen, self._host, self._port))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise


def _close_opened(opening: "asyncio.Future[list[socket.socket]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        for each in opening.result():
            each.close()


class Site(web.BaseSite):
    """Accepts the connections of one socket, which it closes when it stops; no accepted socket is left behind."""

    def __init__(self, runner: web.BaseRunner, listening: socket.socket, logger: FilteringBoundLogger) -> None:
        super().__init__(runner)
        self._listening = listening
        self._log = logger
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        return f"http on port {self._listening.getsockname()[1]}"

    async def start(self) -> None:
        await super().start()
        self._loop.add_reader(self._listening, self._accept)

    async def stop(self) -> None:
        await super().stop()
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _accept(self) -> None:
        server = self._runner.server
        assert isinstance(server, Server)
        at_once = min(ACCEPTED_IN_A_TURN, max(server.room, REFUSED_AT_ONCE))
        for _ in range(at_once - len(self._connecting)):
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # No client waits, or it has disconnected.
            except OSError as error:
                # No descriptor or buffer is left. The kernel would report the same clients in each turn of the loop.
                self._log.warning(Event.CONNECTIONS_WAIT, error=error.strerror or type(error).__name__)
                self._loop.remove_reader(self._listening)
                self._again = self._loop.call_later(
                    ACCEPT_AGAIN_S, self._loop.add_reader, self._listening, self._accept
                )
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._connect(accepted), name="connect")
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        assert self._runner.server is not None
        try:
            await self._loop.connect_accepted_socket(self._runner.server, accepted)
        except OSError:
            accepted.close()  # the client has disconnected


class Runner(web.AppRunner):
    """aiohttp's runner, with connections of ours."""

    def __init__(self, app: web.Application, answers: Answers, connections_max: int = CONNECTIONS_MAX) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=FLUSH_S)
        self._answers = answers
        self._connections_max = connections_max

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return Server(made.request_handler, made.request_factory, self._answers, self._connections_max)


class Server(web.Server):
    """Makes a `Connection` for each client, and knows which ones are idle."""

    def __init__(
        self,
        request_handler: Any,
        request_factory: Any,
        answers: Answers,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        # A client that disconnects does not end its request: a committed attempt is carried out and kept either way.
        super().__init__(request_handler, request_factory=request_factory, handler_cancellation=False)
        self.answers = answers
        self.idle: dict[Connection, float] = {}
        """Connections with no request under way, and since when (the event loop's seconds); the oldest first."""
        self._connections_max = connections_max

    def __call__(self) -> "Connection":
        return Connection(self, self._loop)

    @property
    def room(self) -> int:
        """How many more connections there may be."""
        return self._connections_max - len(self._connections)

    def takes_one_more(self) -> bool:
        """Whether there is room for another connection, or an idle one was closed for it."""
        if self.room > 0:
            return True
        connection, since = next(iter(self.idle.items()), (None, 0.0))
        if connection is None or self._loop.time() - since < SPARED_S:
            return False
        del self.idle[connection]
        connection.force_close()
        return True


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_head_bytes", "_server", "_unread_timer", "_wire")

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,  # type: ignore[arg-type]  # aiohttp means it: no access log is made then
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        self._server = server
        self._wire: asyncio.Transport | None = None
        """The transport, also while aiohttp has closed it and it still has something to write."""
        self._head_bytes = 0
        """Of a head that is not whole."""
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = wire = cast("asyncio.Transport", transport)
        if not self._server.takes_one_more():
            wire.write(self._server.answers.refuse_connection())
            wire.close()
            return
        # Writing is paused from the first byte on that the system does not take, which shows that nothing is read.
        wire.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self.rest()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_unread_timer()
        self._wire = None
        self.begin()
        super().connection_lost(exc)

    def begin(self) -> None:
        """A request is being handled: the connection is not idle."""
        self._server.idle.pop(self, None)

    def rest(self) -> None:
        """The connection is idle from now on, unless it is gone."""
        self._server.idle.pop(self, None)
        if self._wire is not None:
            self._server.idle[self] = self._loop.time()

    def data_received(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done() or self._upgraded:
            # A request is under way, and these bytes are the rest of it or the next one.
            super().data_received(data)
            self._fail_body()
            return
        self._waiter = None  # aiohttp's task is woken below, unless the request is answered here
        super().data_received(data)
        self._waiter = waiter
        if not self._messages:
            self._head_grows(len(data))
        elif self._is_refused_charge():
            return
        if self._messages:
            self._head_bytes = 0
            waiter.set_result(None)

    def _is_refused_charge(self) -> bool:
        """Answer the only message there is, if it is a charge that came whole and is not admitted."""
        message, payload = self._messages[0]
        if (
            isinstance(message, _ErrInfo)
            or len(self._messages) > 1
            or message.method != "POST"
            or message.path != PAYMENTS_PATH
            or message.should_close
            or message.upgrade
            or not payload.is_eof()
            or payload.total_bytes > BODY_BYTES_MAX
            or self._wire is None
            or self._server.answers.admits_charge()
        ):
            return False
        self._messages.clear()
        assert self._parser is not None
        self._parser.message_consumed()
        self._head_bytes = 0
        self._wire.write(self._server.answers.refuse_charge(message.headers.get("X-Request-ID")))
        self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
        self.rest()
        return True

    def _head_grows(self, more_bytes: int) -> None:
        """Part of a head has come, to a connection on which no request is under way."""
        if not self._head_bytes:
            # aiohttp closes a connection without a whole head once it has been idle too long: here, for a head.
            self._next_keepalive_close_time = close_at = self._loop.time() + HEAD_S
            if self._keepalive_handle is not None:
                self._keepalive_handle.cancel()
            self._keepalive_handle = self._loop.call_at(close_at, self._process_keepalive)
        self._head_bytes += more_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            # Unlike a line that is too long, this is no error to the parser: it is given one.
            self._messages.append((_ErrInfo(400, LineTooLong(b"", HEAD_BYTES_MAX), ""), EMPTY_PAYLOAD))
            self._request_count += 1

    def _fail_body(self) -> None:
        """Fail the reader of a body whose rest is not proper HTTP: aiohttp's parser leaves it waiting."""
        request = self._current_request
        if request is None or not self._messages or request.content.is_eof():
            return
        fault, _ = self._messages[-1]
        if isinstance(fault, _ErrInfo):
            set_exception(request.content, RequestPayloadError(fault.message))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self._loop.call_later(UNREAD_S, self._is_unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_unread_timer()

    def _is_unread(self) -> None:
        self._unread_timer = None
        if self._wire is not None:
            self._wire.abort()

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called by aiohttp where the client sent malformed HTTP, or the handler raised."""
        if request.writer.output_size > 0:
            raise ConnectionError("part of an answer has been sent: another one can't follow")
        known = _http_fault(exc) if status == 400 else None
        response = self._server.answers.failed(request, known, exc or sys.exception())
        response.force_close()
        return response


def _http_fault(exc: BaseException | None) -> Rendered:
    if isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and exc.message.startswith("Too many headers")):
        return error(Case.HEAD_TOO_LARGE, "The request line or a header is too large, or there are too many")
    return error(Case.BAD_HTTP, "The request is not proper HTTP")
