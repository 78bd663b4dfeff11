"""`payment.actors.http.actor`: the contract's HTTP, as a client sees it over a socket."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from payment.actors.http.actor import HandlerCrashed
from payment.actors.http.connections import ListeningSockets
from payment.actors.http.responses import NOTHING_CHARGED, OUTCOME_UNKNOWN
from payment.actors.messages import ChargeOrder, ChargeReply, GetPayment
from payment.core.messages import Authentication, Instrument, InstrumentKind
from payment.core.replies import (
    CardWasDeclined,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    PaymentStatus,
    RequiresAction,
)
from payment.ops.health import Dependency
from payment.ops.logs import get_logger
from payment.ports.cards import Handover
from tests.unit.actors.http.http_world import (
    BANK_URL,
    CHARGE_WAIT_S,
    CLIENT_SECRET,
    FORM,
    ORDER_ID,
    OWNER,
    PAYMENT_ID,
    PAYMENTS,
    REAL_S,
    REDIRECT,
    SDK,
    STRIPE_ID,
    HttpWorld,
    bearer,
    http_world,
    read_answer,
    view,
)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


# What the ledger is asked, and what it says. Every row of the table stands in tests/unit/actors/http/test_openapi.py.


async def test_a_charge_reaches_the_ledger_as_one_command(world: HttpWorld) -> None:
    """The user, the order, the card token, the deadline and the request id."""
    got = await world.post(headers=bearer() | {"X-Request-ID": "r-1"})
    (message,) = world.ledger.asked
    assert isinstance(message, ChargeOrder)
    assert (message.request.order_id, message.request.user_id) == (ORDER_ID, OWNER)
    assert message.request.instrument == Instrument(InstrumentKind.TOKEN, "tok_visa")
    assert message.request.authentication == Authentication()
    assert (message.deadline - message.asked_at, message.request_id) == (CHARGE_WAIT_S, "r-1")
    assert (got.status, got.headers["Location"]) == (201, f"{PAYMENTS}/{PAYMENT_ID}")


INSTRUMENTS = [
    ("token", "tok_visa", InstrumentKind.TOKEN),
    ("paymentMethod", "pm_card_visa", InstrumentKind.PAYMENT_METHOD),
    ("confirmationToken", "ctoken_1N2x", InstrumentKind.CONFIRMATION_TOKEN),
]
RETURN_URL = "https://shop.example.com/done?session=of-the-customer"


@pytest.mark.parametrize(("field", "value", "kind"), INSTRUMENTS)
@pytest.mark.parametrize(
    ("sent", "authentication"),
    [
        ({}, Authentication()),
        ({"useStripeSdk": True}, Authentication(use_stripe_sdk=True)),
        ({"returnUrl": RETURN_URL}, Authentication(return_url=RETURN_URL)),
    ],
    ids=["neither", "useStripeSdk", "returnUrl"],
)
async def test_each_instrument_and_each_way_to_authenticate_reaches_the_ledger(
    world: HttpWorld, field: str, value: str, kind: InstrumentKind, sent: dict[str, object], authentication: object
) -> None:
    """Three instruments, with no way to authenticate, with Stripe.js, or with a redirect."""
    assert (await world.post({"orderId": ORDER_ID, field: value, **sent})).status == 201
    (asked,) = world.ledger.asked
    assert isinstance(asked, ChargeOrder)
    assert asked.request.instrument == Instrument(kind, value)
    assert asked.request.authentication == authentication


@pytest.mark.parametrize(
    ("handover", "next_action"),
    [(SDK, {"type": "use_stripe_sdk"}), (REDIRECT, {"type": "redirect_to_url", "url": BANK_URL})],
    ids=["Stripe.js", "redirect"],
)
async def test_a_bank_that_wants_the_customer_is_202_with_what_the_browser_needs(
    world: HttpWorld, handover: Handover, next_action: dict[str, str]
) -> None:
    """The client secret and the next action, where to look afterwards and when, and no cache keeps it."""
    world.ledger.says(RequiresAction(PAYMENT_ID, ORDER_ID), 3, handover)
    got = await world.post(FORM | {"useStripeSdk": True})
    assert got.status == 202
    assert got.json == {
        "id": PAYMENT_ID,
        "orderId": ORDER_ID,
        "status": "requires_action",
        "clientSecret": CLIENT_SECRET,
        "nextAction": next_action,
    }
    assert got.headers["Location"] == f"{PAYMENTS}/{PAYMENT_ID}"
    assert (got.headers["Retry-After"], got.headers["Cache-Control"]) == ("3", "no-store")


async def test_an_owner_finds_the_next_action_at_the_payment(world: HttpWorld) -> None:
    """GET, by the payment's id and by the order's: after a reload the browser can go on."""
    world.ledger.finds(view(PaymentStatus.REQUIRES_ACTION, None), SDK)
    for got in (await world.show(), await world.find()):
        assert (got.status, got.headers["Cache-Control"]) == (200, "no-store")
        assert (got.json["status"], got.json["clientSecret"]) == ("requires_action", CLIENT_SECRET)
        assert got.json["nextAction"] == {"type": "use_stripe_sdk"}
    by_id, by_order = world.ledger.asked
    assert isinstance(by_id, GetPayment)
    assert isinstance(by_order, GetPayment)
    assert (by_id.user_id, by_id.payment_id, by_id.order_id) == (OWNER, PAYMENT_ID, None)
    assert (by_order.user_id, by_order.payment_id, by_order.order_id) == (OWNER, None, ORDER_ID)


async def test_only_the_owner_gets_the_client_secret(world: HttpWorld) -> None:
    """403, and neither secret nor payment in it, by either address."""
    world.ledger.finds(view(PaymentStatus.REQUIRES_ACTION, None), SDK)
    for got in (await world.show(headers=bearer("u2")), await world.find(headers=bearer("u2"))):
        assert (got.status, got.code) == (403, "not_owner")
        assert CLIENT_SECRET.encode() not in got.body
        assert PAYMENT_ID.encode() not in got.body


async def test_a_payment_is_found_by_its_order(world: HttpWorld) -> None:
    """The same body as by the payment's id; a slash at the end and other parameters make no difference."""
    by_id = await world.show()
    for query in (f"orderId={ORDER_ID}", f"x=1&orderId={ORDER_ID}&y"):
        got = await world.find(query)
        assert (got.status, got.json) == (200, by_id.json)
    assert got.json == {"id": PAYMENT_ID, "orderId": ORDER_ID, "status": "paid", "stripeId": STRIPE_ID}
    assert (await world.get(f"{PAYMENTS}/?orderId={ORDER_ID}", bearer())).status == 200


