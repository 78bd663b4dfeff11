"""The rules that the payment service relies on hold for any steps on an intent, in any order."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from payment.stripe_sandbox.app import SandboxSettings
from tests.unit.stripe_sandbox.conftest import World

CARDS = (
    "tok_visa",
    "tok_chargeDeclined",
    "tok_threeDSecure2Required",
    "tok_threeDSecureRequiredChargeDeclined",
    "tok_none",
)
FINAL = ("succeeded", "canceled")

confirms = st.fixed_dictionaries(
    {
        "do": st.just("confirm"),
        "token": st.sampled_from(CARDS),
        "key": st.sampled_from(["k1", "k2", None]),
        "fault": st.sampled_from([None, None, None, "error_before", "error_after", "rate_limit", "processing"]),
        "alone": st.booleans(),
    }
)
others = st.fixed_dictionaries({"do": st.sampled_from(["complete", "fail", "cancel", "refund", "wait", "restart"])})
steps = st.lists(st.one_of(confirms, others), max_size=10)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_an_intent_charges_at_most_once_and_ends_for_good(played: list[dict[str, Any]]) -> None:
    """One succeeded charge, exactly where the intent has succeeded; final states stay; a key keeps its answer."""
    asyncio.run(_play(played))


async def _play(played: list[dict[str, Any]]) -> None:
    answers: dict[str, tuple[Any, int, Any]] = {}
    ended: str | None = None
    with tempfile.TemporaryDirectory() as directory:
        world = await World(Path(directory), SandboxSettings(rate_per_s=0)).__aenter__()
        intent_id = (await world.intent()).id
        for step in played:
            if step["do"] == "restart":
                await world.__aexit__()
                world = await World(Path(directory), SandboxSettings(rate_per_s=0)).__aenter__()
            else:
                await _take(world, intent_id, step, answers)
            ended = await _check(world, intent_id, ended)
        await world.__aexit__()


async def _take(world: World, intent_id: str, step: dict[str, Any], answers: dict[str, tuple[Any, int, Any]]) -> None:
    match step["do"]:
        case "confirm":
            await _confirm(world, intent_id, step, answers)
        case "complete" | "fail":
            async with world.raw.post(f"/_sandbox/intents/{intent_id}/{step['do']}") as response:
                assert response.status in (200, 409)
        case "cancel":
            assert (await world.post(f"/v1/payment_intents/{intent_id}/cancel"))[0] in (200, 400)
        case "refund":
            assert (await world.post("/v1/refunds", payment_intent=intent_id))[0] in (200, 400)
        case "wait":
            await world.control("clock", skip_s=60)


async def _confirm(
    world: World, intent_id: str, step: dict[str, Any], answers: dict[str, tuple[Any, int, Any]]
) -> None:
    params = {"payment_method_data[type]": "card", "payment_method_data[card][token]": step["token"]}
    if step["alone"]:
        params["error_on_requires_action"] = "true"
    if step["fault"] is not None:
        delay_ms = 60_000 if step["fault"] == "processing" else 0
        await world.control("faults", fault=step["fault"], delay_ms=delay_ms, endpoint="payment_intents.confirm")
    key = step["key"]
    status, body, headers = await world.post(f"/v1/payment_intents/{intent_id}/confirm", key, **params)
    if status == 429 or key is None:
        return
    if key not in answers:
        answers[key] = params, status, body
    elif answers[key][0] == params:
        assert (status, body) == answers[key][1:]
        assert headers["Idempotent-Replayed"] == "true"
    else:
        assert (status, body["error"]["type"]) == (400, "idempotency_error")


async def _check(world: World, intent_id: str, ended: str | None) -> str | None:
    """Check the rules; returns the final state once there is one."""
    audit = await world.audit()
    (intent,) = audit["intents"]
    succeeded = [charge for charge in audit["charges"] if charge["status"] == "succeeded"]
    assert len(succeeded) == (intent["status"] == "succeeded")
    assert intent["amount_received"] == sum(charge["amount"] for charge in succeeded)
    assert all(charge["payment_intent"] == intent_id for charge in audit["charges"])
    assert (intent["next_action"] is not None) == (intent["status"] == "requires_action")
    assert ended in (None, intent["status"])
    events = await world.stripe.v1.events.list_async({"type": "payment_intent.succeeded"})
    assert len(events.data) == len(succeeded)
    return intent["status"] if intent["status"] in FINAL else None
