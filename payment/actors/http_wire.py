"""HTTP as bytes: connections and their limits, and how a body is read.

Owns what aiohttp does before and after our handler: malformed HTTP is answered in the platform's shape too, and an
exception that no handler expected becomes a 500 without internal details, and is handed on. It must never decide what a
request means: that is `payment.actors.http`.

A connection that has sent part of a head is closed after `HEAD_S`, one that is idle after `KEEPALIVE_S`, and a body
must be complete within `BODY_S`. The first two are aiohttp's and the event loop's own timers, the third is the clock's.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from payment.actors.deadline import DeadlineExceeded, within
from payment.actors.http_line import Line
from payment.edge.answers import JSON, PAYMENTS_PATH, Case, Rendered, error
from payment.ports.clock import Clock

BODY_BYTES_MAX = 16_384
"""Largest body, in bytes. A charge's is about 100; the longest valid one, every character escaped, is under 16,000: a
return URL of 2,048 characters, and two ids of 255."""
BODY_S = 10.0
"""How long a body may take to arrive, in seconds. One packet is the rule; a phone in a tunnel may need some more."""
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
CONNECTIONS_MAX = 16_384
"""Most connections at once: more than requests may wait, and each costs some 20 KB. Further ones are closed."""
FIRST_WORDS_S = 1.0
"""A request that is read within this time after its connection was made, in seconds, counts as sent when the connection
was accepted: a slow machine reads it half a second late. A later one counts from when it is read, or clients would open
connections to keep a place in the queue."""
FLUSH_S = 2.0
"""How long answers may take to be written at the end. They are small: it is only the sockets' buffers."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
"""What an `X-Request-ID` may be to be used: what routers and clients make, and nothing that could break a log line."""

_CHARGE = f"POST {PAYMENTS_PATH} HTTP/1.1\r\n".encode()
_BODY_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,5})[ \t]*\r\n", re.IGNORECASE)
_GIVEN_ID = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)

Refusal = Callable[[str | None], bytes]
"""Returns the whole response to a charge that can't be accepted now. Takes the request id that came with it."""

Fail = Callable[[web.BaseRequest, Rendered | None, BaseException | None], web.Response]
"""Makes the response where a handler did not: of an answer that is known, or of an unexpected exception."""


class Refused(Exception):
    """The request can't be taken, and this is its answer. `close`: the rest of it is not worth reading."""

    def __init__(self, answer: Rendered, *, close: bool = False) -> None:
        super().__init__(answer.case.name)
        self.answer = answer
        self.close = close


class Listener(web.Server):
    """Makes a `Connection` for each client that is accepted."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        fail: Fail,
        line: Line,
        refusal: Refusal,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        # A client that disconnects does not end its request: a committed attempt is carried out and kept either way.
        super().__init__(handler, handler_cancellation=False)
        self.fail = fail
        self.line = line
        self.refusal = refusal
        self._connections_max = connections_max

    @property
    def full(self) -> bool:
        """Whether `connections_max` is reached."""
        return len(self._connections) >= self._connections_max

    def connection(self, came_at: float) -> "Connection":
        """Returns a connection for a client that was accepted at that time (monotonic seconds)."""
        return Connection(self, self._loop, self.fail, came_at)

    async def close(self) -> None:
        """Write the answers out, and close every connection."""
        self.pre_shutdown()
        await self.shutdown(FLUSH_S)


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_answers", "_came_at", "_fail", "_head_timer", "_in_line_s", "_let_in_at", "_listener")

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
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_line_s = 0.0
        self._answers = 0
        """Of all requests that aiohttp was given."""
        self._came_at: float | None = came_at
        """Until the first bytes have come."""
        self._let_in_at = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._listener.full:
            transport.close()
        else:
            super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        came_at = self._take_came_at()
        in_line = self._listener.line.leave(self)
        if in_line:
            # The client sends more before its request was answered: only aiohttp's parser can tell what that is.
            data = in_line + data
        elif self._is_charge(data) and self._listener.line.take(self, data, came_at):
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
            return
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        super().data_received(data)
        self._break_off_body()
        if self._awaits_head():
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(HEAD_S, self._head_is_late)
        elif self._head_timer is not None:
            self._stop_head_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._listener.line.leave(self)
        super().connection_lost(exc)

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
        return finished

    def _take_came_at(self) -> float | None:
        """When the client was accepted, where this is its first data and came at once; else None, which means now."""
        came_at, self._came_at = self._came_at, None
        return came_at if self._loop.time() - self._let_in_at <= FIRST_WORDS_S else None

    def _is_charge(self, data: bytes) -> bool:
        """Whether this is a request for a charge and nothing else, and nothing is under way before it."""
        return self._head_timer is None and self._is_idle() and data.startswith(_CHARGE) and _is_whole(data)

    def look_at(self, data: bytes, in_line_s: float) -> None:
        if not self._is_closing():
            self._in_line_s = in_line_s
            self._receive(data)

    def refuse(self, data: bytes) -> None:
        """Answer without parsing: in a burst that costs a tenth of what parsing would."""
        if self.transport is not None and not self._is_closing():
            given = _GIVEN_ID.search(data)
            self.transport.write(self._listener.refusal(given[1].decode("latin-1") if given else None))
            self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S

    def take_in_line_s(self) -> float:
        """How long the request that is parsed now was queued, in seconds."""
        in_line_s, self._in_line_s = self._in_line_s, 0.0
        return in_line_s

    def _break_off_body(self) -> None:
        """Where what came is no proper body, fail its reader: aiohttp's parser leaves the reader waiting."""
        request = self._current_request
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


