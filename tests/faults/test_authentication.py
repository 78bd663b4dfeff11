"""3-D Secure through a real process and real servers. The sandbox refuses `POST /v1/charges`, as for a new account.

Every test ends with a check of the order's charges at the sandbox: one, or none.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.bus import PAID, REFUNDED, Bus, in_seconds
from tests.e2e.client import Answer, Client
from tests.e2e.stack import ServiceProcess, ServiceStack
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.servers]

ASKS = "tok_threeDSecure2Required"
SDK: dict[str, Any] = {"useStripeSdk": True}
RECHECK_EVERY_S = 2.2  # a look at one order's intent is made at most every 2 s


async def placed(stack: ServiceStack, bus: Bus, **other: Any) -> str:
    """Publish an order; returns its id once the service has received it."""
    order = stack.new_order()
    await bus.create(order, **other)

    async def known() -> bool:
        return stack.order(order) is not None

    await eventually(known, "the order is known")
    return order


async def asked(client: Client, order: str, **fields: object) -> Answer:
    """Request a payment whose bank asks the customer; returns the 202 with the secret."""
    answer = await client.pay(order, ASKS, **(fields or SDK))
    assert (answer.status, answer.body["status"]) == (202, "requires_action"), answer.body
    assert answer.body["clientSecret"].startswith("pi_")
    assert answer.headers["Location"].endswith(answer.body["id"])
    assert int(answer.headers["Retry-After"]) >= 1
    return answer


async def shown(client: Client, payment: str, status: str) -> Answer:
    """Returns the payment, once GET shows this status."""
    found: list[Answer] = []

    async def there() -> bool:
        found.append(await client.payment(payment))
        return bool(found[-1].body["status"] == status)

    await eventually(there, f"the payment is {status}", deadline_s=15.0)
    return found[-1]


def intent_of(stack: ServiceStack, order: str) -> dict[str, Any]:
    return stack.stripe.intents(order)[-1]


def succeeded(stack: ServiceStack, order: str) -> list[str]:
    return [charge["id"] for charge in stack.stripe.charges(order) if charge["status"] == "succeeded"]


@pytest.fixture
async def process(stack: ServiceStack) -> ServiceProcess:
    return await stack.start()


async def test_a_customer_who_authenticates_has_paid(stack: ServiceStack, bus: Bus, process: ServiceProcess) -> None:
    """F45: GET and the same POST both show it at once, without a webhook."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        answer = await asked(client, order)
        assert answer.body["nextAction"] == {"type": "use_stripe_sdk"}
        stack.stripe.customer(intent_of(stack, order)["id"], authenticates=True)
        await asyncio.sleep(RECHECK_EVERY_S)
        paid = await client.pay(order, ASKS, **SDK)
        assert (paid.status, paid.body["status"]) == (201, "paid")
        view = await client.payment_of(order)
        assert (view.status, view.body["status"], view.body["stripeId"]) == (200, "paid", paid.body["stripeId"])
    assert succeeded(stack, order) == [paid.body["stripeId"]]
    await bus.announced(order, PAID)


async def test_a_redirect_leads_to_the_banks_page(stack: ServiceStack, bus: Bus, process: ServiceProcess) -> None:
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        answer = await asked(client, order, returnUrl="https://shop.example/back")
        assert answer.body["nextAction"]["type"] == "redirect_to_url"
        assert answer.body["nextAction"]["url"].startswith(stack.stripe.url)
        stack.stripe.customer(intent_of(stack, order)["id"], authenticates=True)
        await shown(client, answer.body["id"], "paid")


