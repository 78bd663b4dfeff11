"""The real adapter, over HTTP, against the real sandbox: it keeps the same contract as the fake."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from payment.adapters.stripe.cards import StripeCards
from payment.core.messages import Instrument, InstrumentKind
from payment.ports.cards import Handover
from payment.stripe_sandbox.app import SandboxSettings
from payment.stripe_sandbox.server import serving
from tests.contract.cards_contract import CardsContract

R = TypeVar("R")

pytestmark = pytest.mark.servers

ENDPOINTS = {
    "create": "payment_intents.create",
    "confirm": "payment_intents.confirm",
    "retrieve": "payment_intents.retrieve",
    "cancel": "payment_intents.cancel",
    "list": "charges.list",
    "refund": "refunds.create",
}
SECRET_KEY = {"Authorization": "Bearer sk_test_contract"}
PUBLISHABLE_KEY = {"Authorization": "Bearer pk_test_contract"}


class SandboxBench:
    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.cards = StripeCards("sk_test_contract", url, max_connections=4, call_timeout_s=2.0, connect_timeout_s=1.0)
        self._http = http

    async def run(self, call: Awaitable[R]) -> R:
        return await call

    async def fault(self, kind: str, name: str) -> None:
        await self._control("faults", {"fault": name, "endpoint": ENDPOINTS[kind]})

    async def skip(self, seconds: float) -> None:
        await self._control("clock", {"skip_s": seconds})

    async def limit(self, per_s: float) -> None:
        await self._control("settings", {"rate_per_s": per_s})

    async def instrument(self, kind: InstrumentKind, card: str) -> Instrument:
        match kind:
            case InstrumentKind.TOKEN:
                return Instrument(kind, f"tok_{card}")
            case InstrumentKind.PAYMENT_METHOD:
                return Instrument(kind, f"pm_card_{card}")
            case InstrumentKind.CONFIRMATION_TOKEN:
                made = await self._api("test_helpers/confirmation_tokens", {"payment_method": f"pm_card_{card}"})
                return Instrument(kind, made["id"])

    async def authenticate(self, intent_id: str, completes: bool) -> None:
        """A customer whose intent was canceled in between finds the bank's page closed: 409."""
        answer = "complete" if completes else "fail"
        async with self._http.post(f"/_sandbox/intents/{intent_id}/{answer}") as answered:
            assert answered.status in (200, 409), await answered.text()

    async def browser_confirm(self, handover: Handover, card: str) -> None:
        secret = handover.client_secret
        params = {"client_secret": secret, "payment_method": f"pm_card_{card}"}
        path = f"payment_intents/{secret.partition('_secret_')[0]}/confirm"
        await self._api(path, params, PUBLISHABLE_KEY)

    async def cancel_by_hand(self, intent_id: str) -> None:
        await self._api(f"payment_intents/{intent_id}/cancel", {})

    async def refund_by_hand(self, charge_id: str) -> None:
        await self._api("refunds", {"charge": charge_id})

    async def fail_refund(self, refund_id: str) -> None:
        await self._control(f"refunds/{refund_id}/fail", {})

    async def dispute(self, charge_id: str) -> None:
        await self._control(f"charges/{charge_id}/dispute", {})

    async def decide(self, charge_id: str, *, won: bool) -> None:
        async with self._http.get("/v1/disputes", params={"charge": charge_id}, headers=SECRET_KEY) as answer:
            [dispute] = (await answer.json())["data"]
        await self._control(f"disputes/{dispute['id']}/{'win' if won else 'lose'}", {})

    async def _control(self, what: str, body: dict[str, object]) -> None:
        async with self._http.post(f"/_sandbox/{what}", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def _api(self, path: str, params: dict[str, str], headers: dict[str, str] = SECRET_KEY) -> Any:
        async with self._http.post(f"/v1/{path}", data=params, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[SandboxBench]:
    settings = SandboxSettings(rate_per_s=0)
    async with serving(tmp_path, settings, "127.0.0.1", 0) as (url, _), aiohttp.ClientSession(url) as http:
        bench = SandboxBench(url, http)
        yield bench
        await bench.cards.close()


class TestStripeCardsOverTheSandbox(CardsContract):
    """The whole suite."""
