"""Bad input at the HTTP edge, each kind by name, and what it gets: never a 5xx, always the platform's shape."""

import asyncio
import base64
import contextlib
import gzip
import io
from collections.abc import AsyncIterator, Mapping

import jwt
import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payment.actors.http import requests as http_body
from tests.unit.actors.http.http_world import (
    FORM,
    JWT_KEY,
    OWNER,
    PAYMENTS,
    HttpWorld,
    bearer,
    http_world,
    raw_post,
    read_answer,
)

LIMIT = http_body.BODY_BYTES_MAX


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


# Authentication.


def _unsigned() -> str:
    encode = base64.urlsafe_b64encode
    return (encode(b'{"alg":"none"}').rstrip(b"=") + b"." + encode(b'{"id":"u1"}').rstrip(b"=") + b".").decode()


UNIDENTIFIED = {
    "no token": {},
    "an empty bearer": {"Authorization": "Bearer "},
    "garbage": {"Authorization": "Bearer x.y.z"},
    "another scheme": {"Authorization": "Basic dTE6cA=="},
    "alg none": {"Authorization": f"Bearer {_unsigned()}"},
    "a forged signature": bearer(key="another secret, of which we know nothing at all"),
    "another algorithm": {"Authorization": f"Bearer {jwt.encode({'id': OWNER}, JWT_KEY * 2, algorithm='HS512')}"},
    "an expired token": bearer(exp=1),
    "a token of tomorrow": bearer(nbf=9_999_999_999),
    "a claim id that is a number": bearer(user_id=7),
    "a claim id that is a query": bearer(user_id={"$ne": None}),
    "a claim id of 5,000 characters": {"Authorization": "Bearer " + jwt.encode({"id": "x" * 4_500}, JWT_KEY)},
    "broken base64": {"Cookie": "session=%%%not-base64%%%"},
    "a cookie that is no JSON": {"Cookie": "session=" + base64.b64encode(b"\xff\xfe").decode()},
    "a cookie nested too deep": {"Cookie": "session=" + base64.b64encode(b"[" * 5_000).decode()},
    "a cookie of 7 KB": {"Cookie": "session=" + "A" * 7_000},
    "a token of 7 KB": {"Authorization": "Bearer " + "A" * 7_000},
}


@pytest.mark.parametrize("headers", UNIDENTIFIED.values(), ids=UNIDENTIFIED.keys())
async def test_a_request_without_a_valid_token_is_401(world: HttpWorld, headers: dict[str, str]) -> None:
    """F37: with the challenge, on each address of payments; the ledger gets no message."""
    for got in (await world.post(headers=headers), await world.show(headers=headers), await world.find("", headers)):
        assert (got.status, got.headers["WWW-Authenticate"], got.code) == (401, "Bearer", "unauthenticated")
    assert world.ledger.asked == []


async def test_the_token_is_checked_before_the_body_is_read(world: HttpWorld) -> None:
    """401 while the body has not even been sent, and whatever its type and size are said to be."""
    head = b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 99999999\r\n\r\n"
    assert (await world.raw(head)).status == 401


# Bad input, and what it gets.

