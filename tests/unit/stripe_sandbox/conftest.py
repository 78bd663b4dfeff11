"""A Stripe sandbox in this process, on a test clock, and the real stripe library as its client."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from payment.stripe_sandbox.app import Sandbox, SandboxSettings
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.server import application
from tests.unit.core.builders import of_kind, present

START = 1_700_000_000.0
KEY = "sk_test_51Sandbox"


def charge_of(declined: stripe.CardError) -> str:
    """The id of the charge that failed."""
    return of_kind(str, present(declined.error).charge)


class FakeClock:
    """Wall clock and monotonic clock in one; tests move it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Gate:
    """Replaces `asyncio.sleep`: every sleep ends when the gate opens."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.opened = asyncio.Event()
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.arrived.set()
        await self.opened.wait()


class World:
    """A sandbox, its address, and its clients."""

    def __init__(self, directory: Path, settings: SandboxSettings) -> None:
        self.clock = FakeClock()
        self.gate = Gate()
        self.database = Database(directory, self.clock)
        self.sandbox = Sandbox(self.database, settings, monotonic=self.clock, sleep=self.gate.sleep)
        self._server = TestServer(application(self.sandbox))
        self._http = stripe.AIOHTTPClient()

    async def __aenter__(self) -> "World":
        await self._server.start_server()
        self.url = str(self._server.make_url("")).rstrip("/")
        self.raw = ClientSession(self.url, headers={"Authorization": f"Bearer {KEY}"})
        self.stripe = self.client()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gate.opened.set()
        await self.sandbox.close()
        await self._http.close_async()  # type: ignore[no-untyped-call]
        await self.raw.close()
        await self._server.close()
        self.database.close()

    def client(self, key: str = KEY) -> stripe.StripeClient:
        return stripe.StripeClient(key, base_addresses={"api": self.url}, http_client=self._http, max_network_retries=0)

    async def charge(self, key: str | None = None, **params: Any) -> stripe.Charge:
        """Charge a Visa 19.99 USD; `params` override the defaults."""
        asked: Any = {"amount": 1999, "currency": "usd", "source": "tok_visa", **params}
        return await self.stripe.v1.charges.create_async(asked, {"idempotency_key": key} if key else {})

    async def intent(self, key: str | None = None, **params: Any) -> stripe.PaymentIntent:
        """Create an intent of 19.99 USD that never redirects; `params` override the defaults."""
        asked: Any = {
            "amount": 1999,
            "currency": "usd",
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            **params,
        }
        return await self.stripe.v1.payment_intents.create_async(asked, {"idempotency_key": key} if key else {})

    async def confirm(
        self, intent_id: str, key: str | None = None, token: str | None = None, **params: Any
    ) -> stripe.PaymentIntent:
        """Confirm an intent with a card token, or with `params`."""
        asked: Any = dict(params)
        if token is not None:
            asked["payment_method_data"] = {"type": "card", "card": {"token": token}}
        options: Any = {"idempotency_key": key} if key else {}
        return await self.stripe.v1.payment_intents.confirm_async(intent_id, asked, options)

    async def post(self, path: str, key: str | None = None, **params: str) -> tuple[int, dict[str, Any], Any]:
        """Send a POST as curl would; returns status, body, headers."""
        headers = {"Idempotency-Key": key} if key else {}
        async with self.raw.post(path, data=params, headers=headers) as response:
            return response.status, await response.json(), response.headers

    async def control(self, path: str, **body: Any) -> dict[str, Any]:
        async with self.raw.post(f"/_sandbox/{path}", json=body) as response:
            shown: dict[str, Any] = await response.json()
            assert response.status == 200, shown
            return shown

    async def audit(self) -> dict[str, Any]:
        async with self.raw.get("/_sandbox/books") as response:
            shown: dict[str, Any] = await response.json()
            return shown


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A sandbox without a rate limit."""
    async with World(tmp_path, SandboxSettings(rate_per_s=0)) as world:
        yield world
