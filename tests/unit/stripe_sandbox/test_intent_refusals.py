"""The sandbox's refusals of requests about intents and instruments, and which of them are kept for an idempotency
key.
"""

from typing import Any

import pytest
import stripe

from tests.unit.core.builders import present
from tests.unit.stripe_sandbox.conftest import World

CARD = {"payment_method_data[type]": "card", "payment_method_data[card][token]": "tok_visa"}
CREATE = {"amount": "1999", "currency": "usd"}

TOKEN = "payment_method_data[card][token]"
ALLOWED = "allowed_payment_method_types"
AUTOMATIC = "automatic_payment_methods"

BAD_CREATES: list[tuple[dict[str, str], str | None, str]] = [
    ({"amount": ""}, "parameter_invalid_empty", "amount"),
    ({"amount": "49"}, "amount_too_small", "amount"),
    ({"currency": "zzz"}, None, "currency"),
    ({"payment_method_types[0]": "card"}, "parameter_unknown", "payment_method_types[0]"),
    ({"colour": "red"}, "parameter_unknown", "colour"),
    ({"automatic_payment_methods[enabled]": "perhaps"}, None, "automatic_payment_methods[enabled]"),
    (
        {"automatic_payment_methods[allow_redirects]": "never"},
        "parameter_missing",
        "automatic_payment_methods[enabled]",
    ),
    ({"automatic_payment_methods[colour]": "red"}, "parameter_unknown", "automatic_payment_methods[colour]"),
    ({"return_url": "https://shop.example"}, None, "return_url"),
    ({"error_on_requires_action": "true"}, None, "error_on_requires_action"),
    ({"confirmation_method": "manual"}, None, "confirmation_method"),
    ({"capture_method": "manual"}, None, "capture_method"),
    ({"customer": "cus_1"}, "resource_missing", "customer"),
    ({"transfer_data[destination]": "acct_1"}, None, "transfer_data"),
    ({"application_fee_amount": "1"}, None, "application_fee_amount"),
    ({f"{ALLOWED}[]": "sepa_debit"}, "payment_intent_invalid_parameter", ALLOWED),
    ({"payment_method_options[card][colour]": "1"}, "parameter_unknown", "payment_method_options[card][colour]"),
    ({"expand[0]": "latest_charg"}, None, "expand"),
    ({"metadata[orderId]": "x" * 501}, None, "metadata"),
]


@pytest.mark.parametrize(("change", "code", "param"), BAD_CREATES)
async def test_a_bad_create_is_refused_by_name(
    world: World, change: dict[str, str], code: str | None, param: str
) -> None:
    """A 400 with Stripe's code and the parameter's name, and no intent."""
    status, body, _ = await world.post("/v1/payment_intents", **(CREATE | change))
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert (body["error"].get("code"), body["error"]["param"]) == (code, param)
    assert (await world.audit())["intents"] == []


BAD_CONFIRMS: list[tuple[dict[str, str], int, str | None, str]] = [
    ({"payment_method_data[type]": "card"}, 400, "parameter_missing", "payment_method_data[card]"),
    ({"payment_method_data[card][token]": "tok_visa"}, 400, "parameter_missing", "payment_method_data[type]"),
    (CARD | {"payment_method_data[type]": "sepa_debit"}, 400, None, "payment_method_data[type]"),
    (CARD | {"payment_method_data[card][tokn]": "1"}, 400, "parameter_unknown", "payment_method_data[card][tokn]"),
    (CARD | {"payment_method": "pm_card_visa"}, 400, None, "payment_method"),
    (CARD | {"return_url": "shop"}, 400, "url_invalid", "return_url"),
    (
        CARD | {"payment_method_data[card][token]": "tok_none"},
        400,
        "resource_missing",
        "payment_method_data[card][token]",
    ),
    ({"payment_method": "pm_none"}, 400, "resource_missing", "payment_method"),
    ({"confirmation_token": "ctoken_none"}, 400, "resource_missing", "confirmation_token"),
    (CARD | {"off_session": "later"}, 400, None, "off_session"),
    (CARD | {"amount_to_confirm": "2000"}, 400, None, "amount_to_confirm"),
    (CARD | {"mandate": "mandate_1"}, 400, "resource_missing", "mandate"),
]


