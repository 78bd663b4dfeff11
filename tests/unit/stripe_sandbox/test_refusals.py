"""The sandbox's refusals: keys, routes, parameters, amounts, and too many requests."""

from pathlib import Path
from typing import Any

import pytest
import stripe

from payment.stripe_sandbox.app import SandboxSettings
from tests.unit.core.builders import present
from tests.unit.stripe_sandbox.conftest import KEY, World

GOOD: dict[str, str] = {"amount": "1999", "currency": "usd", "source": "tok_visa"}

BAD_CHARGES: list[tuple[dict[str, Any], str | None, str]] = [
    ({"amount": None}, "parameter_missing", "amount"),
    ({"currency": None}, "parameter_missing", "currency"),
    ({"source": None}, "parameter_missing", "source"),
    ({"source": ""}, "parameter_invalid_empty", "source"),
    ({"amount": "19.99"}, "parameter_invalid_integer", "amount"),
    ({"amount": "١٩٩٩"}, "parameter_invalid_integer", "amount"),
    ({"amount": "9" * 30}, "parameter_invalid_integer", "amount"),
    ({"amount": "-1999"}, "parameter_invalid_integer", "amount"),
    ({"amount": "0"}, "parameter_invalid_integer", "amount"),
    ({"amount": "49"}, "amount_too_small", "amount"),
    ({"amount": "29", "currency": "gbp"}, "amount_too_small", "amount"),
    ({"amount": "100000000"}, "amount_too_large", "amount"),
    ({"amount": "1001", "currency": "kwd"}, "invalid_charge_amount", "amount"),
    ({"amount": "550", "currency": "isk"}, "invalid_charge_amount", "amount"),
    ({"currency": "zzz"}, None, "currency"),
    ({"source": "tok_unknown"}, "resource_missing", "source"),
    ({"colour": "red"}, "parameter_unknown", "colour"),
    ({"metadata[orderId]": "x" * 501}, None, "metadata"),
    ({"metadata": "5"}, None, "metadata"),
]


@pytest.mark.parametrize(("change", "code", "param"), BAD_CHARGES)
async def test_a_bad_charge_is_refused_by_name(world: World, change: dict[str, Any], code: str, param: str) -> None:
    """Each wrong parameter gets a 400 with Stripe's code and the parameter's name, and nothing is stored."""
    params = {name: value for name, value in (GOOD | change).items() if value is not None}
    status, body, _ = await world.post("/v1/charges", **params)
    assert status == 400
    error = body["error"]
    assert (error["type"], error.get("code"), error["param"]) == ("invalid_request_error", code, param)
    assert (await world.audit())["charges"] == []


@pytest.mark.parametrize(
    ("amount", "currency"), [(50, "usd"), (99_999_999, "usd"), (50, "jpy"), (1000, "kwd"), (500, "isk"), (50, "USD")]
)
async def test_the_least_and_the_most_of_a_currency_can_be_charged(world: World, amount: int, currency: str) -> None:
    """The bounds themselves are allowed, and a currency is accepted in either case."""
    charge = await world.charge(amount=amount, currency=currency)
    assert (charge.amount, charge.currency) == (amount, currency.lower())