BAD_BODIES: dict[str, tuple[bytes, list[str | None]]] = {
    "nothing": (b"", [None]),
    "not JSON": (b"orderId=o1", [None]),
    "not UTF-8": (b'{"orderId": "\xff\xfe", "token": "tok_visa"}', [None]),
    "nested 5,000 deep": (b"[" * 5_000 + b"]" * 5_000, [None]),
    "an open nest that fills the limit": (b"[" * LIMIT, [None]),
    "a lone surrogate": (b'{"orderId": "\\ud800", "token": "tok_visa"}', [None]),
    "NUL in an id": (b'{"orderId": "a\\u0000b", "token": "tok_visa"}', ["orderId"]),
    "a bare NUL": (b'{"orderId": "a\x00b", "token": "tok_visa"}', [None]),
    "NaN": (b'{"orderId": NaN, "token": "tok_visa"}', [None]),
    "a number as an id": (b'{"orderId": 7, "token": "tok_visa"}', ["orderId"]),
    "a number as a token": (b'{"orderId": "o1", "token": 7}', ["token"]),
    "a query as an id": (b'{"orderId": {"$ne": null}, "token": "tok_visa"}', ["orderId"]),
    "null for everything": (b'{"orderId": null, "token": null}', ["orderId", "token"]),
    "an id of 5,000 characters": (b'{"orderId": "' + b"x" * 5_000 + b'", "token": "tok_visa"}', ["orderId"]),
    "a token of 5,000 characters": (b'{"orderId": "o1", "token": "tok_' + b"x" * 5_000 + b'"}', ["token"]),
    "a number of 10,000 digits": (b'{"orderId": ' + b"9" * 10_000 + b', "token": "tok_visa"}', [None]),
    "an exponent beyond all measure": (b'{"orderId": 1e9999999999999999999, "token": "tok_visa"}', [None]),
    "a list": (b'["o1", "tok_visa"]', [None]),
    "an empty object": (b"{}", ["orderId", "token"]),
    "an empty id": (b'{"orderId": "", "token": "tok_visa"}', ["orderId"]),
    "no card token": (b'{"orderId": "o1", "token": "4242424242424242"}', ["token"]),
    "a payment method as a token": (b'{"orderId": "o1", "token": "pm_card_visa"}', ["token"]),
    "a token as a payment method": (b'{"orderId": "o1", "paymentMethod": "tok_visa"}', ["paymentMethod"]),
    "a query as a confirmation token": (b'{"orderId": "o1", "confirmationToken": {"$ne": 1}}', ["confirmationToken"]),
    "two instruments": (b'{"orderId": "o1", "token": "tok_visa", "paymentMethod": "pm_a"}', ["paymentMethod"]),
    "three instruments": (
        b'{"orderId": "o1", "token": "tok_visa", "paymentMethod": "pm_a", "confirmationToken": "ctoken_a"}',
        ["paymentMethod", "confirmationToken"],
    ),
    "a word for true": (b'{"orderId": "o1", "token": "tok_visa", "useStripeSdk": "true"}', ["useStripeSdk"]),
    "a script as an address": (
        b'{"orderId": "o1", "token": "tok_visa", "returnUrl": "javascript:alert(1)"}',
        ["returnUrl"],
    ),
    "an address with credentials": (
        b'{"orderId": "o1", "token": "tok_visa", "returnUrl": "https://u:p@shop.example.com/"}',
        ["returnUrl"],
    ),
    "both ways to authenticate": (
        b'{"orderId": "o1", "token": "tok_visa", "useStripeSdk": true, "returnUrl": "https://shop.example.com/"}',
        ["returnUrl"],
    ),
    "everything wrong": (
        b'{"orderId": 7, "token": 7, "paymentMethod": 7, "useStripeSdk": 7, "returnUrl": 7}',
        ["orderId", "token", "paymentMethod", "useStripeSdk", "returnUrl"],
    ),
}


@pytest.mark.parametrize(("body", "fields"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_bad_body_is_400_with_one_error_per_field(
    world: HttpWorld, body: bytes, fields: list[str | None]
) -> None:
    """Each fault by name; nothing of what was sent is repeated, and the ledger gets no message."""
    got = await world.post(body)
    assert got.status == 400, got.body
    assert {error["code"] for error in got.errors} == {"invalid_json" if fields == [None] else "invalid_field"}
    assert sorted(str(error.get("field")) for error in got.errors) == sorted(map(str, fields))
    assert len(got.body) < 1_000
    assert world.ledger.asked == []
    assert not world.running.done()


async def test_a_body_nested_100_000_deep_is_too_large(world: HttpWorld) -> None:
    """413: it is never parsed at all."""
    assert (await world.post(b"[" * 100_000)).status == 413


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_3_mb_is_413_and_not_kept(world: HttpWorld, chunked: bool) -> None:
    """Also when its length is not said beforehand; the answer arrives, though the rest was not read."""
    body = b'{"orderId": "' + b"x" * 3_000_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 60_000):
            yield body[start : start + 60_000]

    headers = bearer() | {"Content-Type": "application/json"}
    got = await world.request("POST", PAYMENTS, data=pieces() if chunked else io.BytesIO(body), headers=headers)
    assert (got.status, len(got.errors)) == (413, 1)


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 201), (LIMIT + 1, 413)])
async def test_the_limit_of_a_body_is_exact(world: HttpWorld, size: int, status: int) -> None:
    """One byte decides."""
    body = msgspec.json.encode(FORM)
    assert (await world.post(body + b" " * (size - len(body)))).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
    ],
)
async def test_another_media_type_is_415(world: HttpWorld, headers: dict[str, str]) -> None:
    """An encoded body too: nothing is unpacked, so nothing can be a bomb."""
    got = await world.post(gzip.compress(b"{}"), headers=bearer() | headers)
    assert (got.status, got.headers["Accept"]) == (415, "application/json")
    assert got.errors


async def test_no_media_type_at_all_is_415(world: HttpWorld) -> None:
    """JSON has to be declared: a browser's form can't post here."""
    head = b"POST /api/v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nAuthorization: "
    got = await world.raw(head + bearer()["Authorization"].encode() + b"\r\n\r\n{}")
    assert got.status == 415


async def test_headers_of_7_kb_are_taken(world: HttpWorld) -> None:
    """What the platform's router lets through reaches us."""
    assert (await world.post(headers=bearer() | {"X-Large": "x" * 7_000})).status == 201


