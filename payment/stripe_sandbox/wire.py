"""Sends an answer: whole, or broken by a fault.

It must never decide what was executed, only what the client receives.
"""

import asyncio
import socket
import struct

from aiohttp import web

from payment.stripe_sandbox.errors import SandboxAnswer
from payment.stripe_sandbox.faults import FaultKind

HANG_CHECK_EVERY_S = 0.5
"""Between two checks whether the client of a hanging request is still connected, in seconds: short, so that hanging
requests do not accumulate.
"""
RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing then sends RST instead of FIN."""
HTML_PAGE = b"<html><head><title>503</title></head><body><h1>503 Service Unavailable</h1></body></html>"


def html_page() -> SandboxAnswer:
    return SandboxAnswer(503, HTML_PAGE, content_type="text/html")


async def send(
    request: web.Request, answer: SandboxAnswer, fault: FaultKind | None, closing: asyncio.Event
) -> web.StreamResponse:
    """Send the answer as the fault requires. The returned response of a broken connection is never sent."""
    match fault:
        case FaultKind.DROP_BEFORE | FaultKind.DROP_AFTER | FaultKind.LATE:
            return _reset(request)
        case FaultKind.HANG | FaultKind.HANG_AFTER:
            return await _hang(request, closing)
        case FaultKind.CUT_BODY:
            return await _cut(request, answer)
        case FaultKind.HTML | FaultKind.HTML_AFTER:
            return _whole(html_page())
        case _:
            return _whole(answer)


def _whole(answer: SandboxAnswer) -> web.Response:
    return web.Response(
        status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
    )


def _reset(request: web.Request) -> web.Response:
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
        transport.abort()
    return web.Response()


async def _hang(request: web.Request, closing: asyncio.Event) -> web.Response:
    """Send nothing until the client disconnects or the sandbox ends."""
    while request.transport is not None and not closing.is_set():
        try:
            await asyncio.wait_for(closing.wait(), HANG_CHECK_EVERY_S)
        except TimeoutError:
            continue
    return _reset(request)


async def _cut(request: web.Request, answer: SandboxAnswer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
