"""HTTP connections and their limits.

Owns what aiohttp does before and after our handler: malformed HTTP is answered in the platform's shape too, and an
exception that no handler expected becomes a 500 without internal details, and is handed on. It must never decide what a
request means: that is `payment.actors.http.actor`.

A connection that has sent part of a head is closed after `HEAD_S`, one that is idle after `KEEPALIVE_S`, and one whose
client does not read its answers after `UNREAD_S`, by aiohttp's and the event loop's own timers. Of requests sent one
behind another aiohttp parses 32 ahead, then stops reading. When each is handled says `payment.actors.http.turns`, how
many connections there may be `payment.actors.http.connection_limit`, and how a body is read `payment.actors.http.body`.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from payment.actors.http.connection_limit import CONNECTIONS_MAX, IdleConnections
from payment.actors.http.raw_bytes import given_id, is_charge
from payment.actors.http.request_queue import RequestQueue
from payment.actors.http.responses import Case, Rendered, error
from payment.actors.http.turns import Turns

HEAD_S = 20.0
"""How long a head may take to arrive, in seconds, from its first byte: slower is an attack, not a phone."""
KEEPALIVE_S = 95.0
"""How long a connection may be idle, in seconds. Longer than the router's 90 s: the router must close first."""
LINGER_S = 2.0
"""How long the rest of a body that we refused is read and dropped, so that its sender gets to read the answer."""
LINE_BYTES_MAX = 8_190
"""Longest request line, and longest header: what the platform's router lets through."""
HEADERS_MAX = 100
"""Most headers of a request. Browsers and routers send about 30."""
HEAD_BYTES_MAX = 65_536
"""Longest head, in bytes, that is kept until it is whole: eight headers of the largest size. Clients have a tenth."""
UNREAD_S = 30.0
"""How long a client may leave an answer unread, in seconds, once its connection takes no more. The answers are small: a
phone in a tunnel comes out of it, a client that never reads is cut off."""
NOT_IDENTIFIED = Case.NOT_AUTHENTICATED.value.status
FIRST_WORDS_S = 1.0
"""A request that is read within this time after its connection was made, in seconds, counts as sent when the connection
was accepted: a slow machine reads it half a second late. A later one counts from when it is read, or clients would open
connections to keep a place in the queue."""
FLUSH_S = 2.0
"""How long answers may take to be written at the end. They are small: it is only the sockets' buffers."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
"""What an `X-Request-ID` may be to be used: what routers and clients make, and nothing that could break a log line."""

Refusal = Callable[[str | None], bytes]
"""Returns the whole response to a charge that can't be accepted now. Takes the request id that came with it."""

QueueFull = Callable[[], bytes]
"""Returns the whole response to a client for whom there is no connection."""

Fail = Callable[[web.BaseRequest, Rendered | None, BaseException | None], web.Response]
"""Makes the response where a handler did not: of an answer that is known, or of an unexpected exception."""


