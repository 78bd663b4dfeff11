"""The sandbox's answers against Stripe's OpenAPI specification, which stripe-mock contains.

`tests/e2e/stripe_clients/install.sh` installs stripe-mock; on a machine without it these tests skip. Its specification
is some months older than the sandbox's API version.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stripe_sandbox.conftest import World

MODULES = Path.home() / "go" / "pkg" / "mod" / "github.com" / "stripe"
FOUND = sorted(MODULES.glob("stripe-mock@*/embedded/openapi/spec3.json"))
NEWER = {"source", "submission_method", "network_reason_code"}
"""Fields of the stripe library's types that the specification does not have yet."""
PRIVATE = {"confirmation_tokens.create"}
"""The routes of Stripe.js that no specification lists."""
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}

pytestmark = pytest.mark.skipif(not FOUND, reason="needs stripe-mock: tests/e2e/stripe_clients/install.sh installs it")


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """The whole specification."""
    read: dict[str, Any] = json.loads(FOUND[-1].read_text())
    return read


class Checker:
    """Compares values with schemas of the specification, and collects the differences."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._schemas = spec["components"]["schemas"]
        self.faults: set[str] = set()

    def check(self, name: str, value: Any) -> None:
        self.faults |= self._faults(self._schemas[name], value, name)

    def _faults(self, schema: dict[str, Any], value: Any, path: str) -> set[str]:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        if value is None:
            return set() if schema.get("nullable") else {f"{path} is null"}
        if "anyOf" in schema:
            return min((self._faults(each, value, path) for each in schema["anyOf"]), key=len)
        kind = schema.get("type")
        if kind is not None and not isinstance(value, TYPES[kind]):
            return {f"{path} is no {kind}"}
        if "enum" in schema and value not in schema["enum"]:
            return {f"{path} is {value!r}"}
        if kind == "array":
            return set().union(*(self._faults(schema["items"], each, f"{path}[]") for each in value))
        return self._faults_below(schema, value, path) if kind == "object" else set()

    def _faults_below(self, schema: dict[str, Any], value: dict[str, Any], path: str) -> set[str]:
        known = schema.get("properties", {})
        faults = {f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value}
        for name, each in value.items():
            if name in known:
                faults |= self._faults(known[name], each, f"{path}.{name}")
            elif known and name not in NEWER and not isinstance(schema.get("additionalProperties"), dict):
                faults.add(f"{path}.{name} is unknown")
        return faults


async def test_every_object_fits_stripes_specification(world: World, spec: dict[str, Any]) -> None:
    """Intents in each state, charges, refunds, disputes, events and errors: no field missing, none too many."""
    checker = Checker(spec)
    intent = await world.intent()
    for name in ("threeDSecure2Required", "createDisputeInquiry", "amex"):
        paid = await world.intent(confirm=True, payment_method=f"pm_card_{name}", return_url="https://shop.example")
    redirected = (await world.stripe.v1.payment_intents.list_async({"limit": 3})).data[2]
    await world.control(f"intents/{redirected.id}/complete")
    await world.intent(confirm=True, payment_method="pm_card_threeDSecure2Required")
    await world.stripe.v1.refunds.create_async({"payment_intent": paid.id})
    await world.charge(source="tok_pendingRefund")
    for intent_id in (intent.id, paid.id):
        _, error, _ = await world.post(f"/v1/payment_intents/{intent_id}/confirm", payment_method="pm_card_radarBlock")
        checker.check("api_errors", error["error"])
    listed = {
        "payment_intent": "payment_intents",
        "charge": "charges",
        "refund": "refunds",
        "dispute": "disputes",
        "event": "events",
    }
    for name, path in listed.items():
        async with world.raw.get(f"/v1/{path}", params={"limit": "50"}) as response:
            objects = (await response.json())["data"]
        assert objects
        for each in objects:
            checker.check(name, each)
    assert checker.faults == set()


async def test_the_instrument_of_a_payment_fits_too(world: World, spec: dict[str, Any]) -> None:
    """Card tokens, payment methods, confirmation tokens, webhook endpoints, the balance."""
    checker = Checker(spec)
    card = {"card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2034"}
    made = {
        "token": ("tokens", card),
        "payment_method": ("payment_methods", {"type": "card", **card}),
        "confirmation_token": ("test_helpers/confirmation_tokens", {"payment_method": "pm_card_visa"}),
        "webhook_endpoint": ("webhook_endpoints", {"url": "https://shop.example", "enabled_events[]": "*"}),
    }
    for name, (path, params) in made.items():
        status, body, _ = await world.post(f"/v1/{path}", **params)
        assert status == 200
        checker.check(name, body)
    async with world.raw.get("/v1/balance") as response:
        checker.check("balance", await response.json())
    assert checker.faults == set()


async def test_every_endpoint_is_stripes(world: World, spec: dict[str, Any]) -> None:
    """Each route is one of the specification."""
    known = {(re.sub(r"\{[^}]*\}", "{id}", path), method) for path, each in spec["paths"].items() for method in each}
    ours = {(each.path, each.method.lower()) for each in world.sandbox.endpoints if each.name not in PRIVATE}
    assert ours - known == set()