async def test_an_orders_id_in_a_query_may_be_escaped(world: HttpWorld) -> None:
    """As every client library writes it."""
    await world.find("orderId=a%20b%2Fc%C3%A9")
    (asked,) = world.ledger.asked
    assert isinstance(asked, GetPayment)
    assert asked.order_id == "a b/cé"


async def test_an_order_without_a_payment_is_404(world: HttpWorld) -> None:
    """So is an order that does not exist: the two answers are the same."""
    world.ledger.finds(None)
    got = await world.find()
    assert (got.status, got.code) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "orderId",
        "orderId=",
        "orderid=o1",
        "orderId=%20",
        "orderId=%0a",
        "orderId=a%00b",
        "orderId=a&orderId=b",
        "orderId=" + "x" * 256,
    ],
)
async def test_a_malformed_query_is_400_and_names_the_field(world: HttpWorld, query: str) -> None:
    """Nothing of it is repeated, and the ledger gets no message."""
    got = await world.find(query)
    ((error),) = got.errors
    assert (got.status, error["code"], error["field"]) == (400, "invalid_field", "orderId")
    assert len(got.body) < 200
    assert world.ledger.asked == []


async def test_a_payment_is_sought_for_a_user_only(world: HttpWorld) -> None:
    """401 before the query is parsed."""
    got = await world.find("", headers={})
    assert (got.status, got.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_decline_names_its_payment(world: HttpWorld) -> None:
    """402 with the payment's id and address, so that its status can be read while another card is tried."""
    world.ledger.says(CardWasDeclined(PAYMENT_ID, "insufficient_funds", "Your card has insufficient funds."))
    got = await world.post()
    assert (got.status, got.json["id"], got.code) == (402, PAYMENT_ID, "declined")
    assert got.headers["Location"] == f"{PAYMENTS}/{PAYMENT_ID}"


# What no log line shows.


async def test_no_log_line_shows_what_a_request_or_an_answer_must_hide(world: HttpWorld) -> None:
    """Neither an instrument, a return URL's query, the JWT, the client secret nor what a query held."""
    with capture_logs() as logged:
        world.ledger.says(RequiresAction(PAYMENT_ID, ORDER_ID), 3, REDIRECT)
        for field, value, _ in INSTRUMENTS:
            body = {"orderId": ORDER_ID, field: value, "returnUrl": RETURN_URL}
            assert (await world.post(body)).status == 202
            assert (await world.post(body | {"returnUrl": RETURN_URL + "#x"})).status == 400
        world.ledger.finds(view(PaymentStatus.REQUIRES_ACTION, None), REDIRECT)
        assert (await world.find("orderId=secretOrder")).status == 200
        world.ledger.says(InstrumentRefused(InstrumentKind.TOKEN, ""))
        assert (await world.post()).status == 400
    said = repr(logged)
    hidden = [value for _, value, _ in INSTRUMENTS] + [CLIENT_SECRET, BANK_URL, "of-the-customer", "secretOrder"]
    assert [text for text in [*hidden, bearer()["Authorization"][7:]] if text in said] == []
    assert said.count("http_request") == 8


@pytest.mark.parametrize("cookie", ["session", "express:sess"])
async def test_the_platforms_cookie_identifies_the_user(world: HttpWorld, cookie: str) -> None:
    """Base64 of a JSON object with the token, under both of its names."""
    token = bearer()["Authorization"].removeprefix("Bearer ")
    session = base64.b64encode(msgspec.json.encode({"jwt": token})).decode()
    assert (await world.post(headers={"Cookie": f"theme=dark; {cookie}={session}"})).status == 201


async def test_cookies_in_several_headers_are_one_list(world: HttpWorld) -> None:
    """HTTP/2 routers split the Cookie header."""
    session = base64.b64encode(msgspec.json.encode({"jwt": bearer()["Authorization"][7:]}))
    head = b"GET /api/v1/payments/" + PAYMENT_ID.encode() + b" HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nCookie: session="
    assert (await world.raw(head + session + b"\r\n\r\n")).status == 200


@pytest.mark.parametrize("path", [PAYMENTS, f"{PAYMENTS}/", f"{PAYMENTS}?x=1"])
async def test_a_slash_at_the_end_makes_no_difference(world: HttpWorld, path: str) -> None:
    """The trailing slash form works too, without a redirect."""
    got = await world.request("POST", path, json=FORM, headers=bearer(), allow_redirects=False)
    assert got.status == 201


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json;"])
async def test_parameters_of_the_media_type_do_not_matter(world: HttpWorld, media_type: str) -> None:
    """JSON is UTF-8 whatever its charset parameter says."""
    assert (await world.post(headers=bearer() | {"Content-Type": media_type})).status == 201


async def test_a_payment_is_shown_to_its_owner(world: HttpWorld) -> None:
    """The GET of the contract."""
    world.ledger.finds(view(PaymentStatus.REFUNDING))
    got = await world.show()
    assert got.status == 200
    assert got.json["status"] == "refunding"
    assert isinstance(world.ledger.asked[0], GetPayment)


@pytest.mark.parametrize("payment_id", ["x", "a" * 33, "A" * 32, "..", "%00", "a/b", "é", "a" * 5_000])
async def test_what_is_no_payment_id_is_not_looked_for(world: HttpWorld, payment_id: str) -> None:
    """404, and the ledger is not asked."""
    got = await world.show(payment_id)
    assert (got.status, len(got.errors)) == (404, 1)
    assert world.ledger.asked == []


# What is away.


async def test_no_charge_is_taken_while_mongodb_is_away(world: HttpWorld) -> None:
    """F25: 503 at once, without a message to the ledger; and charges are taken again when the store is back."""
    world.health.mark_down(Dependency.MONGODB, "connection refused by 10.1.2.3:27017")
    got = await world.post()
    assert got.status == 503
    assert NOTHING_CHARGED in got.message
    assert "10.1.2.3" not in got.message
    assert world.ledger.asked == []
    world.health.mark_up(Dependency.MONGODB)
    assert (await world.post()).status == 201


async def test_no_charge_is_taken_while_stripe_refuses_our_key(world: HttpWorld) -> None:
    """F36: and the answer does not say what is wrong with the key."""
    world.health.mark_down(Dependency.STRIPE, "401: our key is refused", blocks_charges=True)
    got = await world.post()
    assert (got.status, "key" in got.message) == (503, False)
    assert NOTHING_CHARGED in got.message


async def test_charges_are_taken_while_nats_is_away(world: HttpWorld) -> None:
    """Degraded: the event is published later."""
    world.health.mark_down(Dependency.NATS, "no route")
    assert (await world.post()).status == 201
    ready = await world.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "degraded")