class Listener(web.Server):
    """Makes a `Connection` for each client that is accepted."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        fail: Fail,
        line: RequestQueue,
        refusal: Refusal,
        no_room: QueueFull,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        # A client that disconnects does not end its request: a committed attempt is carried out and kept either way.
        super().__init__(handler, handler_cancellation=False)
        self.fail = fail
        self.line = line
        self.refusal = refusal
        self.no_room = no_room
        self.idle = IdleConnections(self._loop)
        self.turns = Turns(self._loop)
        self._connections_max = connections_max

    @property
    def full(self) -> bool:
        """Whether `connections_max` is reached."""
        return len(self._connections) >= self._connections_max

    def takes_one_more(self) -> bool:
        """Whether there is room for another connection, or an idle one could be closed for it."""
        return not self.full or self.idle.close_one()

    def connection(self, came_at: float) -> "Connection":
        """Returns a connection for a client that was accepted at that time (monotonic seconds)."""
        return Connection(self, self._loop, self.fail, came_at)

    async def close(self) -> None:
        """Write the answers out, and close every connection."""
        self.pre_shutdown()
        await self.shutdown(FLUSH_S)


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = (
        "_answers",
        "_by_line",
        "_came_at",
        "_fail",
        "_head_bytes",
        "_head_timer",
        "_in_line_s",
        "_let_in_at",
        "_listener",
        "_unidentified",
        "_unread_timer",
        "_wire",
    )

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop, fail: Fail, came_at: float) -> None:
        super().__init__(
            listener,
            loop=loop,
            keepalive_timeout=KEEPALIVE_S,
            access_log=None,  # type: ignore[arg-type]  # aiohttp means it: no access log is made then
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        self._listener = listener
        self._fail = fail
        self._wire: asyncio.Transport | None = None
        """The transport, also while aiohttp has closed it and it still has something to write."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        """Of a head that is not whole."""
        self._unread_timer: asyncio.TimerHandle | None = None
        self._by_line = False
        """The request that is parsed was let through by the queue of unparsed requests: it needs no turn."""
        self._in_line_s = 0.0
        self._unidentified = False
        """The last answer was 401: the next request takes its turn with cheap ones, not in the queue of customers."""
        self._answers = 0
        """Of all requests that aiohttp was given."""
        self._came_at: float | None = came_at
        """Until the first bytes have come."""
        self._let_in_at = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = wire = cast("asyncio.Transport", transport)
        if not self._listener.takes_one_more():
            wire.write(self._listener.no_room())
            wire.close()
            return
        # From the first byte that the system does not take, writing is paused: so it is known that it is not read.
        wire.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        self._listener.idle.opened(self)

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

    def data_received(self, data: bytes) -> None:
        came_at = self._take_came_at()
        in_line = self._listener.line.leave(self)
        if in_line:
            # The client sends more before its request was answered: only aiohttp's parser can tell what that is.
            data = in_line + data
        elif self._is_charge(data):
            self._listener.idle.busy(self)
            if self._listener.line.take(self, data, came_at):
                self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
                return
            self._by_line = True
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        super().data_received(data)
        self._break_off_body(self._current_request)
        if not self._is_idle():
            self._listener.idle.busy(self)
        if self._awaits_head():
            self._head_grows(len(data))
        elif self._head_timer is not None:
            self._stop_head_timer()

    def _head_grows(self, bytes_more: int) -> None:
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(HEAD_S, self._head_is_late)
            self._head_bytes = 0
        self._head_bytes += bytes_more
        if self._head_bytes > HEAD_BYTES_MAX:
            # Unlike a line that is too long, this is no error to the parser: it is given one.
            self._messages.append((_ErrInfo(400, LineTooLong(b"", HEAD_BYTES_MAX), ""), EMPTY_PAYLOAD))
            self._request_count += 1
            self._stop_head_timer()
            assert self._waiter is not None
            self._waiter.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._stop_unread_timer()
        self._wire = None
        self._listener.line.leave(self)
        self._listener.idle.busy(self)
        super().connection_lost(exc)

    async def _handle_request(
        self,
        request: web.BaseRequest,
        start_time: float | None,
        request_handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> tuple[web.StreamResponse, bool]:
        """Called by aiohttp for each request, one after another: here it waits for its turn.

        Raises:
            ConnectionResetError: the client is gone, and nothing was begun.
        """
        by_line, self._by_line = self._by_line, False
        if not by_line:
            self._listener.idle.awaits_turn(self)
            await self._listener.turns.take()
            self._listener.idle.busy(self)
            if self._is_closing():
                raise ConnectionResetError("the client has gone before its turn")
            self._break_off_body(request)
        return await super()._handle_request(request, start_time, request_handler)

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
        response = self._fail(request, _http_fault(exc) if status == 400 else None, exc or sys.exception())
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        self._answers += 1
        self._unidentified = resp.status == NOT_IDENTIFIED
        if self._is_idle() and self._wire is not None:
            self._listener.idle.answered(self)
        return finished

    def _take_came_at(self) -> float | None:
        """When the client was accepted, where this is its first data and came at once; else None, which means now."""
        came_at, self._came_at = self._came_at, None
        return came_at if self._loop.time() - self._let_in_at <= FIRST_WORDS_S else None

    def _is_charge(self, data: bytes) -> bool:
        """Whether this is a request for a charge and nothing else, and nothing is under way before it."""
        ready = self._head_timer is None and self._is_idle() and not self._unidentified
        return ready and is_charge(data)

    def look_at(self, data: bytes, in_line_s: float) -> None:
        if not self._is_closing():
            self._in_line_s = in_line_s
            self._by_line = True
            self._receive(data)

    def refuse(self, data: bytes) -> None:
        """Answer without parsing: in a burst that costs a tenth of what parsing would."""
        if self.transport is not None and not self._is_closing():
            self.transport.write(self._listener.refusal(given_id(data)))
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
            self._listener.idle.answered(self)

    def take_in_line_s(self) -> float:
        """How long the request that is parsed now was queued, in seconds."""
        in_line_s, self._in_line_s = self._in_line_s, 0.0
        return in_line_s

    def _break_off_body(self, request: web.BaseRequest | None) -> None:
        """Where what came is no proper body, fail its reader: aiohttp's parser leaves the reader waiting."""
        if request is None or not self._messages or request.content.is_eof():
            return
        fault, _ = self._messages[-1]
        if isinstance(fault, _ErrInfo):
            set_exception(request.content, RequestPayloadError(fault.message))

    def _is_closing(self) -> bool:
        """Whether the client has hung up, and the event loop is about to say so: aiohttp would be at its request then
        without what it handles it with.
        """
        return self.transport is None or self.transport.is_closing()

    def _is_idle(self) -> bool:
        """Whether every request has its answer. The client may send the next one before aiohttp's own task goes on."""
        return self._answers == self._request_count

    def _awaits_head(self) -> bool:
        """Whether bytes have come and no request of them: nothing is being handled, and nothing waits to be."""
        return self._waiter is not None and not self._waiter.done()

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._awaits_head():
            self.force_close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


def _http_fault(exc: BaseException | None) -> Rendered:
    if isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and exc.message.startswith("Too many headers")):
        return error(Case.HEAD_TOO_LARGE, "The request line or a header is too large, or there are too many")
    return error(Case.BAD_HTTP, "The request is not proper HTTP")
