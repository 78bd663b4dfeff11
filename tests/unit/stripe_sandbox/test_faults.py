"""The sandbox's faults: their errors in the stripe library, and the stored charges."""

import asyncio
from typing import Any

import pytest
import stripe

from payment.stripe_sandbox.faults import FaultKind
from tests.unit.core.builders import present
from tests.unit.stripe_sandbox.conftest import World

AS_SEEN: list[tuple[str, type[Exception], int]] = [
    ("drop_before", stripe.APIConnectionError, 0),
    ("drop_after", stripe.APIConnectionError, 1),
    ("error_before", stripe.APIError, 0),
    ("error_after", stripe.APIError, 1),
    ("rate_limit", stripe.RateLimitError, 0),
    ("lock_timeout", stripe.RateLimitError, 0),
    ("html", stripe.APIError, 0),
    ("html_after", stripe.APIError, 1),
    ("unauthorized", stripe.AuthenticationError, 0),
    ("forbidden", stripe.PermissionError, 0),
]


@pytest.mark.parametrize(("fault", "error", "charges"), AS_SEEN)
async def test_a_fault_strikes_as_asked(world: World, fault: str, error: type[Exception], charges: int) -> None:
    """Each fault raises its error in the library, and has charged or not; the next request has no fault (F09 to
    F14).
    """
    await world.control("faults", fault=fault, endpoint="charges.create")
    with pytest.raises(error):
        await world.charge(key="k1")
    assert len((await world.audit())["charges"]) == charges
    assert (await world.charge(key="k2")).status == "succeeded"


async def test_a_cut_body_has_charged(world: World) -> None:
    """F11: the client gets the headers and half of the body; the same key returns the charge that was made."""
    await world.control("faults", fault="cut_body")
    with pytest.raises(Exception) as broken:  # noqa: PT011 (the library lets aiohttp's own error through)
        await world.charge(key="k")
    assert "payload" in str(broken.value).lower()
    assert (await world.charge(key="k")).id == (await world.audit())["charges"][0]["id"]


@pytest.mark.parametrize(("fault", "charges"), [("error_before", 0), ("error_after", 1)])
async def test_a_500_is_kept_for_its_key(world: World, fault: str, charges: int) -> None:
    """F12: the same key gets the same 500 for ever, whether or not the card was charged."""
    await world.control("faults", fault=fault)
    for replayed in (None, "true"):
        status, body, headers = await world.post("/v1/charges", "k", amount="1999", currency="usd", source="tok_visa")
        assert (status, body["error"]["type"]) == (500, "api_error")
        assert headers.get("Idempotent-Replayed") == replayed
    assert len((await world.audit())["charges"]) == charges


@pytest.mark.parametrize(("fault", "charges"), [("hang", 0), ("hang_after", 1)])
async def test_a_hanging_request_never_ends(world: World, fault: str, charges: int) -> None:
    """F09, F10: no answer comes; the client gives up, and the same key shows the result."""
    await world.control("faults", fault=fault)
    asking = asyncio.create_task(world.charge(key="k"))
    while "charges.create" not in (await world.audit())["requests"]:
        continue
    assert not asking.done()
    asking.cancel()
    assert len((await world.audit())["charges"]) == charges
    assert (await world.charge(key="k")).status == "succeeded"
    assert len((await world.audit())["charges"]) == 1


async def test_a_delay_passes_before_the_charge(world: World) -> None:
    """A slow charge is executing: it is not stored until its delay is over."""
    await world.control("faults", fault="delay", delay_ms=1500)
    asking = asyncio.create_task(world.charge())
    await world.gate.arrived.wait()
    assert world.gate.slept_s == [1.5]
    assert (await world.audit())["charges"] == []
    world.gate.opened.set()
    assert (await asking).status == "succeeded"


async def test_a_late_confirm_lands_after_its_client_has_gone(world: World) -> None:
    """The connection breaks at once and nothing is charged; when the delay is over, the confirm is executed all the
    same.
    """
    intent = await world.intent()
    await world.control("faults", fault="late", endpoint="payment_intents.confirm", delay_ms=5000)
    with pytest.raises(stripe.APIConnectionError):
        await world.confirm(intent.id, key="k", token="tok_visa")
    await world.gate.arrived.wait()
    assert world.gate.slept_s == [5.0]
    assert (await world.audit())["charges"] == []
    world.gate.opened.set()
    while not (charges := (await world.audit())["charges"]):
        continue
    assert charges[0]["payment_intent"] == intent.id
    replayed = await world.confirm(intent.id, key="k", token="tok_visa")
    assert replayed.latest_charge == charges[0]["id"]


