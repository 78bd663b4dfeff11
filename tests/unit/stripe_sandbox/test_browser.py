"""A browser's use of the sandbox: the calls of Stripe.js with a publishable key, and the bank's page."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from payment.stripe_sandbox.intent_objects import PUBLIC_FIELDS
from tests.unit.stripe_sandbox.conftest import World

PUBLISHABLE = {"Authorization": "Bearer pk_test_51Sandbox"}
RETURN_URL = "https://shop.example/done?order=o1"
THREE_D_SECURE = "pm_card_threeDSecure2Required"


async def browser(world: World, method: str, path: str, **params: str) -> tuple[int, Any, Any]:
    """Send a request as a page does."""
    sent: Any = {"params": params} if method == "GET" else {"data": params}
    async with world.raw.request(method, path, headers=PUBLISHABLE, **sent) as response:
        return response.status, await response.json(), response.headers


async def test_a_browser_sees_its_intent_by_the_client_secret(world: World) -> None:
    """It gets the fields that Stripe shows to a publishable key, and no other."""
    intent = await world.intent(metadata={"orderId": "o1"})
    path = f"/v1/payment_intents/{intent.id}"
    status, body, headers = await browser(world, "GET", path, client_secret=str(intent.client_secret))
    assert status == 200
    assert set(body) == PUBLIC_FIELDS
    assert "metadata" not in body
    assert headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("step", ["", "/confirm"])
async def test_a_browser_without_the_right_secret_sees_nothing(world: World, step: str) -> None:
    """A wrong secret is refused by name, a missing one requires a secret key; the intent does not change."""
    intent = await world.intent(payment_method="pm_card_visa")
    method, path = ("POST" if step else "GET"), f"/v1/payment_intents/{intent.id}{step}"
    status, body, _ = await browser(world, method, path, client_secret=f"{intent.id}_secret_x")
    assert (status, body["error"]["code"]) == (400, "payment_intent_invalid_parameter")
    assert body["error"]["param"] == "client_secret"
    status, body, _ = await browser(world, method, path)
    assert (status, body["error"]["code"]) == (401, "secret_key_required")
    assert (await world.stripe.v1.payment_intents.retrieve_async(intent.id)).status == "requires_confirmation"


async def test_a_browser_confirms_with_another_card(world: World) -> None:
    """The secret is enough to confirm: a declined answer shows the public intent alone, a good one is paid."""
    intent = await world.intent(metadata={"orderId": "o1"})
    path, secret = f"/v1/payment_intents/{intent.id}/confirm", str(intent.client_secret)
    declined = {"client_secret": secret, "payment_method": "pm_card_chargeDeclined"}
    status, body, _ = await browser(world, "POST", path, **declined)
    assert status == 402
    assert set(body["error"]["payment_intent"]) == PUBLIC_FIELDS
    status, body, _ = await browser(world, "POST", path, client_secret=secret, payment_method="pm_card_visa")
    assert (status, body["status"]) == (200, "succeeded")
    assert set(body) == PUBLIC_FIELDS
    status, body, _ = await browser(world, "POST", path, client_secret=secret, payment_method="pm_card_visa")
    assert status == 400
    assert set(body["error"]["payment_intent"]) == PUBLIC_FIELDS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/payment_intents"),
        ("GET", "/v1/payment_intents"),
        ("POST", "/v1/payment_intents/pi_1"),
        ("POST", "/v1/payment_intents/pi_1/cancel"),
        ("GET", "/v1/payment_methods/pm_1"),
        ("GET", "/v1/confirmation_tokens/ctoken_1"),
        ("POST", "/v1/test_helpers/confirmation_tokens"),
        ("POST", "/v1/charges"),
        ("POST", "/v1/refunds"),
        ("GET", "/v1/events"),
        ("POST", "/v1/webhook_endpoints"),
    ],
)
async def test_a_publishable_key_opens_nothing_else(world: World, method: str, path: str) -> None:
    """The answer is 401, with the code for the required key; no page may read it."""
    status, body, headers = await browser(world, method, path)
    assert (status, body["error"]["code"]) == (401, "secret_key_required")
    assert "Access-Control-Allow-Origin" not in headers


async def test_a_browser_makes_tokens_of_each_kind(world: World) -> None:
    """Card token, payment method, confirmation token; a secret key makes no confirmation token this way."""
    card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "34", "cvc": "123"}
    flat = {f"card[{name}]": value for name, value in card.items()}
    data = {f"payment_method_data[card][{name}]": value for name, value in card.items()}
    status, token, _ = await browser(world, "POST", "/v1/tokens", **flat)
    assert (status, token["object"]) == (200, "token")
    status, method, _ = await browser(world, "POST", "/v1/payment_methods", type="card", **flat)
    assert (status, method["card"]["exp_year"]) == (200, 2034)
    path = "/v1/confirmation_tokens"
    status, confirmation, _ = await browser(world, "POST", path, **{"payment_method_data[type]": "card", **data})
    assert (status, confirmation["object"]) == (200, "confirmation_token")
    assert (await world.post(path, payment_method="pm_card_visa"))[0] == 401
    assert (await world.intent(confirm=True, confirmation_token=confirmation["id"])).status == "succeeded"
    assert (await world.intent(confirm=True, payment_method=method["id"])).status == "succeeded"
    assert (await world.confirm((await world.intent()).id, token=token["id"])).status == "succeeded"


async def test_a_preflight_allows_what_a_page_sends(world: World) -> None:
    """Only for the calls of a browser."""
    async with world.raw.options("/v1/payment_intents/pi_1/confirm") as response:
        assert response.status == 204
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    async with world.raw.options("/v1/refunds") as response:
        assert response.status == 404


async def redirected(world: World, **params: Any) -> tuple[stripe.PaymentIntent, str]:
    """Returns an intent whose customer is redirected to the bank's page, and the page's address."""
    asked = {"payment_method": THREE_D_SECURE, "return_url": RETURN_URL, **params}
    intent = await world.intent(confirm=True, **asked)
    assert intent.next_action is not None
    redirect = intent.next_action.redirect_to_url
    assert redirect is not None
    assert redirect.return_url == RETURN_URL
    return intent, str(redirect.url)


@pytest.mark.parametrize(
    ("button", "name", "redirect_status", "status"),
    [
        ("complete", THREE_D_SECURE, "succeeded", "succeeded"),
        ("complete", "pm_card_threeDSecureRequiredChargeDeclined", "failed", "requires_payment_method"),
        ("fail", THREE_D_SECURE, "failed", "requires_payment_method"),
    ],
)
async def test_the_bank_sends_the_customer_back(
    world: World, button: str, name: str, redirect_status: str, status: str
) -> None:
    """The page shows the amount and both buttons; each one leads back with Stripe's query parameters."""
    intent, page = await redirected(world, payment_method=name)
    assert page.startswith(f"{world.url}/_bank/")
    async with world.raw.get(page) as response:
        text = await response.text()
        assert response.status == 200
    assert "$19.99 usd" in text
    assert f'action="{urlsplit(page).path}/{button}"' in text
    async with world.raw.post(f"{page}/{button}", allow_redirects=False) as response:
        assert response.status == 303
        back = urlsplit(response.headers["Location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == "https://shop.example/done"
    assert parse_qs(back.query) == {
        "order": ["o1"],
        "payment_intent": [intent.id],
        "payment_intent_client_secret": [intent.client_secret],
        "redirect_status": [redirect_status],
    }
    assert (await world.stripe.v1.payment_intents.retrieve_async(intent.id)).status == status


async def test_a_page_of_the_bank_is_good_for_one_answer(world: World) -> None:
    """Once it is answered in one tab, another tab shows that it is closed, and nothing is charged twice."""
    intent, page = await redirected(world)
    async with world.raw.post(f"{page}/complete", allow_redirects=False) as response:
        assert response.status == 303
    for method, path in (("GET", page), ("POST", f"{page}/complete"), ("POST", f"{page}/fail")):
        async with world.raw.request(method, path, allow_redirects=False) as response:
            assert response.status == 410
    async with world.raw.post(f"{page}/fail", headers={"Accept": "application/json"}) as response:
        assert response.status == 409
    assert (await world.audit())["succeeded_by_intent"] == {intent.id: 1}


async def test_a_page_without_a_return_url_messages_its_opener(world: World) -> None:
    """Stripe.js shows it in a frame: the answer is a message, or JSON where that is requested."""
    for accept, expected in (("text/html", "3DS-authentication-complete"), ("application/json", '"succeeded"')):
        intent = await world.intent(confirm=True, payment_method=THREE_D_SECURE, use_stripe_sdk=True)
        assert intent.next_action is not None
        assert intent.next_action.use_stripe_sdk is not None
        page = intent.next_action.use_stripe_sdk["stripe_js"]
        async with world.raw.post(f"{page}/complete", headers={"Accept": accept}) as response:
            assert response.status == 200
            assert expected in await response.text()


async def test_the_overview_shows_what_there_is_and_escapes_it(world: World) -> None:
    """Intents, charges, refunds, disputes and events; no sent value becomes markup or a request."""
    paid = await world.intent(confirm=True, payment_method="pm_card_visa", transfer_group="<script>alert(1)</script>")
    refund = await world.stripe.v1.refunds.create_async({"payment_intent": paid.id})
    disputed = await world.charge(source="tok_createDispute")
    waiting, page = await redirected(world)
    async with world.raw.get("/") as response:
        text = await response.text()
        assert response.status == 200
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for shown in (paid.id, refund.id, disputed.id, waiting.id, urlsplit(page).path, "payment_intent.requires_action"):
        assert shown in text
    assert "<script" not in text
    assert "http" not in text
    assert str(paid.client_secret) not in text