def _is_whole(data: bytes) -> bool:
    """Whether bytes are one request and nothing else, by the length that its head announces."""
    head_end = data.find(b"\r\n\r\n") + 2
    length = _BODY_LENGTH.search(data, 0, head_end)
    return length is not None and len(data) == head_end + 2 + int(length[1])


def answer_bytes(answer: Rendered, more_headers: tuple[tuple[str, str], ...]) -> bytes:
    """Returns a whole response that keeps the connection, without aiohttp."""
    row = answer.case.value
    headers = (("Content-Type", row.content_type), ("Content-Length", str(len(answer.body))))
    lines = [f"{name}: {value}" for name, value in (*headers, *more_headers, *answer.headers)]
    head = "\r\n".join([f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}", *lines])
    return head.encode() + b"\r\n\r\n" + answer.body


def _http_fault(exc: BaseException | None) -> Rendered:
    if isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and exc.message.startswith("Too many headers")):
        return error(Case.HEAD_TOO_LARGE, "The request line or a header is too large, or there are too many")
    return error(Case.BAD_HTTP, "The request is not proper HTTP")


async def read_body(request: web.BaseRequest, clock: Clock) -> bytes:
    """Returns the body of a request that must be JSON. As a rule it has come with its head: then this does not wait.

    Raises:
        Refused: it is declared as something else, is too large, or does not come whole and in time.
    """
    _check_head(request)
    body = bytearray()
    try:
        if not _take(request, body):
            await within(clock, BODY_S, _read_rest(request, body), name="body")
    except DeadlineExceeded:
        raise Refused(error(Case.TOO_SLOW, "The body did not come in time"), close=True) from None
    except (RequestPayloadError, ConnectionError):
        raise Refused(error(Case.BAD_HTTP, "The body broke off or is not proper HTTP"), close=True) from None
    return bytes(body)


def _check_head(request: web.BaseRequest) -> None:
    """Check what can be checked before the body has come."""
    headers = request.headers
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise Refused(_bad_media_type(f"The Content-Type must be {JSON}"))
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Refused(_bad_media_type("The body must not be compressed or otherwise encoded"))
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()
    expectation = headers.get("Expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise Refused(error(Case.BAD_EXPECTATION, "Only 100-continue can be expected"), close=True)


def _take(request: web.BaseRequest, body: bytearray) -> bool:
    """Move what has come into `body`; True once that is all of it."""
    content = request.content
    if not content.at_eof():
        body += content.read_nowait()
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return content.at_eof()


async def _read_rest(request: web.BaseRequest, body: bytearray) -> None:
    if "Expect" in request.headers and not body:
        transport = request.transport
        if transport is not None:
            transport.write(_CONTINUE)
    while not _take(request, body):
        body += await request.content.readany()


def _bad_media_type(message: str) -> Rendered:
    return error(Case.BAD_MEDIA_TYPE, message, headers=(("Accept", JSON),))


def _too_large() -> Refused:
    return Refused(error(Case.BODY_TOO_LARGE, f"The body must be at most {BODY_BYTES_MAX} bytes long"), close=True)
