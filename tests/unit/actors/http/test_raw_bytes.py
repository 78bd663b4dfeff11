"""`payment.actors.http.raw_bytes`: what is taken for a charge unparsed is proper HTTP beyond doubt."""

import msgspec
import pytest

from payment.actors.http.raw_bytes import given_id, is_charge
from tests.unit.actors.http.http_world import FORM, raw_post

BODY = msgspec.json.encode(FORM)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
GOOD = {
    "as it comes": raw_post(LENGTH, BODY),
    "lower case": raw_post(LENGTH.lower(), BODY),
    "blanks around a value": raw_post(b"Content-Length: \t %d \t\r\n" % len(BODY), BODY),
    "with an id": raw_post(b"X-Request-ID: r-1\r\n" + LENGTH, BODY),
    "an empty header": raw_post(b"X-Empty:\r\n" + LENGTH, BODY),
    "a header in Latin-1": raw_post(b"X-Name: caf\xe9\r\n" + LENGTH, BODY),
    "a cookie of 7 KB": raw_post(b"Cookie: session=" + b"A" * 7_000 + b"\r\n" + LENGTH, BODY),
    "a cookie": raw_post(LENGTH, BODY).replace(b"Authorization: Bearer ", b"Cookie: session="),
    "no body": raw_post(b"Content-Length: 0\r\n"),
}
MALFORMED = {
    "no Host": raw_post(LENGTH, BODY).replace(b"Host: x\r\n", b""),
    "two Hosts": raw_post(b"Host: y\r\n" + LENGTH, BODY),
    "a header without a colon": raw_post(b"nonsense\r\n" + LENGTH, BODY),
    "a header without a name": raw_post(b": 1\r\n" + LENGTH, BODY),
    "a blank before the colon": raw_post(b"X-A : 1\r\n" + LENGTH, BODY),
    "a folded header": raw_post(b"X-A: 1\r\n 2\r\n" + LENGTH, BODY),
    "NUL in a header": raw_post(b"X-A: a\x00b\r\n" + LENGTH, BODY),
    "a bare line feed": raw_post(b"X-A: a\nX-B: b\r\n" + LENGTH, BODY),
    "two lengths": raw_post(LENGTH + b"Content-Length: 2\r\n", BODY),
    "the same length twice": raw_post(LENGTH + LENGTH, BODY),
    "a length and chunks": raw_post(LENGTH + b"Transfer-Encoding: chunked\r\n", BODY),
    "a length with a sign": raw_post(b"Content-Length: +%d\r\n" % len(BODY), BODY),
    "101 headers": raw_post(b"".join(b"X-%d: 1\r\n" % n for n in range(101)) + LENGTH, BODY),
    "a header of 9 KB": raw_post(b"X-A: " + b"x" * 9_000 + b"\r\n" + LENGTH, BODY),
}
DOUBTFUL = {
    "no credentials": raw_post(LENGTH, BODY).replace(b"Authorization:", b"X-Authorization:"),
    "an upgrade": raw_post(b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + LENGTH, BODY),
    "an expectation": raw_post(b"Expect: 100-continue\r\n" + LENGTH, BODY),
    "chunks": raw_post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "HTTP/1.0": raw_post(LENGTH, BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "half a body": raw_post(LENGTH, BODY[:-1]),
    "more than a body": raw_post(LENGTH, BODY + b"G"),
    "half a head": raw_post(LENGTH, BODY).partition(b"\r\n\r\n")[0],
    "another address": raw_post(LENGTH, BODY).replace(b"/payments ", b"/payment "),
    "nothing": b"",
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD.keys())
def test_a_whole_charge_is_recognized(data: bytes) -> None:
    """As clients and routers send it."""
    assert is_charge(data)


@pytest.mark.parametrize("data", [*MALFORMED.values(), *DOUBTFUL.values()], ids=[*MALFORMED, *DOUBTFUL])
def test_what_is_doubtful_is_left_to_the_parser(data: bytes) -> None:
    """F51: only a parser can say what it is."""
    assert not is_charge(data)


def test_the_id_that_came_is_found() -> None:
    """As it was sent: whether it is well-formed is checked by those who use it."""
    assert given_id(GOOD["with an id"]) == "r-1"
    assert given_id(GOOD["as it comes"]) is None
