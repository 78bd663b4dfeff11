"""The stand-in for Stripe: its answers to the stripe library and to the bench, and its rate limits."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import stripe

from bench import stripe_stand_in
from bench.http1 import header
from bench.stripe_stand_in import Account, Request, read_request
from tests.support.servers.process import LOOPBACK, free_port

ASKED = {
    "amount": "1999",
    "currency": "usd",
    "metadata[orderId]": "o1",
    "metadata[paymentId]": "p1",
    "transfer_group": "o1",
}


def asked(endpoint: str, key: str = "", intent_id: str = "", **fields: str) -> Request:
    return Request(endpoint, intent_id, key.encode(), fields)


def performed(account: Account, request: Request) -> dict[str, object]:
    found: dict[str, object] = json.loads(account.perform(request).body)
    return found


def created(account: Account, key: str = "create-1") -> str:
    return str(performed(account, asked("create", key, **ASKED))["id"])


def test_a_charge_is_what_was_asked_for() -> None:
    """The fields of a charge that a service checks must be right."""
    account = Account()
    charge = performed(account, asked("charge", "key-1", **ASKED))
    assert (charge["amount"], charge["amount_captured"], charge["currency"]) == (1999, 1999, "usd")
    assert (charge["status"], charge["paid"], charge["captured"]) == ("succeeded", True, True)
    assert charge["metadata"] == {"orderId": "o1", "paymentId": "p1"}
    assert charge["transfer_group"] == "o1"
    assert performed(account, asked("list", transfer_group="o1"))["data"] == [charge]
    assert performed(account, asked("list", transfer_group="o2"))["data"] == []


@pytest.mark.parametrize("endpoint", ["charge", "create"])
def test_a_key_is_answered_once_and_then_replayed(endpoint: str) -> None:
    """The second answer equals the first, and has the header of a replay."""
    account = Account()
    first, second = (account.perform(asked(endpoint, "key-1", **ASKED, confirm="true")) for _ in range(2))
    assert first.body == second.body
    assert [header(each.encoded(), b"idempotent-replayed") for each in (first, second)] == [b"", b"true"]
    assert len(account.charges["o1"]) == 1


def test_an_intent_is_charged_when_it_is_confirmed() -> None:
    """Not before; the charge is the order's, and carries the intent's metadata."""
    account = Account()
    intent_id = created(account)
    assert account.charges == {}
    retrieved = performed(account, asked("retrieve", intent_id=intent_id))
    assert (retrieved["status"], retrieved["latest_charge"], retrieved["amount_received"]) == (
        "requires_payment_method",
        None,
        0,
    )
    paid = performed(account, asked("confirm", "confirm-1", intent_id, **{"expand[]": "latest_charge"}))
    assert (paid["id"], paid["status"], paid["amount_received"]) == (intent_id, "succeeded", 1999)
    charge = paid["latest_charge"]
    assert isinstance(charge, dict)
    assert (charge["payment_intent"], charge["transfer_group"], charge["amount"]) == (intent_id, "o1", 1999)
    assert charge["metadata"] == paid["metadata"] == {"orderId": "o1", "paymentId": "p1"}
    assert len(account.charges["o1"]) == 1
    assert performed(account, asked("retrieve", intent_id=intent_id))["latest_charge"] == charge["id"]


@pytest.mark.parametrize(("first", "second"), [("confirm", "confirm"), ("confirm", "cancel"), ("cancel", "confirm")])
def test_an_intent_ends_once(first: str, second: str) -> None:
    """After a confirm or a cancel the next one is refused, and charges nothing."""
    account = Account()
    intent_id = created(account)
    assert account.perform(asked(first, "key-1", intent_id)).status == 200
    refused = account.perform(asked(second, "key-2", intent_id))
    assert refused.status == 400
    assert b"payment_intent_unexpected_state" in refused.body
    assert len(account.charges.get("o1", [])) == (first == "confirm")


def test_an_unknown_intent_is_not_found() -> None:
    """A service that confuses two accounts must get an error."""
    assert Account().perform(asked("confirm", "key-1", "pi_1")).status == 404


@pytest.mark.parametrize(
    ("line", "endpoint", "intent_id"),
    [
        ("POST /v1/charges", "charge", ""),
        ("GET /v1/charges?transfer_group=o1", "list", ""),
        ("POST /v1/payment_intents", "create", ""),
        ("POST /v1/payment_intents/pi_1/confirm", "confirm", "pi_1"),
        ("POST /v1/payment_intents/pi_1/cancel", "cancel", "pi_1"),
        ("GET /v1/payment_intents/pi_1?expand[]=latest_charge", "retrieve", "pi_1"),
    ],
)
def test_each_url_is_an_endpoint(line: str, endpoint: str, intent_id: str) -> None:
    """Stripe's limits count by endpoint, whichever the object."""
    request = read_request(f"{line} HTTP/1.1\r\nIdempotency-Key: k".encode(), b"")
    assert request is not None
    assert (request.endpoint, request.intent_id, request.key) == (endpoint, intent_id, b"k")
    assert request.expanded == ("expand" in line)


