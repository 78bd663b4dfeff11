"""HTTP as bytes that are not parsed: what a burst's requests are recognized by, and a response made without aiohttp.

A request is taken for a charge here only where its head is proper HTTP beyond doubt. Whatever is doubtful goes to
aiohttp's parser, which refuses it with 400 and closes, also in the middle of a burst. So does a request without any
credentials: it gets 401, and must not wait in one queue with customers.
"""

import re
from http import HTTPStatus

from payment.actors.http.responses import PAYMENTS_PATH, Rendered

_REQUEST_LINE = f"POST {PAYMENTS_PATH} HTTP/1.1\r\n".encode()
_HEADERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}+:[\t\x20-\x7e\x80-\xff]{0,8000}+\r\n){1,100}+\r\n")
"""Header lines as RFC 9112 has them: a token, a colon, and no control character. A folded line is none.
What was matched is never given up again (`+`), so that a head made for it takes no longer than another."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,5})[ \t]*\r\n", re.IGNORECASE)
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|host|upgrade|expect):", re.IGNORECASE)
"""Headers that say where the request ends or what it is for: exactly one length, one host, and none of the others."""
_CREDENTIALS = re.compile(rb"\r\n(?:authorization|cookie):", re.IGNORECASE)
_GIVEN_ID = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)


def is_charge(data: bytes) -> bool:
    """Whether bytes are one whole request for a charge, in proper HTTP and with credentials, and nothing else."""
    if not data.startswith(_REQUEST_LINE):
        return False
    headers = _HEADERS.match(data, len(_REQUEST_LINE))
    if headers is None:
        return False
    head_end = headers.end()
    length = _LENGTH.search(data, 0, head_end)
    if length is None or len(data) != head_end + int(length[1]):
        return False
    framing = sorted(name.lower() for name in _FRAMING.findall(data, 0, head_end))
    return framing == [b"content-length", b"host"] and _CREDENTIALS.search(data, 0, head_end) is not None


def given_id(data: bytes) -> str | None:
    """The `X-Request-ID` of an unparsed request, as it was sent."""
    given = _GIVEN_ID.search(data)
    return given[1].decode("latin-1") if given else None


def answer_bytes(answer: Rendered, more_headers: tuple[tuple[str, str], ...]) -> bytes:
    """Returns a whole response, without aiohttp. It keeps the connection, unless `more_headers` say otherwise."""
    row = answer.case.value
    headers = (("Content-Type", row.content_type), ("Content-Length", str(len(answer.body))))
    lines = [f"{name}: {value}" for name, value in (*headers, *more_headers, *answer.headers)]
    head = "\r\n".join([f"HTTP/1.1 {row.status} {HTTPStatus(row.status).phrase}", *lines])
    return head.encode() + b"\r\n\r\n" + answer.body
