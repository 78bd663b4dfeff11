"""The shop's server: it sets its customer's session cookie, and forwards to the service and to Stripe from one
origin.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from payment.actors.http.auth import authenticate
from payment.devstack.commands import Access
from payment.devstack.shop.server import SHOPPER, Shop
from tests.support.servers.process import LOOPBACK, free_port

KEY = "a key that signs the tokens of the shop's customer"


class Upstream:
    """A server that answers everything with 402 and records the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, dict[str, str]]] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path_qs, await request.text(), dict(request.headers)))
        headers = {"Location": "/api/v1/payments/p1", "Retry-After": "7", "Server": "not forwarded"}
        return web.json_response({"from": request.path}, status=402, headers=headers)


ShopClient = TestClient[web.Request, web.Application]


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, TestServer]]:
    one = Upstream()
    server = TestServer(one.application())
    async with server:
        yield one, server


@pytest.fixture
async def shop(upstream: tuple[Upstream, TestServer]) -> AsyncIterator[ShopClient]:
    """The shop, before one server that stands for both the service and the sandbox. There is no NATS."""
    port = upstream[1].port
    assert port is not None
    access = Access(f"nats://{LOOPBACK}:{free_port()}", "", KEY, LOOPBACK, port, "payment-service")
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        app = Shop(access, f"http://{LOOPBACK}:{port}", session).application()
        async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
            yield client


async def test_the_page_brings_a_session_that_the_service_believes(
    shop: ShopClient,
) -> None:
    """Its cookie is the platform's, out of reach of scripts; its policy lets the bank's page in and no other."""
    page = await shop.get("/")
    cookie = page.cookies["session"]
    assert cookie["httponly"] is True
    assert authenticate(None, f"session={cookie.value}", (KEY,), datetime.now(UTC)).user_id == SHOPPER
    assert re.fullmatch(
        r"default-src 'self'; frame-src http://127\.0\.0\.1:\d+", page.headers["Content-Security-Policy"]
    )


@pytest.mark.parametrize("name", ["shop.js", "stripe.js", "shop.css"])
async def test_the_page_finds_its_files(shop: ShopClient, name: str) -> None:
    """Each file that the page names is there."""
    assert f'"/{name}"' in await (await shop.get("/")).text()
    assert (await shop.get(f"/{name}")).status == 200


async def test_a_request_to_the_service_passes_as_it_is(
    shop: ShopClient, upstream: tuple[Upstream, TestServer]
) -> None:
    """Method, path, query, body and the relevant headers are forwarded; the answer's status, body and headers come
    back.
    """
    headers = {"Content-Type": "application/json", "Cookie": "session=abc", "Origin": "http://evil.example"}
    answer = await shop.post("/api/v1/payments?a=%20b", data=b'{"orderId": "o1"}', headers=headers)
    ((method, path, body, sent),) = upstream[0].requests
    assert (method, path, body) == ("POST", "/api/v1/payments?a=%20b", '{"orderId": "o1"}')
    assert (sent["Content-Type"], sent["Cookie"]) == ("application/json", "session=abc")
    assert "Origin" not in sent
    assert answer.status == 402
    assert await answer.json() == {"from": "/api/v1/payments"}
    assert (answer.headers["Location"], answer.headers["Retry-After"]) == ("/api/v1/payments/p1", "7")
    assert "not forwarded" not in answer.headers.values()


async def test_the_page_talks_to_stripe_with_its_own_key(
    shop: ShopClient, upstream: tuple[Upstream, TestServer]
) -> None:
    """The prefix `/stripe/` is removed, and the publishable key is forwarded."""
    await shop.get("/stripe/v1/payment_intents/pi_1?client_secret=x", headers={"Authorization": "Bearer pk_test_1"})
    ((method, path, _, sent),) = upstream[0].requests
    assert (method, path) == ("GET", "/v1/payment_intents/pi_1?client_secret=x")
    assert sent["Authorization"] == "Bearer pk_test_1"


async def test_without_an_answer_the_page_is_not_promised_anything(
    shop: ShopClient, upstream: tuple[Upstream, TestServer]
) -> None:
    """The answer has the platform's error shape, and never claims that nothing was charged."""
    await upstream[1].close()
    answer = await shop.post("/api/v1/payments", json={})
    assert answer.status == 503
    assert await answer.json() == {"errors": [{"message": "the service does not answer", "code": "outcome_unknown"}]}


@pytest.mark.parametrize("path", ["/shop/orders", "/shop/orders/o1/cancel"])
async def test_without_nats_no_order_is_placed_or_cancelled(shop: ShopClient, path: str) -> None:
    """503 with the reason, and no traceback."""
    answer = await shop.post(path)
    assert answer.status == 503
    assert "is `make run` running?" in (await answer.json())["errors"][0]["message"]


async def test_no_other_path_is_forwarded(shop: ShopClient, upstream: tuple[Upstream, TestServer]) -> None:
    """Metrics and health are not for customers."""
    for path in ("/metrics", "/readyz", "/api/v2/payments", "/_sandbox/books"):
        assert (await shop.get(path)).status == 404
    assert upstream[0].requests == []
