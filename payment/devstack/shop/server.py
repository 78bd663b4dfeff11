"""The server of the shop's page: it serves files, places orders, and forwards two paths.

`/api/` goes to the service and `/stripe/` to the Stripe sandbox. So the browser has one origin, as behind a platform's
ingress: the service sends no CORS headers and needs none. Stripe's own API does send them; the stand-in for Stripe.js
goes through `/stripe/` only because the sandbox sends none.

Every browser on this machine gets the platform's session cookie of the demo user. The server listens on loopback alone.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from yarl import URL

from payment.actors.http.responses import PAYMENTS_PATH
from payment.devstack.bus import PeerServiceError, PlacedOrder
from payment.devstack.commands import TAKEN_IN_S, Access
from payment.devstack.peer_services import connected, new_order_id, signed_token

SHOPPER = "demo-user"
"""The user id of the page's customer, who owns the tutorial's orders too."""
PRICE = 19.99
"""Price of an order, in major units of the service's currency."""
ORDER_LIFE_S = 900.0
"""How long an order of the page can be paid, in seconds: as long as on the platform."""
FORWARD_TIMEOUT_S = 40.0
"""Time limit of one forwarded request, in seconds: longer than a charge may wait for its outcome (`CHARGE_WAIT_S` is at
most 30 s).
"""
REQUEST_HEADERS = ("Authorization", "Content-Type", "Cookie", "X-Request-ID")
"""The request headers that are forwarded: those that the service and the sandbox read."""
ANSWER_HEADERS = ("Content-Type", "Location", "Retry-After", "WWW-Authenticate", "X-Request-ID")
"""The response headers that are forwarded: those that a browser reads."""
STRIPE_PREFIX = "/stripe"
HERE = Path(__file__).parent
FILES = {"shop.js": "text/javascript", "stripe.js": "text/javascript", "shop.css": "text/css"}


class Shop:
    """The page's routes. `access` has the addresses and the key of the run, `stripe_url` is its sandbox's address."""

    def __init__(self, access: Access, stripe_url: str, session: ClientSession) -> None:
        self._access = access
        self._stripe_url = stripe_url
        self._session = session

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._page),
                *(web.get(f"/{name}", self._file) for name in FILES),
                web.post("/shop/orders", self._order),
                web.post("/shop/orders/{id}/cancel", self._cancel),
                web.route("*", PAYMENTS_PATH, self._to_service),
                web.route("*", PAYMENTS_PATH + "/{tail:.*}", self._to_service),
                web.route("*", STRIPE_PREFIX + "/{tail:.*}", self._to_stripe),
            ]
        )
        return app

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = web.Response(body=(HERE / "index.html").read_bytes(), content_type="text/html", charset="utf-8")
        # Only the bank's page may be framed by this one.
        page.headers["Content-Security-Policy"] = f"default-src 'self'; frame-src {self._stripe_url}"
        page.headers["Cache-Control"] = "no-store"
        cookie = json.dumps({"jwt": signed_token(self._access.key, SHOPPER)}).encode()
        page.set_cookie("session", base64.urlsafe_b64encode(cookie).decode(), httponly=True, samesite="Lax")
        return page

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/")
        body = (HERE / name).read_bytes()
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=body, content_type=FILES[name], charset="utf-8", headers=headers)

    async def _order(self, request: web.Request) -> web.StreamResponse:
        """Place an order as the orders service would. The response is sent once the service has received the order."""
        order = PlacedOrder(
            order_id=new_order_id(), user_id=SHOPPER, price=PRICE, currency=None, expires_in_s=ORDER_LIFE_S
        )
        try:
            async with connected(self._access.nats_url, self._access.cluster_id, self._access.login) as bus:
                stored = await bus.create(order)
                await bus.taken_in(stored, self._access.queue_group, TAKEN_IN_S)
        except PeerServiceError as error:
            return _unavailable(str(error))
        return web.json_response({"orderId": order.order_id, "price": order.price}, status=201)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel an order as the orders service would."""
        order_id = request.match_info["id"]
        try:
            async with connected(self._access.nats_url, self._access.cluster_id, self._access.login) as bus:
                stored = await bus.cancel(order_id)
                await bus.taken_in(stored, self._access.queue_group, TAKEN_IN_S)
        except PeerServiceError as error:
            return _unavailable(str(error))
        return web.json_response({"orderId": order_id})

    async def _to_service(self, request: web.Request) -> web.StreamResponse:
        return await self._forward(request, f"{self._access.base_url}{request.raw_path}", "the service")

    async def _to_stripe(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.removeprefix(STRIPE_PREFIX)
        return await self._forward(request, f"{self._stripe_url}{path}", "the Stripe sandbox")

    async def _forward(self, request: web.Request, url: str, name: str) -> web.StreamResponse:
        try:
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                headers=_chosen(request.headers, REQUEST_HEADERS),
                data=await request.read() if request.can_read_body else None,
                allow_redirects=False,
                timeout=ClientTimeout(total=FORWARD_TIMEOUT_S),
            ) as answer:
                body = await answer.read()
                return web.Response(status=answer.status, body=body, headers=_chosen(answer.headers, ANSWER_HEADERS))
        except (ClientError, TimeoutError):
            return _unavailable(f"{name} does not answer")


def _chosen(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _unavailable(message: str) -> web.Response:
    """Returns a 503 in the shape of the service's own errors. It makes no statement about a charge, which the shop
    can't know.
    """
    return web.json_response({"errors": [{"message": message, "code": "outcome_unknown"}]}, status=503)