@pytest.mark.parametrize("body", [b"amount=%FF&currency=usd", b"\xff\xfe", b"&".join([b"a=1"] * 501)])
async def test_a_body_that_is_no_form_is_a_400(world: World, body: bytes) -> None:
    """Bytes that can't be read as parameters never become a 500."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with world.raw.post("/v1/charges", data=body, headers=form) as response:
        assert response.status == 400
        assert "error" in await response.json()


async def test_a_json_body_is_refused_as_stripe_refuses_it(world: World) -> None:
    """Version 1 of the API accepts only forms."""
    async with world.raw.post("/v1/charges", json=GOOD) as response:
        assert response.status == 400


async def test_a_body_too_large_is_a_413(world: World) -> None:
    """A body can't fill the sandbox's memory."""
    status, body, _ = await world.post("/v1/charges", description="x" * 300_000)
    assert (status, body["error"]["type"]) == (413, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/nothing"), ("DELETE", "/v1/charges"), ("POST", "/v2/charges")]
)
async def test_an_unknown_route_is_stripes_404(world: World, method: str, path: str) -> None:
    """The message names an unknown route, or one without this method."""
    async with world.raw.request(method, path) as response:
        body = await response.json()
    assert response.status == 404
    assert body["error"]["message"].startswith(f"Unrecognized request URL ({method}: {path})")


async def test_a_request_without_a_key_is_a_401(world: World) -> None:
    """The key is checked before anything else."""
    async with world.raw.get("/v1/balance", headers={"Authorization": ""}) as response:
        assert response.status == 401
        assert (await response.json())["error"]["type"] == "invalid_request_error"
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_another_key_than_the_required_one_is_a_401_that_does_not_repeat_it(tmp_path: Path) -> None:
    """F36: with `--require-key` one key is accepted, and a message never contains the sent one."""
    async with World(tmp_path, SandboxSettings(require_key=KEY)) as world:
        await world.charge()
        with pytest.raises(stripe.AuthenticationError) as refused:
            await world.client("sk_test_another_secret").v1.balance.retrieve_async()
    assert refused.value.http_status == 401
    assert "another" not in str(refused.value)


async def test_basic_auth_takes_the_key_as_user_name(world: World) -> None:
    """curl's `-u sk_test_…:` works as it does at Stripe."""
    async with world.raw.get("/v1/balance", headers={"Authorization": "Basic c2tfdGVzdF94Og=="}) as response:
        assert response.status == 200
    async with world.raw.get("/v1/balance", headers={"Authorization": "Basic %%%"}) as response:
        assert response.status == 401


async def test_every_answer_names_its_request_and_version(world: World) -> None:
    """`Request-Id` is there and differs; `Stripe-Version` and the idempotency key come back as they were sent."""
    first = (await world.charge(key="k1")).last_response
    second = (await world.charge(key="k2")).last_response
    assert first is not None
    assert second is not None
    assert present(first.request_id).startswith("req_")
    assert first.request_id != second.request_id
    assert first.headers["Stripe-Version"] == stripe.api_version
    assert first.headers["Idempotency-Key"] == "k1"


async def test_the_rate_limit_is_each_endpoints_own_and_fills_up_again(tmp_path: Path) -> None:
    """F14: the 26th charge at once is a 429 with the reason; other endpoints are not affected; the limit recovers with
    time.
    """
    async with World(tmp_path, SandboxSettings()) as world:
        for _ in range(25):
            await world.charge()
        with pytest.raises(stripe.RateLimitError) as limited:
            await world.charge(key="k")
        assert (limited.value.http_status, present(limited.value.error).code) == (429, "rate_limit")
        assert present(limited.value.headers)["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
        await world.stripe.v1.charges.list_async()
        world.clock.now += 0.05
        assert (await world.charge(key="k")).status == "succeeded"
        with pytest.raises(stripe.RateLimitError):
            await world.charge()


async def test_the_rate_limit_can_be_set_while_it_runs(world: World) -> None:
    """The control route changes the rate from the next request on."""
    await world.control("settings", rate_per_s=1)
    await world.charge()
    with pytest.raises(stripe.RateLimitError):
        await world.charge()
    await world.control("settings", rate_per_s=0)
    await world.charge()


async def test_the_account_has_a_limit_over_all_endpoints(tmp_path: Path) -> None:
    """Requests to different endpoints add up; the 429 names the account's limit."""
    async with World(tmp_path, SandboxSettings(account_rate_per_s=30)) as world:
        for _ in range(15):
            await world.stripe.v1.charges.list_async()
            await world.stripe.v1.refunds.list_async()
        with pytest.raises(stripe.RateLimitError) as limited:
            await world.stripe.v1.payment_intents.list_async()
        assert present(limited.value.headers)["Stripe-Rate-Limited-Reason"] == "global-rate"
        await world.control("settings", account_rate_per_s=0)
        await world.stripe.v1.payment_intents.list_async()


@pytest.mark.parametrize(("rate_per_s", "limit"), [(0, 0), (25, 100), (200, 100)])
async def test_the_accounts_default_limit_is_stripes(tmp_path: Path, rate_per_s: float, limit: float) -> None:
    """It is 100 a second, or none where the endpoints have none."""
    settings = SandboxSettings(rate_per_s=rate_per_s)
    async with World(tmp_path, settings) as world, world.raw.get("/_sandbox/settings") as response:
        assert (await response.json())["account_rate_per_s"] == limit