async def test_a_client_that_cant_authenticate_is_declined_as_before(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """A client without authentication gets 402, and may pay with another card."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        declined = await client.pay(order, ASKS)
        assert declined.status == 402
        [error] = declined.body["errors"]
        assert (error["code"], error["decline_code"]) == ("authentication_required", "authentication_required")
        assert declined.headers["Location"].endswith(declined.body["id"])
        assert (await client.pay(order)).status == 201
    assert len(succeeded(stack, order)) == 1


async def test_a_customer_who_fails_is_declined_and_pays_with_another_card(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F45: the intent goes on to serve the next attempt."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        answer = await asked(client, order)
        stack.stripe.customer(intent_of(stack, order)["id"], authenticates=False)
        await shown(client, answer.body["id"], "declined")
        again = await client.pay(order, ASKS, **SDK)
        assert (again.status, again.body["errors"][0]["code"]) == (402, "authentication_required")
        assert (await client.pay(order, "tok_mastercard")).status == 201
    assert len(stack.stripe.intents(order)) == 1
    assert len(succeeded(stack, order)) == 1


async def test_another_card_supersedes_in_one_request(stack: ServiceStack, bus: Bus, process: ServiceProcess) -> None:
    """F18: the first intent is canceled before the next one is made."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        await asked(client, order)
        paid = await client.pay(order, "tok_mastercard")
        assert (paid.status, paid.body["status"]) == (201, "paid")
        first = await client.pay(order, ASKS, **SDK)
        assert (first.status, first.body["errors"][0]["decline_code"]) == (402, "superseded")
    assert [intent["status"] for intent in stack.stripe.intents(order)] == ["canceled", "succeeded"]
    assert succeeded(stack, order) == [paid.body["stripeId"]]


async def test_a_payment_method_and_a_confirmation_token_pay(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    async with Client(process.port) as client:
        order = await placed(stack, bus)
        paid = await client.pay(order, None, paymentMethod="pm_card_visa")  # type: ignore[arg-type]
        assert paid.status == 201, paid.body
        made = stack.stripe.ask("POST", "/v1/test_helpers/confirmation_tokens", payment_method="pm_card_visa")
        order = await placed(stack, bus)
        paid = await client.pay(order, None, confirmationToken=made["id"])  # type: ignore[arg-type]
        assert paid.status == 201, paid.body
        order = await placed(stack, bus)
        used = await client.pay(order, None, confirmationToken=made["id"])  # type: ignore[arg-type]
        assert (used.status, used.body["errors"][0]["field"]) == (400, "confirmationToken")


async def test_an_order_cancelled_while_its_customer_is_at_the_bank(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F46: its intent is canceled, and no action of the customer at the bank can charge any more."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        answer = await asked(client, order)
        await bus.cancel(order)
        await shown(client, answer.body["id"], "cancelled")
        gone = await client.pay(order, ASKS, **SDK)
        assert (gone.status, gone.body["errors"][0]["code"]) == (409, "order_cancelled")
    assert intent_of(stack, order)["status"] == "canceled"
    assert stack.order(order)["payment"]["attempts"][0]["state"] == "closed"  # type: ignore[index]
    assert succeeded(stack, order) == []


async def test_an_order_that_expires_while_its_customer_is_at_the_bank(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F46: at its `expiresAt` the intent is canceled without any request."""
    order = await placed(stack, bus, expiresAt=in_seconds(3.0))
    async with Client(process.port) as client:
        await asked(client, order)

    async def canceled() -> bool:
        return bool(intent_of(stack, order)["status"] == "canceled")

    await eventually(canceled, "the intent is canceled", deadline_s=10.0)
    assert succeeded(stack, order) == []


async def test_a_cancel_that_meets_a_success_gives_the_money_back(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F20, F46: the customer was faster than the cancel of the intent: charged, and refunded in full."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        await asked(client, order)
        stack.stripe.customer(intent_of(stack, order)["id"], authenticates=True)
        await bus.cancel(order)
        await bus.announced(order, REFUNDED)
    [charge] = stack.stripe.charges(order)
    assert charge["refunded"]


async def test_a_killed_process_leaves_an_awaiting_order_to_the_next(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F45: the process is killed while the customer is at the bank and authenticates: the next one finds the payment
    without a request.
    """
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        await asked(client, order)
    process.kill()
    stack.stripe.customer(intent_of(stack, order)["id"], authenticates=True)
    await asyncio.to_thread(process.start)
    await bus.announced(order, PAID)
    assert len(succeeded(stack, order)) == 1


async def test_an_intent_cancelled_in_the_dashboard_is_declined(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F49: the next recheck detects it; the order is payable by the next intent."""
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        answer = await asked(client, order)
        stack.stripe.ask("POST", f"/v1/payment_intents/{intent_of(stack, order)['id']}/cancel")
        await shown(client, answer.body["id"], "declined")
        assert (await client.pay(order)).status == 201
    assert len(succeeded(stack, order)) == 1


async def test_a_charge_refunded_by_hand_before_its_outcome_was_known_is_never_announced_as_paid(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F49: charged, the answer lost, killed, refunded in the dashboard: only the refund is published."""
    order = await placed(stack, bus)
    stack.stripe.fault("hang_after")
    async with Client(process.port) as client:
        request = asyncio.create_task(client.pay(order))

        async def charged() -> bool:
            return bool(succeeded(stack, order))

        await eventually(charged, "Stripe has charged")
        process.kill()
        await asyncio.gather(request, return_exceptions=True)
    [charge] = succeeded(stack, order)
    stack.stripe.ask("POST", "/v1/refunds", charge=charge)
    await asyncio.to_thread(process.start)
    await bus.announced(order, REFUNDED)
    assert [event.subject for event in await bus.events_of(order)] == [REFUNDED]
    async with Client(process.port) as client:
        assert (await client.pay(order, "tok_mastercard")).status == 201
    await bus.announced(order, REFUNDED, PAID)
    assert len(succeeded(stack, order)) == 2


async def test_a_database_restored_to_before_a_payment_charges_nothing_twice(
    stack: ServiceStack, bus: Bus, process: ServiceProcess
) -> None:
    """F47: Stripe returns the same intent, which has succeeded."""
    order = await placed(stack, bus)
    before = stack.order(order)
    assert before is not None
    async with Client(process.port) as client:
        first = await client.pay(order)
        assert first.status == 201
        await bus.announced(order, PAID)
        process.kill()
        stack.orders.replace_one({"_id": order}, before)
        await asyncio.to_thread(process.start)
    async with Client(process.port) as client:
        again = await client.pay(order, "tok_mastercard")
        assert (again.status, again.body["stripeId"]) == (201, first.body["stripeId"])
    assert succeeded(stack, order) == [first.body["stripeId"]]


async def test_an_intent_prepared_with_the_order_is_the_one_that_is_paid(stack: ServiceStack, bus: Bus) -> None:
    """STRIPE_PREPARE: paying is one call; a payment before its first request is not shown."""
    process = await stack.start(STRIPE_PREPARE="true")
    order = await placed(stack, bus)

    async def prepared() -> bool:
        return bool(stack.stripe.intents(order))

    await eventually(prepared, "the intent is made")
    creates = stack.stripe.requests("payment_intents.create")
    async with Client(process.port) as client:
        assert (await client.payment_of(order)).status == 404
        assert (await client.pay(order)).status == 201
        assert (await client.payment_of(order, "u2")).status == 403
    assert stack.stripe.requests("payment_intents.create") == creates
    assert len(succeeded(stack, order)) == 1


async def test_no_secret_reaches_a_log_or_the_database(stack: ServiceStack, bus: Bus) -> None:
    """Only the owner and Stripe may see the client secret and the customer's instrument."""
    process = await stack.start(LOG_LEVEL="debug")
    order = await placed(stack, bus)
    async with Client(process.port) as client:
        answer = await asked(client, order, returnUrl="https://shop.example/back?session=s3cr3t-of-the-shop")
        secret = answer.body["clientSecret"]
        await asyncio.sleep(RECHECK_EVERY_S)
        view = await client.payment(answer.body["id"])
        assert view.body["clientSecret"] == secret
        assert "clientSecret" not in (await client.payment(answer.body["id"], "u2")).body
        stack.stripe.customer(intent_of(stack, order)["id"], authenticates=True)
        await shown(client, answer.body["id"], "paid")
    text = process.log.read_text()
    document = str(stack.order(order))
    for hidden in (secret, secret.partition("_secret_")[2], ASKS, "s3cr3t-of-the-shop"):
        assert hidden not in text
        assert hidden not in document or hidden == "s3cr3t-of-the-shop"
