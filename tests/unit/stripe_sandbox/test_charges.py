"""The sandbox's charges, through the real stripe library."""

import asyncio
from typing import Any

import pytest
import stripe

from payment.stripe_sandbox.tokens import TEST_CARDS
from tests.unit.core.builders import of_kind, present
from tests.unit.stripe_sandbox.conftest import START, World, charge_of

DECLINING = sorted(name for name, card in TEST_CARDS.items() if card.decline_without_customer())
CHARGING = sorted(TEST_CARDS.keys() - DECLINING)


async def test_a_charge_comes_back_as_stripe_shows_it(world: World) -> None:
    """The charge has the sent parameters, and has succeeded."""
    charge = await world.charge(
        metadata={"orderId": "o1", "attempt": "1"}, transfer_group="o1", description="two seats"
    )
    assert charge.id.startswith("ch_")
    assert (charge.object, charge.amount, charge.currency, charge.status) == ("charge", 1999, "usd", "succeeded")
    assert (charge.paid, charge.captured, charge.refunded, charge.livemode) == (True, True, False, False)
    assert (charge.amount_captured, charge.amount_refunded, charge.created) == (1999, 0, int(START))
    assert charge.metadata.to_dict() == {"orderId": "o1", "attempt": "1"}
    assert (charge.transfer_group, charge.description) == ("o1", "two seats")
    assert charge.outcome is not None
    assert charge.outcome.network_status == "approved_by_network"
    assert of_kind(stripe.Card, charge.source).last4 == "4242"


async def test_a_charge_is_retrieved_as_it_was_made(world: World) -> None:
    """GET /v1/charges/{id} returns the same charge as the POST."""
    made = await world.charge()
    assert (await world.stripe.v1.charges.retrieve_async(made.id)).to_dict() == made.to_dict()


async def test_an_unknown_charge_is_a_404(world: World) -> None:
    """An unknown id in the path is `resource_missing`, with Stripe's status."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.stripe.v1.charges.retrieve_async("ch_none")
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (404, "resource_missing", "id")


@pytest.mark.parametrize("token", [name for name in DECLINING if not name.startswith("tok_visa_")])
async def test_a_declining_token_is_a_card_error_and_a_failed_charge(world: World, token: str) -> None:
    """A decline is a 402 with both codes, and the failed charge is stored."""
    assert TEST_CARDS[token] == TEST_CARDS[token.replace("tok_", "tok_visa_")]
    with pytest.raises(stripe.CardError) as declined:
        await world.charge(source=token)
    decline = TEST_CARDS[token].decline_without_customer()
    assert decline is not None
    error = present(declined.value.error)
    assert (declined.value.http_status, declined.value.code) == (402, decline.code)
    assert (error.decline_code, error.type, error.message) == (decline.decline_code, "card_error", decline.message)
    failed = await world.stripe.v1.charges.retrieve_async(charge_of(declined.value))
    assert (failed.status, failed.paid, failed.amount_captured) == ("failed", False, 0)
    assert (failed.failure_code, failed.failure_message) == (decline.code, decline.message)


async def test_a_named_token_charges_as_often_as_it_is_used(world: World) -> None:
    """Stripe's test tokens are not used up, and each has its own card."""
    for token in CHARGING:
        first, second = await world.charge(source=token), await world.charge(source=token)
        assert first.id != second.id
        assert first.payment_method_details is not None
        assert first.payment_method_details.card is not None
        assert first.payment_method_details.card.last4 == TEST_CARDS[token].number_end


async def test_a_single_use_token_charges_once(world: World) -> None:
    """`tok_once_…` is refused the second time as a used token."""
    await world.charge(source="tok_once_a")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.charge(source="tok_once_a")
    assert (refused.value.code, refused.value.param) == ("token_already_used", "source")
    await world.charge(source="tok_once_b")


async def test_a_refused_charge_does_not_use_its_token_up(world: World) -> None:
    """Only a charge that is made uses a token up."""
    with pytest.raises(stripe.InvalidRequestError):
        await world.charge(source="tok_once_a", amount=1)
    await world.charge(source="tok_once_a")