async def test_a_late_confirm_finds_a_canceled_intent(world: World) -> None:
    """A cancel is a fence: a later confirm is refused, and its key keeps the refusal."""
    intent = await world.intent()
    await world.control("faults", fault="late", endpoint="payment_intents.confirm", delay_ms=5000)
    with pytest.raises(stripe.APIConnectionError):
        await world.confirm(intent.id, key="k", token="tok_visa")
    await world.stripe.v1.payment_intents.cancel_async(intent.id)
    world.gate.opened.set()
    while "payment_intents.confirm landed late" not in (audit := await world.audit())["requests"]:
        continue
    assert audit["charges"] == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.confirm(intent.id, key="k", token="tok_visa")
    assert refused.value.code == "payment_intent_unexpected_state"
    assert present(refused.value.headers)["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("token", "status", "charge"),
    [("tok_visa", "succeeded", "succeeded"), ("tok_chargeDeclined", "requires_payment_method", "failed")],
)
async def test_a_payment_can_stay_in_processing(world: World, token: str, status: str, charge: str) -> None:
    """Its charge is pending, it can be neither confirmed nor canceled, and it ends when its time has come."""
    intent = await world.intent()
    await world.control("faults", fault="processing", endpoint="payment_intents.confirm", delay_ms=60_000)
    waiting = await world.confirm(intent.id, token=token, expand=["latest_charge"])
    assert waiting.status == "processing"
    assert isinstance(waiting.latest_charge, stripe.Charge)
    assert (waiting.latest_charge.status, waiting.latest_charge.paid) == ("pending", False)
    for step in (world.confirm(intent.id, token=token), world.stripe.v1.payment_intents.cancel_async(intent.id)):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await step
        assert refused.value.code == "payment_intent_unexpected_state"
    await world.control("clock", skip_s=60)
    ended = await world.stripe.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert ended.status == status
    assert isinstance(ended.latest_charge, stripe.Charge)
    assert (ended.latest_charge.id, ended.latest_charge.status) == (waiting.latest_charge.id, charge)


async def test_a_fault_strikes_its_endpoint_as_often_as_asked(world: World) -> None:
    """Other endpoints are not affected; after `times` requests the fault is used up; DELETE removes pending ones."""
    await world.control("faults", fault="error_before", endpoint="charges.create", times=2)
    await world.stripe.v1.charges.list_async()
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await world.charge()
    await world.charge()
    await world.control("faults", fault="error_before", times=None)
    async with world.raw.delete("/_sandbox/faults") as response:
        assert await response.json() == {"faults": []}
    await world.charge()


async def test_an_improbable_fault_does_not_strike(world: World) -> None:
    """A fault with probability 0 never strikes and stays pending."""
    await world.control("faults", fault="drop_before", probability=0)
    await world.charge()
    assert len(world.sandbox.faults.pending) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"fault": "flood"},
        {"fault": "hang", "endpoint": "payouts.create"},
        {"fault": "hang", "times": 0},
        {"fault": "hang", "probability": 2},
        {"fault": "hang", "wish": 1},
        {},
        [],
    ],
)
async def test_a_fault_that_there_is_not_is_refused(world: World, body: Any) -> None:
    """A misspelt fault must not let a test pass."""
    async with world.raw.post("/_sandbox/faults", json=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]["message"]
    assert world.sandbox.faults.pending == []


async def test_the_audit_counts_every_request(world: World) -> None:
    """Requests, statuses, replays and faults, by endpoint."""
    await world.charge(key="k")
    await world.charge(key="k")
    await world.control("faults", fault="rate_limit")
    with pytest.raises(stripe.RateLimitError):
        await world.charge()
    counts = (await world.audit())["requests"]["charges.create"]
    assert counts == {"requests": 3, "200": 2, "replayed": 1, "429": 1, "fault:rate_limit": 1}


def test_every_fault_is_tested() -> None:
    """A new kind of fault needs a row above."""
    by_itself = {"cut_body", "hang", "hang_after", "delay", "late", "processing"}
    assert {kind.value for kind in FaultKind} == {fault for fault, *_ in AS_SEEN} | by_itself


async def test_a_restricted_key_gets_its_missing_permission_and_its_account(world: World) -> None:
    """As at Stripe: the account and the permission; only the ends of the key."""
    account = await world.stripe.v1.accounts.retrieve_current_async()
    await world.control("faults", fault="forbidden", endpoint="charges.create")
    with pytest.raises(stripe.PermissionError) as refused:
        await world.charge()
    message = str(refused.value)
    assert f"on account '{account.id}'" in message
    assert "rak_charge_write" in message
    assert refused.value.http_status == 403


async def test_a_fault_about_an_order_strikes_no_other(world: World) -> None:
    """By the request's own text, and by the transfer group of its intent."""
    await world.control("faults", fault="rate_limit", times=None, about="order-1")
    made = []
    for group in ("order-1", "order-2"):
        form = {"amount": "1999", "currency": "usd", "transfer_group": group}
        status, body, _ = await world.post("/v1/payment_intents", group, **form)
        made.append(status)
    assert made == [429, 200]
    await world.control("faults", fault="forbidden", endpoint="payment_intents.confirm", times=None, about="order-2")
    status, _, _ = await world.post(f"/v1/payment_intents/{body['id']}/confirm", "c", payment_method="pm_card_visa")
    assert status == 403


async def test_a_counted_fault_for_any_endpoint_is_not_used_up_by_health_checks(world: World) -> None:
    """Clients send periodic health checks, which a test's fault is not meant for."""
    await world.control("faults", fault="rate_limit", endpoint="*", times=1)
    await world.stripe.v1.accounts.retrieve_current_async()
    with pytest.raises(stripe.RateLimitError):
        await world.charge()
    await world.control("faults", fault="rate_limit", endpoint="*", times=None)
    with pytest.raises(stripe.RateLimitError):
        await world.stripe.v1.accounts.retrieve_current_async()