@pytest.mark.parametrize(("params", "status", "code", "param"), BAD_CONFIRMS)
async def test_a_bad_confirm_is_refused_by_name(
    world: World, params: dict[str, str], status: int, code: str | None, param: str
) -> None:
    """The intent stays as it was."""
    intent = await world.intent()
    answered, body, _ = await world.post(f"/v1/payment_intents/{intent.id}/confirm", **params)
    assert (answered, body["error"].get("code"), body["error"]["param"]) == (status, code, param)
    assert (await world.stripe.v1.payment_intents.retrieve_async(intent.id)).to_dict() == intent.to_dict()


@pytest.mark.parametrize("step", ["retrieve", "confirm", "cancel", "update"])
async def test_an_unknown_intent_is_a_404(world: World, step: str) -> None:
    """In every step."""
    call = getattr(world.stripe.v1.payment_intents, f"{step}_async")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await call("pi_none")
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (404, "resource_missing", "intent")


async def test_an_error_of_the_execution_is_kept_for_its_key(world: World) -> None:
    """A 400 that depends on the account's state is kept: the same key gets it again."""
    intent = await world.intent()
    path = f"/v1/payment_intents/{intent.id}/confirm"
    first = await world.post(path, "k", **(CARD | {"payment_method_data[card][token]": "tok_none"}))
    again = await world.post(path, "k", **(CARD | {"payment_method_data[card][token]": "tok_none"}))
    assert (first[0], first[1]) == (again[0], again[1])
    assert (first[0], again[2]["Idempotent-Replayed"]) == (400, "true")
    status, body, _ = await world.post(path, "k", **CARD)
    assert (status, body["error"]["type"]) == (400, "idempotency_error")


async def test_a_validation_error_leaves_its_key_free(world: World) -> None:
    """A refusal before the execution is not kept: the same key may confirm afterwards."""
    intent = await world.intent()
    path = f"/v1/payment_intents/{intent.id}/confirm"
    for bad in ({"colour": "red"}, {"return_url": "shop"}, {"expand[]": "colour"}):
        status, _, headers = await world.post(path, "k", **(CARD | bad))
        assert (status, "Idempotent-Replayed" in headers) == (400, False)
    assert (await world.post(path, "k", **CARD))[0] == 200


async def test_a_decline_is_kept_for_its_key_with_its_intent(world: World) -> None:
    """The replay shows the intent as it was then, even after it was paid under another key."""
    intent = await world.intent()
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await world.confirm(intent.id, key="k1", token="tok_chargeDeclined")
        error: Any = declined.value.error
        assert error.payment_intent.status == "requires_payment_method"
        if (await world.stripe.v1.payment_intents.retrieve_async(intent.id)).status != "succeeded":
            await world.confirm(intent.id, key="k2", token="tok_visa")
    assert present(declined.value.headers)["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("fault", "status"), [("error_before", "requires_payment_method"), ("error_after", "succeeded")]
)
async def test_a_500_of_a_confirm_is_kept_beside_its_outcome(world: World, fault: str, status: str) -> None:
    """The key gets the same 500 for ever; only a read of the intent shows whether it charged."""
    intent = await world.intent()
    await world.control("faults", fault=fault, endpoint="payment_intents.confirm")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as broken:
            await world.confirm(intent.id, key="k", token="tok_visa")
        assert broken.value.http_status == 500
    assert (await world.stripe.v1.payment_intents.retrieve_async(intent.id)).status == status


