"""The contract's table of HTTP cases, row by row, tested by a client that knows only the contract."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from tests.e2e.bus import PAID, REFUNDED, Bus, in_seconds
from tests.e2e.client import PAYMENTS, Answer, Client, identity, session_cookie
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.servers]

CRASH_WORDS = ("actor_crashed", "actor_hung", "uncaught_exception", "document_unwritable", "log_lines_lost")


async def placed(stack: ServiceStack, bus: Bus, price: object = 19.99, **other: Any) -> str:
    """Publish an order; returns its id once the service has stored it."""
    order = stack.new_order()
    await bus.create(order, price, **other)
    await known(stack, order)
    return order


async def known(stack: ServiceStack, order: str, status: str = "created") -> None:
    async def there() -> bool:
        found = stack.order(order)
        return found is not None and found["status"] == status

    await eventually(there, f"{order} is {status}")


async def cancelled(stack: ServiceStack, bus: Bus, order: str) -> None:
    await bus.cancel(order)
    await known(stack, order, "cancelled")


def check_errors(answer: Answer, status: int, field: str | None = None) -> None:
    """Check the platform's error shape: its web client maps over `errors`."""
    assert answer.status == status, answer
    assert answer.body["errors"]
    for error in answer.body["errors"]:
        assert isinstance(error["message"], str)
        assert error["message"]
    if field is not None:
        assert field in [error.get("field") for error in answer.body["errors"]]


async def test_a_charge_is_201_with_its_payment_and_where_to_find_it(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """An order placed over NATS must be chargeable over HTTP, once, and its payment must be readable at `Location`."""
    order = await placed(stack, bus)
    paid = await client.pay(order)
    assert paid.status == 201
    assert paid.body == {
        "id": paid.body["id"],
        "orderId": order,
        "stripeId": stack.stripe.charges(order)[0]["id"],
        "status": "paid",
    }
    headers = {"Authorization": f"Bearer {identity()}"}
    shown = await client.send("GET", paid.headers["Location"], headers=headers)
    assert (shown.status, shown.body) == (200, paid.body)
    announced = await bus.announced(order, PAID)
    assert announced == [{"id": paid.body["id"], "orderId": order, "stripeId": paid.body["stripeId"]}]


async def test_a_repeated_request_is_200_and_charges_nothing(stack: ServiceStack, bus: Bus, client: Client) -> None:
    """The same request after the payment must get the same body, by either form of the path."""
    order = await placed(stack, bus)
    first = await client.pay(order)
    again = await client.pay(order)
    headers = {"Authorization": f"Bearer {identity()}"}
    slashed = await client.send("POST", f"{PAYMENTS}/", {"orderId": order, "token": "tok_visa"}, headers)
    assert [first.status, again.status, slashed.status] == [201, 200, 200]
    assert first.body == again.body == slashed.body
    assert len(stack.stripe.charges(order)) == 1


async def test_requests_at_once_share_one_charge_and_another_token_is_409(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """F02: while a charge is under way the same request waits for it, and one with another token is refused."""
    order = await placed(stack, bus)
    stack.stripe.fault("delay", delay_ms=400)
    asked = [asyncio.create_task(client.pay(order)) for _ in range(5)]
    await eventually(lambda: _under_way(stack, order), "the charge is under way")
    other = await client.pay(order, "tok_mastercard")
    answers = await asyncio.gather(*asked)
    check_errors(other, 409)
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["stripeId"] for answer in answers}) == 1
    assert len(stack.stripe.charges(order)) == 1


async def _under_way(stack: ServiceStack, order: str) -> bool:
    found = stack.order(order)
    return found is not None and "payment" in found