async def test_the_port_answers_before_the_service_is_ready() -> None:
    """Bound early: `/readyz` says that the service is starting, and no charge is taken."""
    world = HttpWorld()
    await world.start()
    try:
        ready = await world.get("/readyz")
        assert (ready.status, ready.json["phase"]) == (503, "starting")
        assert (await world.get("/healthz")).status == 200
        got = await world.post()
        assert (got.status, NOTHING_CHARGED in got.message) == (503, True)
        world.up()
        assert (await world.get("/readyz")).json["status"] == "ready"
    finally:
        await world.stop()


# Stopping and crashing.


async def test_a_drain_waits_for_what_is_under_way_and_takes_no_more(world: HttpWorld) -> None:
    """F33: those that wait get their answers; new ones hear that the service is stopping."""
    world.ledger.holding = True
    posting = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    world.health.stopping()
    draining = asyncio.create_task(world.actor.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    refused = await world.post()
    assert (refused.status, NOTHING_CHARGED in refused.message) == (503, True)
    assert "stopping" in refused.message
    assert refused.headers["Connection"] == "close"
    assert (await world.get("/readyz")).status == 503
    assert (await world.show()).status == 503
    (asked,) = world.ledger.asked
    assert isinstance(asked, ChargeOrder)
    asked.answer.set_result(ChargeReply(OutcomePending(PAYMENT_ID, ORDER_ID), 3))
    assert (await posting).status == 202
    await draining
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", world.actor.port)


async def test_a_request_that_waits_when_the_drain_is_over_has_an_unknown_outcome(world: HttpWorld) -> None:
    """F33: the connection is not just cut; the ledger may still write what was asked, so nothing else would be true."""
    world.ledger.holding = True
    posting = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    draining = asyncio.create_task(world.actor.drain())
    await asyncio.sleep(0)
    draining.cancel()
    world.running.cancel()
    await world.actor.close()
    got = await posting
    assert (got.status, OUTCOME_UNKNOWN in got.message) == (503, True)


async def test_an_unexpected_exception_is_a_bare_500_and_then_ends_the_actor(world: HttpWorld) -> None:
    """F32: the answer shows nothing of the inside; the supervisor gets the cause; pending requests are answered."""
    world.ledger.holding = True
    posting = asyncio.create_task(world.post())
    await world.ledger.holds(1)
    world.stuck = lambda: ["x"] * (1 // 0)
    got = await world.get("/healthz")
    assert got.status == 500
    assert "division" not in got.message
    assert got.headers["X-Request-ID"]
    with pytest.raises(HandlerCrashed, match="/healthz") as crash:
        await asyncio.wait_for(world.running, REAL_S)
    assert isinstance(crash.value.__cause__, ZeroDivisionError)
    await world.actor.close()
    assert OUTCOME_UNKNOWN in (await posting).message
    assert not world.health.is_up(Dependency.HTTP)


async def test_a_new_actor_takes_the_port_over(world: HttpWorld) -> None:
    """A restart: it listens on the same sockets, so that clients who connect meanwhile are served by it."""
    port = world.actor.port
    assert (await world.get("/healthz")).status == 200
    world.running.cancel()
    await world.actor.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    world.actor = world.new_actor()
    await world.actor.setup()
    world.running = asyncio.create_task(world.actor.run())
    assert (await asyncio.wait_for(read_answer(reader), REAL_S)).status == 200
    writer.close()
    assert (await world.get("/healthz")).status == 200
    assert world.health.is_up(Dependency.HTTP)


async def test_a_port_that_is_taken_is_an_error_of_setup(world: HttpWorld) -> None:
    """The supervisor gets it; what was half set up can be closed."""
    second = world.new_actor(ListeningSockets("127.0.0.1", world.actor.port, get_logger()))
    with pytest.raises(OSError, match="another process listens there"):
        await second.setup()
    await second.close()
    assert (await world.get("/healthz")).status == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_without_a_host_every_interface_is_listened_on(address: str) -> None:
    """IPv4 and IPv6, and port 0 is one and the same port on both."""
    if address == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with http_world(host=None) as world:
        reader, writer = await asyncio.open_connection(address, world.actor.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_answer(reader)).status == 200
        writer.close()


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


async def test_a_stuck_actor_makes_the_process_unwell(world: HttpWorld) -> None:
    """`/healthz` names it."""
    world.stuck = lambda: ["mongo"]
    got = await world.get("/healthz")
    assert (got.status, got.json) == (503, {"stuck": ["mongo"], "status": "stuck"})


# Every answer.


@pytest.mark.parametrize("given", ["abc", "a" * 128, "1234-5678", "AZaz09._~+/=:@-"])
async def test_a_request_id_is_taken_and_returned(world: HttpWorld, given: str) -> None:
    """The client's or the router's own, on every answer."""
    for got in (
        await world.get("/nowhere", {"X-Request-ID": given}),
        await world.post(headers={"X-Request-ID": given}),
    ):
        assert got.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["a" * 129, "", "a b", '{"$ne":1}', "é"])
async def test_a_request_id_of_another_shape_is_replaced(world: HttpWorld, given: str) -> None:
    """Nothing that a log could choke on is taken over."""
    got = await world.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + given.encode() + b"\r\n\r\n")
    assert got.headers["X-Request-Id"] not in ("", given)
    assert len(got.headers["X-Request-Id"]) == 32