async def test_a_body_that_comes_in_pieces_is_put_together(world: HttpWorld) -> None:
    """The slow path: head first, then one byte after another."""
    body = msgspec.json.encode(FORM)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(raw_post(b"Content-Length: %d\r\n" % len(body)))
    for byte in body:
        await asyncio.sleep(0)
        writer.write(bytes((byte,)))
    assert (await read_answer(reader)).status == 201
    writer.close()


async def test_a_body_that_does_not_come_is_408(world: HttpWorld) -> None:
    """A client that dribbles holds a connection for a bounded time, and nothing else."""
    posting = asyncio.create_task(world.raw(raw_post(b"Content-Length: 50\r\n", b"{")))
    await world.until(lambda: world.clock.sleepers == 2)
    await world.clock.advance(http_body.BODY_S)
    got = await posting
    assert (got.status, got.headers["Connection"], len(got.errors)) == (408, "close", 1)


async def test_a_client_that_asks_first_may_send_its_body(world: HttpWorld) -> None:
    """Expect: 100-continue, as curl sends it for large bodies."""
    body = msgspec.json.encode(FORM)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.actor.port)
    writer.write(raw_post(b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await read_answer(reader)).status == 201
    writer.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Expect: 100-continue\r\nContent-Length: 3000000\r\n", 413),
        (b"Expect: a miracle\r\nContent-Length: 2\r\n", 417),
    ],
)
async def test_a_client_that_asks_first_can_be_refused(world: HttpWorld, headers: bytes, status: int) -> None:
    """Before it has sent a byte of its body."""
    got = await world.raw(raw_post(headers))
    assert (got.status, len(got.errors)) == (status, 1)


# Whatever comes.

TEXT = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=200)
HEADER = st.one_of(
    TEXT,
    TEXT.map(lambda text: f"Bearer {text}"),
    st.binary(max_size=60).map(lambda data: "session=" + base64.b64encode(data).decode()),
    st.dictionaries(st.sampled_from(["id", "exp", "nbf", "iat"]), st.one_of(st.text(), st.integers(), st.floats())).map(
        lambda claims: "Bearer " + _signed(claims)
    ),
)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=300),
    JSON_VALUES.map(msgspec.json.encode),
    st.fixed_dictionaries(
        {"orderId": JSON_VALUES},
        optional={
            "token": JSON_VALUES,
            "paymentMethod": JSON_VALUES,
            "confirmationToken": JSON_VALUES,
            "useStripeSdk": JSON_VALUES,
            "returnUrl": JSON_VALUES,
        },
    ).map(msgspec.json.encode),
)


def _signed(claims: Mapping[str, object]) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    payload = base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        head + b"." + payload, JWT_KEY.encode()
    )
    return b".".join((head, payload, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_sent_is_answered_in_the_platforms_shape(data: st.DataObject) -> None:
    """No bytes in a body, a cookie or an Authorization header give a 5xx, another shape, or a dead actor."""
    world, loop = _shared_world()
    headers = {"Content-Type": "application/json"}
    name = data.draw(st.sampled_from(["Authorization", "Cookie", "valid"]))
    headers |= bearer() if name == "valid" else {name: data.draw(HEADER)}
    got = loop.run_until_complete(world.request("POST", PAYMENTS, data=data.draw(BODIES), headers=headers))
    assert got.status in (201, 400, 401), got
    if got.status != 201:
        assert got.errors
    assert not world.running.done()


_SHARED: list[tuple[HttpWorld, asyncio.AbstractEventLoop]] = []


def _shared_world() -> tuple[HttpWorld, asyncio.AbstractEventLoop]:
    """One world for all examples of the fuzz: a server for each would take minutes."""
    if not _SHARED:
        loop = asyncio.new_event_loop()
        world = HttpWorld()
        loop.run_until_complete(_begin(world))
        _SHARED.append((world, loop))
    return _SHARED[0]


async def _begin(world: HttpWorld) -> None:
    await world.start()
    world.up()


@pytest.fixture(scope="module", autouse=True)
def _end_of_the_shared_world() -> object:
    yield
    for world, loop in _SHARED:
        loop.run_until_complete(world.stop())
        loop.close()
    _SHARED.clear()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.binary(min_size=1, max_size=200))
def test_whatever_bytes_come_the_port_goes_on(sent: bytes) -> None:
    """Garbage instead of HTTP is refused or ignored; the next client is served."""
    world, loop = _shared_world()
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        got = loop.run_until_complete(world.raw(sent + b"\r\n\r\n", end=True))
        assert got.status in (400, 404, 405, 431)
        assert got.errors
    assert loop.run_until_complete(world.get("/healthz")).status == 200
    assert not world.running.done()
