"""One answer for one idempotency key."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from payment.stripe_sandbox.app import SandboxSettings
from tests.unit.core.builders import present
from tests.unit.stripe_sandbox.conftest import World

CHARGE = {"amount": "1999", "currency": "usd", "source": "tok_visa"}


async def test_the_same_request_again_gets_the_same_answer(world: World) -> None:
    """There is one charge, the same body, and headers that mark the replay and its original request."""
    first = await world.post("/v1/charges", "k", **CHARGE)
    again = await world.post("/v1/charges", "k", **dict(reversed(CHARGE.items())))
    assert again[:2] == first[:2]
    assert again[2]["Idempotent-Replayed"] == "true"
    assert again[2]["Original-Request"] == first[2]["Request-Id"]
    assert "Idempotent-Replayed" not in first[2]
    assert len((await world.audit())["charges"]) == 1


async def test_a_decline_is_kept_for_its_key(world: World) -> None:
    """F15: an attempt that was declined can never charge later under its key."""
    declines = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await world.charge(key="k", source="tok_chargeDeclinedInsufficientFunds")
        declines.append(declined.value)
    assert declines[0].json_body == declines[1].json_body
    assert present(declines[1].headers)["Idempotent-Replayed"] == "true"
    assert len((await world.audit())["charges"]) == 1


async def test_other_parameters_under_a_key_are_an_error(world: World) -> None:
    """F16: it is refused, nothing is charged, and the audit names the key."""
    await world.charge(key="k")
    with pytest.raises(stripe.IdempotencyError) as refused:
        await world.charge(key="k", amount=2000)
    assert (refused.value.http_status, present(refused.value.error).type) == (400, "idempotency_error")
    audit = await world.audit()
    assert len(audit["charges"]) == 1
    assert audit["keys"]["parameter_sets"] == {"k": 2}


async def test_another_endpoint_under_a_key_is_an_error(world: World) -> None:
    """A charge's key can't make a refund."""
    charge = await world.charge(key="k")
    status, body, _ = await world.post("/v1/refunds", "k", charge=charge.id)
    assert (status, body["error"]["type"]) == (400, "idempotency_error")
    assert "'/v1/refunds' vs '/v1/charges'" in body["error"]["message"]


async def test_a_key_is_in_use_while_its_request_is_under_way(world: World) -> None:
    """F13: 409 until the first has ended, then its answer."""
    await world.control("settings", latency_ms=30)
    first = asyncio.create_task(world.charge(key="k"))
    await world.gate.arrived.wait()
    status, body, headers = await world.post("/v1/charges", "k", **CHARGE)
    assert (status, body["error"]["code"]) == (409, "idempotency_key_in_use")
    assert headers["Stripe-Should-Retry"] == "true"
    world.gate.opened.set()
    assert (await world.charge(key="k")).id == (await first).id
    assert world.gate.slept_s[0] == 0.03


async def test_a_refused_request_leaves_the_key_free(world: World) -> None:
    """400, 401 and 429 are not kept: the same key may charge afterwards, with other parameters too."""
    with pytest.raises(stripe.InvalidRequestError):
        await world.charge(key="k", amount=1)
    for kind in ("rate_limit", "lock_timeout", "unauthorized"):
        await world.control("faults", fault=kind)
        with pytest.raises((stripe.RateLimitError, stripe.AuthenticationError)):
            await world.charge(key="k")
    assert (await world.charge(key="k")).status == "succeeded"


async def test_a_key_expires_after_a_day(world: World) -> None:
    """F17: a key sent again after 24 hours charges again, and the audit counts it."""
    first = await world.charge(key="k")
    await world.control("clock", skip_s=24 * 3600 - 1)
    assert (await world.charge(key="k")).id == first.id
    await world.control("clock", skip_s=1)
    assert (await world.charge(key="k")).id != first.id
    audit = await world.audit()
    assert (len(audit["charges"]), audit["keys"]["reused_late"]) == (2, 1)


async def test_a_key_too_long_is_refused(world: World) -> None:
    """Stripe's limit is 255 characters."""
    assert (await world.post("/v1/charges", "k" * 255, **CHARGE))[0] == 200
    assert (await world.post("/v1/charges", "k" * 256, **CHARGE))[0] == 400


Step = tuple[str, dict[str, str], str | None]
steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.fixed_dictionaries(
            {
                "amount": st.sampled_from(["1999", "2999", "20"]),
                "source": st.sampled_from(["tok_visa", "tok_chargeDeclined"]),
            }
        ),
        st.sampled_from([None, None, "error_before", "error_after", "rate_limit"]),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_a_key_has_one_answer_for_all_requests(played: list[Step]) -> None:
    """The first executed request determines status and body permanently; only its charge is stored."""
    asyncio.run(_play(played))


async def _play(played: list[Step]) -> None:
    kept: dict[str, tuple[dict[str, str], tuple[int, Any]]] = {}
    charges = 0
    with tempfile.TemporaryDirectory() as directory:
        async with World(Path(directory), SandboxSettings(rate_per_s=0)) as world:
            for key, params, fault in played:
                if fault is not None:
                    await world.control("faults", fault=fault)
                status, body, headers = await world.post("/v1/charges", key, currency="usd", **params)
                if fault == "rate_limit":
                    assert status == 429
                elif key in kept and kept[key][0] == params:
                    assert (status, body) == kept[key][1]
                    assert headers["Idempotent-Replayed"] == "true"
                elif key in kept:
                    assert (status, body["error"]["type"]) == (400, "idempotency_error")
                elif params["amount"] == "20" and fault != "error_before":
                    assert status == 400
                else:
                    kept[key] = (params, (status, body))
                    charges += fault != "error_before"
                    assert (status == 500) == (fault is not None)
            audit = await world.audit()
    assert len(audit["charges"]) == charges
    assert audit["keys"]["kept"] == len(kept)