async def test_no_answer_tells_what_it_was_made_with(world: HttpWorld) -> None:
    """The Server header is aiohttp's and Python's versions by default."""
    for got in (await world.get("/healthz"), await world.raw(b"NO HTTP\r\n\r\n")):
        assert got.headers["Server"] == "payment"
        assert got.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/", "/api/v1/payment", "/api/v1/payments/a/b", "//api/v1/payments", "/healthz/x", "/" + "x" * 5_000, "/%2e"],
)
async def test_an_address_that_is_not_served_is_404_in_the_platforms_shape(world: HttpWorld, path: str) -> None:
    """Not aiohttp's own text."""
    got = await world.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (got.status, len(got.errors)) == (404, 1)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_a_method_that_an_address_does_not_take_is_405(world: HttpWorld, method: str) -> None:
    """With all the address's methods in Allow, and before anything else is checked."""
    got = await world.request(method, PAYMENTS)
    assert (got.status, got.code, got.headers["Allow"]) == (405, "method_not_allowed", "POST, GET, HEAD")
    by_id = await world.request("POST", f"{PAYMENTS}/{PAYMENT_ID}")
    assert (by_id.status, by_id.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/openapi.json", f"{PAYMENTS}/{PAYMENT_ID}", f"{PAYMENTS}?orderId=o1"],
)
async def test_what_can_be_got_can_be_asked_for_its_head(world: HttpWorld, path: str) -> None:
    """HEAD is GET without the body."""
    got = await world.request("HEAD", path, headers=bearer())
    assert (got.status, got.body) == (200, b"")
    assert int(got.headers["Content-Length"]) > 0


