"""The real adapter, over HTTP, against the real sandbox: it keeps the same contract as the fake."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from payment.adapters.stripe.cards import StripeCards
from payment.stripe_sandbox.app import Settings
from payment.stripe_sandbox.server import serving
from tests.contract.cards_contract import CardsContract

R = TypeVar("R")

pytestmark = pytest.mark.servers

ENDPOINTS = {"charge": "charges.create", "find": "charges.list", "refund": "refunds.create"}


class SandboxBench:
    def __init__(self, url: str, control: aiohttp.ClientSession) -> None:
        self.cards = StripeCards("sk_test_contract", url, max_connections=4, call_timeout_s=2.0, connect_timeout_s=1.0)
        self._control = control

    async def run(self, call: Awaitable[R]) -> R:
        return await call

    async def fault(self, kind: str, name: str) -> None:
        await self._post("faults", {"fault": name, "endpoint": ENDPOINTS[kind]})

    async def skip(self, seconds: float) -> None:
        await self._post("clock", {"skip_s": seconds})

    async def limit(self, per_s: float) -> None:
        await self._post("settings", {"rate_per_s": per_s})

    async def _post(self, what: str, body: dict[str, object]) -> None:
        async with self._control.post(f"/_sandbox/{what}", json=body) as answer:
            assert answer.status == 200, await answer.text()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[SandboxBench]:
    settings = Settings(rate_per_s=0)
    async with serving(tmp_path, settings, "127.0.0.1", 0) as (url, _), aiohttp.ClientSession(url) as control:
        bench = SandboxBench(url, control)
        yield bench
        await bench.cards.close()


class TestStripeCardsOverTheSandbox(CardsContract):
    """The whole suite."""