async def test_the_list_of_an_order_is_newest_first_with_failed_charges_too(world: World) -> None:
    """`transfer_group` filters, and failed charges are included."""
    first = await world.charge(transfer_group="o1")
    await world.charge(transfer_group="o2")
    with pytest.raises(stripe.CardError) as declined:
        await world.charge(transfer_group="o1", source="tok_chargeDeclined")
    last = await world.charge(transfer_group="o1")
    page = await world.stripe.v1.charges.list_async({"transfer_group": "o1"})
    assert [charge.id for charge in page.data] == [last.id, charge_of(declined.value), first.id]
    assert page.has_more is False
    assert page.url == "/v1/charges"


async def test_the_library_pages_through_a_long_list(world: World) -> None:
    """`limit`, `starting_after` and `has_more` agree, so that the library's own iterator returns every charge once."""
    made = [await world.charge(transfer_group="o1") for _ in range(7)]
    page = await world.stripe.v1.charges.list_async({"transfer_group": "o1", "limit": 3})
    assert page.has_more is True
    ids = [charge.id async for charge in page.auto_paging_iter()]
    assert ids == [charge.id for charge in reversed(made)]


async def test_ids_of_every_kind_select_their_own(world: World) -> None:
    """Any text in `transfer_group` and metadata survives its encoding in both directions."""
    odd = "ö &=+%[x] 訂單"
    made = await world.charge(transfer_group=odd, metadata={"orderId": odd})
    page = await world.stripe.v1.charges.list_async({"transfer_group": odd})
    assert [charge.id for charge in page.data] == [made.id]
    assert page.data[0].metadata["orderId"] == odd


async def test_ending_before_goes_towards_newer_charges(world: World) -> None:
    """A page before an id has the next newer charges, newest first."""
    made = [await world.charge() for _ in range(4)]
    page = await world.stripe.v1.charges.list_async({"ending_before": made[0].id, "limit": 2})
    assert [charge.id for charge in page.data] == [made[2].id, made[1].id]
    assert page.has_more is True


@pytest.mark.parametrize(
    ("created", "places"),
    [
        ({"gte": 60}, [2, 1]),
        ({"gt": 60}, [2]),
        ({"lt": 60}, [0]),
        ({"lte": 60, "gte": 1}, [1]),
        (60, [1]),
    ],
)
async def test_charges_are_listed_by_when_they_were_made(world: World, created: object, places: list[int]) -> None:
    """Bounds in seconds since 1970 work with the other parameters of a list."""
    began, made = int(world.clock()), []
    for _ in range(3):
        made.append(await world.charge(transfer_group="o1"))
        world.clock.now += 60
    since = {name: began + at_s for name, at_s in created.items()} if isinstance(created, dict) else began + 60
    asked: Any = {"transfer_group": "o1", "created": since}
    page = await world.stripe.v1.charges.list_async(asked)
    assert [charge.id for charge in page.data] == [made[place].id for place in places]


async def test_a_list_of_a_customers_charges_finds_no_such_customer(world: World) -> None:
    """Stripe has this parameter; the sandbox has no customers."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await world.stripe.v1.charges.list_async({"customer": "cus_1"})
    assert (refused.value.code, refused.value.param) == ("resource_missing", "customer")


async def test_the_balance_is_what_was_charged_and_not_given_back(world: World) -> None:
    """The balance equals charges minus refunds."""
    charge = await world.charge()
    await world.charge(currency="eur", amount=700)
    await world.stripe.v1.refunds.create_async({"charge": charge.id, "amount": 999})
    balance = await world.stripe.v1.balance.retrieve_async()
    assert {money.currency: money.amount for money in balance.pending} == {"usd": 1000, "eur": 700}


async def test_a_client_that_goes_away_does_not_stop_its_charge(world: World) -> None:
    """An executing charge is made, even if its client disconnects (F09)."""
    await world.control("settings", latency_ms=50)
    asking = asyncio.create_task(world.charge(key="k"))
    await world.gate.arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    world.gate.opened.set()
    replayed = await world.charge(key="k")
    assert [charge["id"] for charge in (await world.audit())["charges"]] == [replayed.id]