@pytest.mark.parametrize(
    "name",
    [
        "payment_intents.create",
        "payment_intents.retrieve",
        "payment_intents.update",
        "payment_intents.confirm",
        "payment_intents.cancel",
        "payment_intents.list",
    ],
)
async def test_each_endpoint_has_faults_of_its_own(world: World, name: str) -> None:
    """A fault strikes the endpoint that it names, and no other."""
    intent = await world.intent(payment_method="pm_card_visa")
    intents = world.stripe.v1.payment_intents
    calls: dict[str, Any] = {
        "payment_intents.retrieve": lambda: intents.retrieve_async(intent.id),
        "payment_intents.list": lambda: intents.list_async(),
        "payment_intents.update": lambda: intents.update_async(intent.id, {"description": "x"}),
        "payment_intents.create": lambda: world.intent(),
        "payment_intents.confirm": lambda: world.confirm(intent.id),
        "payment_intents.cancel": lambda: intents.cancel_async(intent.id),
    }
    await world.control("faults", fault="error_before", endpoint=name)
    for other in calls.keys() - {name, "payment_intents.confirm", "payment_intents.cancel"}:
        await calls[other]()
    with pytest.raises(stripe.APIError):
        await calls[name]()


@pytest.mark.parametrize("version", ["2026-10-28.endive", "2024-06-20", "2025-03-31.basil"])
async def test_a_version_written_as_stripe_writes_it_is_taken(world: World, version: str) -> None:
    """The answer names it."""
    async with world.raw.get("/v1/balance", headers={"Stripe-Version": version}) as response:
        assert (response.status, response.headers["Stripe-Version"]) == (200, version)


@pytest.mark.parametrize("version", ["latest", "2024-13-01", "2024-6-20", "2024-06-20.", "2024-06-20.basil.1", ""])
async def test_a_version_that_is_none_is_refused(world: World, version: str) -> None:
    """The answer is 400, as at Stripe."""
    async with world.raw.get("/v1/balance", headers={"Stripe-Version": version}) as response:
        assert response.status == 400
        assert "Invalid Stripe API version" in (await response.json())["error"]["message"]


async def test_an_account_can_be_one_that_may_not_create_charges(world: World) -> None:
    """As with a new account: the Charges API refuses, intents charge, and charges can still be read."""
    await world.control("settings", charges=False)
    with pytest.raises(stripe.InvalidRequestError, match="This API surface is unsupported"):
        await world.charge()
    paid = await world.intent(confirm=True, payment_method="pm_card_visa")
    assert (await world.stripe.v1.charges.retrieve_async(str(paid.latest_charge))).paid is True


@pytest.mark.parametrize(
    ("path", "expand", "good"),
    [
        ("payment_intents", "latest_charge.refunds", True),
        ("payment_intents", "latest_charge.payment_intent.payment_method", True),
        ("payment_intents", "customer", True),
        ("payment_intents", "metadata", False),
        ("payment_intents", "data.latest_charge", False),
        ("payment_intents", "latest_charge.refunds.data.charge.payment_intent", False),
        ("charges", "payment_intent", True),
        ("charges", "balance_transaction", False),
    ],
)
async def test_expand_is_honoured_or_refused(world: World, path: str, expand: str, good: bool) -> None:
    """A path that the object has is followed, one that it has not is a 400."""
    paid = await world.intent(confirm=True, payment_method="pm_card_visa")
    object_id = paid.id if path == "payment_intents" else paid.latest_charge
    async with world.raw.get(f"/v1/{path}/{object_id}", params={"expand[]": expand}) as response:
        body = await response.json()
        assert response.status == (200 if good else 400)
    if good:
        node = body
        for field in expand.split("."):
            node = node[field]
        assert node is None or node["object"] in {"charge", "list", "payment_method", "payment_intent"}
    else:
        assert "expand" in body["error"]["message"]


async def test_a_list_expands_its_elements(world: World) -> None:
    """`data.latest_charge`, and more than one path at once."""
    await world.intent(confirm=True, payment_method="pm_card_visa")
    page = await world.stripe.v1.payment_intents.list_async({"expand": ["data.latest_charge", "data.payment_method"]})
    assert isinstance(page.data[0].latest_charge, stripe.Charge)
    assert isinstance(page.data[0].payment_method, stripe.PaymentMethod)
