"""How the body of a request is read: declared as JSON, bounded, and whole within `BODY_S` by the clock."""

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from payment.actors.http.responses import JSON, Case, Rendered, error
from payment.actors.runtime.deadlines import DeadlineExceeded, within
from payment.ports.clock import Clock

BODY_BYTES_MAX = 16_384
"""Largest body, in bytes. A charge's is about 100; the longest valid one, every character escaped, is under 16,000: a
return URL of 2,048 characters, and two ids of 255."""
BODY_S = 10.0
"""How long a body may take to arrive, in seconds. One packet is the rule; a phone in a tunnel may need some more."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyRefused(Exception):
    """The request can't be taken, and this is its answer. `close`: the rest of it is not worth reading.

    `reason` is for the log, in words of ours; None where there is nothing to log.
    """

    def __init__(self, answer: Rendered, *, close: bool = False, reason: str | None = None) -> None:
        super().__init__(answer.case.name)
        self.answer = answer
        self.close = close
        self.reason = reason


async def read_body(request: web.BaseRequest, clock: Clock) -> bytes:
    """Returns the body of a request that must be JSON. As a rule it has come with its head: then this does not wait.

    Raises:
        BodyRefused: it is declared as something else, is too large, or does not come whole and in time.
    """
    _check_head(request)
    body = bytearray()
    try:
        if not _take(request, body):
            await within(clock, BODY_S, _read_rest(request, body), name="body")
    except DeadlineExceeded:
        late = error(Case.TOO_SLOW, "The body did not come in time")
        raise BodyRefused(late, close=True, reason="the body did not come in time") from None
    except (RequestPayloadError, ConnectionError):
        broken = error(Case.BAD_HTTP, "The body broke off or is not proper HTTP")
        raise BodyRefused(broken, close=True, reason="the body broke off or is not proper HTTP") from None
    return bytes(body)


def _check_head(request: web.BaseRequest) -> None:
    """Check what can be checked before the body has come."""
    headers = request.headers
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise BodyRefused(_bad_media_type(f"The Content-Type must be {JSON}"))
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise BodyRefused(_bad_media_type("The body must not be compressed or otherwise encoded"))
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()
    expectation = headers.get("Expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise BodyRefused(error(Case.BAD_EXPECTATION, "Only 100-continue can be expected"), close=True)


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


def _too_large() -> BodyRefused:
    answer = error(Case.BODY_TOO_LARGE, f"The body must be at most {BODY_BYTES_MAX} bytes long")
    return BodyRefused(answer, close=True, reason="the body is too large")