@pytest.mark.parametrize(
    "line", ["GET /v1/refunds", "POST /v1/payment_intents/pi_1/capture", "GET /v1/payment_intents"]
)
def test_other_urls_are_unknown(line: str) -> None:
    """A contender that calls another URL must fail instead of being measured."""
    assert read_request(f"{line} HTTP/1.1".encode(), b"") is None


def reasons(account: Account, endpoint: str, requests: int) -> Counter[bytes]:
    """The reasons of `requests` requests to an endpoint; an empty reason means that a request was admitted."""
    refusals = [account.refusal(endpoint) for _ in range(requests)]
    return Counter(header(each.encoded(), b"stripe-rate-limited-reason") if each else b"" for each in refusals)


def test_each_endpoint_has_a_limit_of_its_own() -> None:
    """A bucket holds the requests of one second; one endpoint's use takes nothing from another's."""
    account = Account()
    account.settle(0.0, endpoint_per_s=10.0, account_per_s=0.0)
    assert reasons(account, "create", 12) == {b"": 10, b"endpoint-rate": 2}
    assert reasons(account, "confirm", 12) == {b"": 10, b"endpoint-rate": 2}
    assert account.audit()["refused"] == {"create": 2, "confirm": 2}


def test_the_account_has_a_limit_for_all_endpoints_together() -> None:
    """The use of one endpoint counts for the others, and the response names the limit."""
    account = Account()
    account.settle(0.0, endpoint_per_s=10.0, account_per_s=12.0)
    assert reasons(account, "create", 10) == {b"": 10}
    assert reasons(account, "confirm", 10) == {b"": 2, b"global-rate": 8}
    assert account.audit()["requests"] == {"create": 10, "confirm": 10}


def test_no_rate_is_no_limit() -> None:
    """Without limits the stand-in must not slow a measurement down."""
    assert reasons(Account(), "create", 5_000) == {b"": 5_000}


async def with_library(account: Account, calls: Callable[[stripe.StripeClient], Awaitable[None]]) -> None:
    """Serve an account on a free port, and let the stripe library call it."""
    port, http = free_port(), stripe.AIOHTTPClient()
    client = stripe.StripeClient(
        "sk_test_bench", base_addresses={"api": f"http://{LOOPBACK}:{port}"}, http_client=http, max_network_retries=0
    )
    async with await stripe_stand_in.listen(account, port):
        try:
            await calls(client)
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]


async def test_the_stripe_library_creates_confirms_retrieves_and_cancels() -> None:
    """The library parses its own objects from it: URLs, forms and bodies are Stripe's."""

    async def calls(client: stripe.StripeClient) -> None:
        intents = client.v1.payment_intents
        made = await intents.create_async({"amount": 1999, "currency": "usd", "transfer_group": "o1"})
        assert (made.status, made.latest_charge, made.amount_received) == ("requires_payment_method", None, 0)
        paid = await intents.confirm_async(made.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]})
        assert isinstance(paid.latest_charge, stripe.Charge)
        assert (paid.status, paid.latest_charge.transfer_group) == ("succeeded", "o1")
        retrieved = await intents.retrieve_async(made.id)
        assert retrieved.latest_charge == paid.latest_charge.id
        with pytest.raises(stripe.InvalidRequestError, match="succeeded"):
            await intents.cancel_async(made.id)

    account = Account()
    await with_library(account, calls)
    assert len(account.charges["o1"]) == 1


async def test_the_stripe_library_creates_and_confirms_in_one_call() -> None:
    """As a service does that stores nothing of an intent."""

    async def calls(client: stripe.StripeClient) -> None:
        made = await client.v1.payment_intents.create_async(
            {"amount": 1999, "currency": "usd", "confirm": True, "transfer_group": "o1"}
        )
        assert made.status == "succeeded"
        assert str(made.latest_charge).startswith("ch_")

    account = Account()
    await with_library(account, calls)
    assert len(account.charges["o1"]) == 1


async def test_the_stripe_library_raises_where_a_limit_is_passed() -> None:
    """429 is Stripe's RateLimitError, and nothing was executed."""

    async def calls(client: stripe.StripeClient) -> None:
        for _ in range(2):
            await client.v1.payment_intents.create_async({"amount": 1999, "currency": "usd"})
        with pytest.raises(stripe.RateLimitError):
            await client.v1.payment_intents.create_async({"amount": 1999, "currency": "usd"})

    account = Account()
    account.settle(0.0, endpoint_per_s=2.0, account_per_s=0.0)
    await with_library(account, calls)
    assert (account.audit()["intents"], account.refused["create"]) == (2, 1)