async def test_requests_are_counted_by_template_and_status(world: HttpWorld) -> None:
    """Never by what was sent as path."""
    await world.show()
    await world.find("orderId=not-in-a-label")
    await world.get("/never/served")
    await world.raw(b"NO HTTP\r\n\r\n")
    text = (await world.get("/metrics")).body.decode()
    assert 'payment_http_requests_total{route="/api/v1/payments/{id}",status="200"} 1.0' in text
    assert 'payment_http_requests_total{route="other",status="404"} 1.0' in text
    assert 'payment_http_requests_total{route="other",status="400"} 1.0' in text
    assert 'payment_http_request_seconds_count{route="/api/v1/payments/{id}"} 1.0' in text
    assert 'payment_http_requests_total{route="/api/v1/payments",status="200"} 1.0' in text
    assert "never" not in text
    assert "not-in-a-label" not in text
    assert PAYMENT_ID not in text


async def test_denied_and_replayed_are_rendered_too(world: HttpWorld) -> None:
    """One look over a socket at what tests/unit/actors/http/test_responses.py checks in full."""
    world.ledger.says(Denied.NOT_YOURS)
    assert (await world.post()).status == 403
    world.ledger.says(Paid(PAYMENT_ID, ORDER_ID, "ch_1", replayed=True))
    assert (await world.post()).status == 200