async def test_an_outcome_that_is_not_known_in_time_is_202_and_resolves(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """A slow Stripe must not keep a client past CHARGE_WAIT_S: it gets 202, and the result by GET or by the same
    POST.
    """
    order = await placed(stack, bus)
    stack.stripe.fault("delay", delay_ms=2_800)
    pending = await client.pay(order)
    assert pending.status == 202
    assert pending.body == {"id": pending.body["id"], "orderId": order, "status": "pending"}
    assert pending.headers["Location"] == f"{PAYMENTS}/{pending.body['id']}"
    assert int(pending.headers["Retry-After"]) >= 1
    shown = await client.payment(pending.body["id"])
    assert (shown.status, shown.body) == (200, pending.body)
    settled = await client.pay(order)
    assert settled.status in (200, 201)
    assert settled.body["status"] == "paid"
    assert len(stack.stripe.charges(order)) == 1


BAD_BODIES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "not JSON": (b"{", ()),
    "empty": (b"", ()),
    "not UTF-8": (b'{"orderId": "\xff", "token": "tok_visa"}', ()),
    "no object": (b"[]", ()),
    "nothing in it": (b"{}", ("orderId", "token")),
    "a number for an id": (b'{"orderId": 5, "token": "tok_visa"}', ("orderId",)),
    "an operator for an id": (b'{"orderId": {"$ne": null}, "token": "tok_visa"}', ("orderId",)),
    "null": (b'{"orderId": null, "token": null}', ("orderId", "token")),
    "an empty id": (b'{"orderId": "", "token": "tok_visa"}', ("orderId",)),
    "an id of 5,000 characters": (json.dumps({"orderId": "x" * 5_000, "token": "tok_visa"}).encode(), ("orderId",)),
    "a lone surrogate": (b'{"orderId": "\\ud800", "token": "tok_visa"}', ()),
    "NUL": (b'{"orderId": "a\\u0000b", "token": "tok_visa"}', ("orderId",)),
    "NaN": (b'{"orderId": NaN, "token": "tok_visa"}', ()),
    "deep nesting": (b"[" * 16_000, ()),
    "deep nesting of objects": (b'{"a":' * 3_000, ()),
    "a card number for a token": (b'{"orderId": "o", "token": "4242424242424242"}', ("token",)),
    "a token with a path": (b'{"orderId": "o", "token": "tok_/../x"}', ("token",)),
    "a huge number": (b'{"orderId": ' + b"9" * 15_000 + b', "token": "tok_visa"}', ()),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_400_with_one_error_for_each_field(name: str, client: Client) -> None:
    """Any bytes must get the contract's 400, and never the text of an internal error."""
    body, fields = BAD_BODIES[name]
    answer = await client.send("POST", PAYMENTS, body, {"Authorization": f"Bearer {identity()}"})
    check_errors(answer, 400)
    if fields:
        assert tuple(error.get("field") for error in answer.body["errors"]) == fields


async def test_a_body_that_is_too_large_or_of_another_type_is_413_or_415(client: Client) -> None:
    """3 MB must be refused without being read into memory whole; forms and charsets that aren't JSON, too."""
    headers = {"Authorization": f"Bearer {identity()}"}
    large = b'{"orderId": "' + b"x" * 3_000_000 + b'", "token": "tok_visa"}'
    check_errors(await client.send("POST", PAYMENTS, large, headers), 413)
    check_errors(await client.send("POST", PAYMENTS, b"[" * 100_000, headers), 413)
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"):
        answer = await client.send("POST", PAYMENTS, b"{}", headers | {"Content-Type": media_type})
        check_errors(answer, 415)


@pytest.mark.parametrize("urlsafe", [False, True], ids=["standard", "urlsafe"])
@pytest.mark.parametrize("padded", [False, True], ids=["bare", "padded"])
@pytest.mark.parametrize("name", ["session", "express:sess"])
async def test_the_platforms_cookie_is_an_identity(
    name: str, padded: bool, urlsafe: bool, stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """The session cookie must be accepted under both names, in either alphabet, padded or not."""
    order = await placed(stack, bus, user="ü~ÿ>?")
    cookie = session_cookie(identity("ü~ÿ>?"), urlsafe=urlsafe, padded=padded)
    headers = {"Cookie": f"theme=dark; {name}={cookie}; {name}.sig=abc"}
    answer = await client.send("POST", PAYMENTS, {"orderId": order, "token": "tok_visa"}, headers)
    assert answer.status == 201, answer


BAD_IDENTITIES: dict[str, dict[str, str]] = {
    "none": {},
    "an empty bearer": {"Authorization": "Bearer"},
    "another scheme": {"Authorization": "Basic dTE6cHc="},
    "garbage": {"Authorization": "Bearer abc.def.ghi"},
    "garbage that is no text": {"Authorization": "Bearer \u00ff\u00fe"},
    "forged": {"Authorization": f"Bearer {identity(key='another key of the same length')}"},
    "expired": {"Authorization": f"Bearer {identity(exp=int(time.time()) - 5)}"},
    "not yet valid": {"Authorization": f"Bearer {identity(nbf=int(time.time()) + 3_600)}"},
    "alg none": {"Authorization": f"Bearer {identity(algorithm='none')}"},
    "another algorithm": {"Authorization": f"Bearer {identity(algorithm='HS512')}"},
    "a number for an id": {"Authorization": f"Bearer {identity(5)}"},
    "an operator for an id": {"Authorization": f"Bearer {identity({'$ne': None})}"},
    "an exp of NaN": {"Authorization": f"Bearer {identity(exp=float('nan'))}"},
    "an exp past every calendar": {"Authorization": f"Bearer {identity(nbf=10**300)}"},
    "7 KB": {"Authorization": f"Bearer {identity('u' * 5_000)}"},
    "a cookie of broken base64": {"Cookie": "session=%%%%"},
    "a cookie that is not JSON": {"Cookie": f"session={base64.b64encode(b'jwt').decode()}"},
    "a cookie without a token": {"Cookie": f"session={base64.b64encode(b'{}').decode()}"},
    "a cookie with a number": {"Cookie": "express:sess=" + base64.b64encode(b'{"jwt": 5}').decode()},
    "a cookie nested deep": {"Cookie": f"session={base64.b64encode(b'[' * 3_000).decode()}"},
    "a cookie with a forged token": {"Cookie": f"session={session_cookie(identity(key='another key of any length'))}"},
}


@pytest.mark.parametrize("name", BAD_IDENTITIES)
async def test_a_bad_identity_is_401_before_the_body_is_read(name: str, client: Client) -> None:
    """F37: forged, expired, oversized or garbage identities must get 401 and its challenge, never a stack trace."""
    for method, path, body in (("POST", PAYMENTS, b"not JSON"), ("GET", f"{PAYMENTS}/{'0' * 32}", None)):
        answer = await client.send(method, path, body, BAD_IDENTITIES[name])
        check_errors(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_declined_card_is_402_once_asked_and_the_order_stays_payable(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """F15: a decline must have Stripe's code and message, be answered from the store when repeated, and leave the order
    payable.
    """
    order = await placed(stack, bus)
    declined = await client.pay(order, "tok_chargeDeclinedInsufficientFunds")
    asked = stack.stripe.requests()
    again = await client.pay(order, "tok_chargeDeclinedInsufficientFunds")
    assert stack.stripe.requests() == asked
    check_errors(declined, 402)
    assert "insufficient_funds" in json.dumps(declined.body)
    assert "insufficient funds" in declined.message
    assert (again.status, again.body) == (402, declined.body)
    paid = await client.pay(order, "tok_visa")
    assert paid.status == 201
    check_errors(await client.pay(order, "tok_chargeDeclinedInsufficientFunds"), 402)
    assert [charge["status"] for charge in stack.stripe.charges(order)] == ["failed", "succeeded"]


async def test_an_unknown_or_used_token_is_400_and_the_order_stays_payable(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """A token that Stripe refuses must be the caller's error, at `token`."""
    order, other = await placed(stack, bus), await placed(stack, bus)
    once = f"tok_once_{other}"
    assert (await client.pay(other, once)).status == 201
    check_errors(await client.pay(order, "tok_doesNotExist"), 400, "token")
    check_errors(await client.pay(order, once), 400, "token")
    assert (await client.pay(order)).status == 201


async def test_an_order_of_another_user_is_403_and_an_unknown_one_404(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """Only the owner may pay an order, or see its payment."""
    order = await placed(stack, bus)
    check_errors(await client.pay(order, user="u2"), 403)
    check_errors(await client.pay(stack.new_order()), 404)
    paid = await client.pay(order)
    check_errors(await client.payment(paid.body["id"], user="u2"), 403)
    check_errors(await client.payment("0" * 32), 404)
    check_errors(await client.payment("%24ne"), 404)


async def test_an_order_cancelled_before_it_was_created_is_404_then_409(
    stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """F22: the cancel wins whenever it comes; until the order is created its owner is unknown."""
    order = stack.new_order()
    await cancelled(stack, bus, order)
    check_errors(await client.pay(order), 404)
    await bus.create(order)

    async def owned() -> bool:
        return "userId" in (stack.order(order) or {})

    await eventually(owned, "the created event is applied")
    check_errors(await client.pay(order), 409)
    assert stack.stripe.charges(order) == []


async def test_cancelled_expired_and_paid_orders_are_409(stack: ServiceStack, bus: Bus, client: Client) -> None:
    """F19: an order that is cancelled, expired, or paid with another token must not be charged."""
    gone, late, paid = (
        await placed(stack, bus),
        await placed(stack, bus, expiresAt=in_seconds(-1)),
        await placed(stack, bus),
    )
    await cancelled(stack, bus, gone)
    check_errors(await client.pay(gone), 409)
    check_errors(await client.pay(late), 409)
    assert (await client.pay(paid)).status == 201
    check_errors(await client.pay(paid, "tok_mastercard"), 409)
    await cancelled(stack, bus, paid)
    check_errors(await client.pay(paid), 409)
    assert stack.stripe.charges(gone) == stack.stripe.charges(late) == []


@pytest.mark.parametrize(("price", "currency"), [(0.49, "usd"), (1_000_000, "usd"), (0, "usd"), (0.29, "gbp")])
async def test_an_amount_that_stripe_cannot_take_is_422(
    price: float, currency: str, stack: ServiceStack, bus: Bus, client: Client
) -> None:
    """F35: too little or too much must be refused before a request to Stripe."""
    order = await placed(stack, bus, price, currency=currency)
    asked = stack.stripe.requests()
    check_errors(await client.pay(order), 422)
    assert stack.stripe.requests() == asked


async def test_the_twenty_first_attempt_on_an_order_is_429(stack: ServiceStack, bus: Bus, client: Client) -> None:
    """An order may be tried twenty times, each with another token; then no more."""
    order = await placed(stack, bus)
    reasons = ["", "InsufficientFunds", "LostCard", "StolenCard", "Fraudulent", "VelocityLimitExceeded"]
    reasons += ["ExpiredCard", "IncorrectCvc", "ProcessingError"]
    tokens = [f"tok_{visa}chargeDeclined{reason}" for visa in ("", "visa_") for reason in reasons]
    tokens += ["tok_radarBlock", "tok_chargeCustomerFail"]
    answers = [await client.pay(order, token) for token in tokens]
    assert [answer.status for answer in answers] == [402] * 20
    check_errors(await client.pay(order, "tok_visa"), 429)
    check_errors(await client.pay(order, tokens[0]), 402)


async def test_a_payment_shows_each_status_of_its_life(stack: ServiceStack, bus: Bus, client: Client) -> None:
    """One payment id over all attempts: declined, paid, refunded; and refunding while Stripe holds the refund back."""
    order, held, ended = await placed(stack, bus), await placed(stack, bus), await placed(stack, bus)
    await client.pay(order, "tok_chargeDeclined")
    payment_id = stack.order(order)["payment"]["id"]  # type: ignore[index]
    assert (await client.payment(payment_id)).body["status"] == "declined"
    paid = await client.pay(order)
    assert paid.body["id"] == payment_id
    await cancelled(stack, bus, order)
    await bus.announced(order, PAID, REFUNDED)
    assert (await client.payment(payment_id)).body["status"] == "refunded"
    waiting = await client.pay(held, "tok_pendingRefund")
    await cancelled(stack, bus, held)
    assert (await client.payment(waiting.body["id"])).body["status"] == "refunding"
    await client.pay(ended, "tok_chargeDeclined")
    await cancelled(stack, bus, ended)
    assert (await client.payment(stack.order(ended)["payment"]["id"])).body["status"] == "cancelled"  # type: ignore[index]


async def test_an_order_that_expires_unpaid_shows_expired(stack: ServiceStack, bus: Bus, client: Client) -> None:
    """A payment that was declined, and whose order then expired, must say so."""
    order = await placed(stack, bus, expiresAt=in_seconds(1.5))
    assert (await client.pay(order, "tok_chargeDeclined")).status == 402
    payment_id = stack.order(order)["payment"]["id"]  # type: ignore[index]

    async def expired() -> bool:
        return bool((await client.payment(payment_id)).body["status"] == "expired")

    await eventually(expired, "the payment is expired")
    check_errors(await client.pay(order), 409)


async def test_health_metrics_and_the_openapi_document_are_served(service: ServiceProcess, client: Client) -> None:
    """Health, readiness, metrics and the OpenAPI document must be served without credentials."""
    assert (await client.send("GET", "/healthz")).status == 200
    ready = await client.ready()
    assert (ready.status, ready.body["status"]) == (200, "ready")
    assert set(ready.body["dependencies"]) == {"http", "mongodb", "nats", "stripe"}
    assert "# HELP" in await client.metrics()
    document = (await client.send("GET", "/openapi.json")).body
    assert {PAYMENTS, f"{PAYMENTS}/{{id}}"} <= set(document["paths"])


async def test_a_request_id_is_taken_returned_and_logged(
    stack: ServiceStack, service: ServiceProcess, bus: Bus, client: Client
) -> None:
    """`X-Request-ID` must be returned and be in the charge's log line; a malformed one is replaced."""
    order = await placed(stack, bus)
    headers = {"Authorization": f"Bearer {identity()}", "X-Request-ID": f"web-{order}"}
    answer = await client.send("POST", PAYMENTS, {"orderId": order, "token": "tok_visa"}, headers)
    assert answer.headers["X-Request-ID"] == f"web-{order}"
    [line] = service.logged("charge_finished", order_id=order)
    assert line["request_id"] == f"web-{order}"
    bad = await client.send("GET", "/healthz", headers={"X-Request-ID": "x" * 500})
    assert bad.headers["X-Request-ID"] != "x" * 500


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1/payments/a/b", "/" + "x" * 5_000, "/%00", "/api/v1/payments/%2e%2e"]
)
async def test_an_unknown_address_is_404_in_the_platforms_shape(path: str, client: Client) -> None:
    """An unknown path must be answered in the same error shape as everything else."""
    answer = await client.send("GET", path)
    check_errors(answer, answer.status)
    assert answer.status in (401, 404)


async def test_headers_past_every_limit_are_4xx(client: Client) -> None:
    """7 KB of one header, and hundreds of them, must get an answer or a refusal, never a 5xx."""
    one = await client.send("GET", "/readyz", headers={"X-Big": "x" * 7_000})
    assert one.status < 500
    larger = await client.send("GET", "/readyz", headers={"X-Big": "x" * 40_000})
    assert larger.status in (400, 431)
    check_errors(larger, larger.status)
    many = await client.send("GET", "/readyz", headers={f"X-{n}": "x" for n in range(400)})
    assert many.status < 500


async def test_none_of_it_left_a_trace_of_a_crash(service: ServiceProcess, client: Client) -> None:
    """After all tests above no 5xx was counted, and no log line reports an exception."""
    lines = service.lines()
    assert [line for line in lines if line["event"] in CRASH_WORDS or "exception" in line] == []
    answers = [line for line in lines if line["event"] == "http_request" and line["route"] != "/readyz"]
    assert len(answers) > 50
    assert [line for line in answers if line["status"] >= 500] == []
    assert (await client.ready()).body["status"] == "ready"
