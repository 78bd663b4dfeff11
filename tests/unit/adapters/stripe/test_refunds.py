"""Disputes, rechecks and stored answers about refunds: what the adapter asks and makes of the answers (F44)."""

from collections.abc import AsyncIterator

import pytest

from payment.adapters.stripe.bodies import Body, read_disputes, read_refunds
from payment.adapters.stripe.cards import StripeCards
from payment.core.effects import RecheckRefund
from payment.core.messages import ChargeFacts
from payment.ports.cards import (
    Blocked,
    ChargedBack,
    Charges,
    IntentAnswer,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    Unclear,
)
from tests.support.servers.hostile_stripe import HostileStripe, reply
from tests.unit.adapters.stripe.world import REFUND, a_charge, a_list, a_paid_intent, a_refund, an_error, cards_at

RECHECK = RecheckRefund("o1", "ch_1", 1999, "re_1")
RECHECK_LOST = RecheckRefund("o1", "ch_1", 1999, "du_1", charged_back=True)
DISPUTED = a_charge(disputed=True)
REPLAYED = {"Idempotent-Replayed": "true"}


@pytest.fixture
async def server() -> AsyncIterator[HostileStripe]:
    async with HostileStripe() as server:
        yield server


@pytest.fixture
async def cards(server: HostileStripe) -> AsyncIterator[StripeCards]:
    async with cards_at(server.url) as cards:
        yield cards


def a_dispute(status: str, *, case: str = "chargeback", **fields: object) -> Body:
    """Stripe's body of a dispute of that charge."""
    body: Body = {
        "id": "du_1",
        "object": "dispute",
        "amount": 1999,
        "charge": "ch_1",
        "currency": "usd",
        "is_charge_refundable": False,
        "payment_method_details": {"card": {"case_type": case}, "type": "card"},
        "status": status,
    }
    return body | fields


def paths(server: HostileStripe) -> list[str]:
    return [request.path for request in server.requests]


# ------------------------------------------------------------------------------------------------------------- disputes


@pytest.mark.parametrize(
    ("disputes", "found"),
    [
        ([a_dispute("lost")], ChargedBack("du_1")),
        ([a_dispute("prevented", case="resolution")], ChargedBack("du_1")),
        ([a_dispute("lost", amount=500)], ChargedBack("du_1", "the bank gave back 500 of 1999")),
        ([a_dispute("lost", amount=500, currency="eur")], ChargedBack("du_1")),
        ([a_dispute("needs_response", id="du_2"), a_dispute("lost")], ChargedBack("du_1")),
        ([a_dispute("lost", amount=1000, id="du_2"), a_dispute("lost", amount=999)], ChargedBack("du_2")),
        ([a_dispute("needs_response")], Blocked("the bank disputes the charge (needs_response)")),
        ([a_dispute("under_review")], Blocked("the bank disputes the charge (under_review)")),
        ([a_dispute("invented_tomorrow")], Blocked("the bank disputes the charge (invented_tomorrow)")),
        ([a_dispute("prevented", payment_method_details=None)], Blocked("the bank disputes the charge (prevented)")),
        ([a_dispute("needs_response", is_charge_refundable=True)], NotRefunded()),
        ([a_dispute("warning_needs_response")], NotRefunded()),
        ([a_dispute("warning_under_review")], NotRefunded()),
        ([a_dispute("warning_closed")], NotRefunded()),
        ([a_dispute("won")], NotRefunded()),
        ([a_dispute("prevented", case="block")], NotRefunded()),
        ([], NotRefunded()),
    ],
)
async def test_a_disputed_charge_is_given_back_waits_or_can_be_refunded(
    disputes: list[Body], found: object, server: HostileStripe, cards: StripeCards
) -> None:
    """By its disputes' statuses: a lost one is an end, an open one is in the way, an inquiry or a won one is not."""
    server.script(reply(200, a_list()), reply(200, DISPUTED), reply(200, a_list(*disputes)))
    assert await cards.find_refund("ch_1") == found
    assert paths(server) == ["/v1/refunds", "/v1/charges/ch_1", "/v1/disputes"]
    assert server.requests[2].query == {"charge": "ch_1", "limit": "100"}


async def test_money_that_refunds_gave_back_need_not_be_taken_by_the_bank(
    server: HostileStripe, cards: StripeCards
) -> None:
    """A part was refunded before the bank took the rest."""
    refunds, charge = a_list(a_refund(amount=500)), a_charge(disputed=True, amount_refunded=500)
    server.script(reply(200, refunds), reply(200, charge), reply(200, a_list(a_dispute("lost", amount=1499))))
    assert await cards.find_refund("ch_1") == ChargedBack("du_1")
    assert read_disputes([a_dispute("lost", amount=1498)], 1499, "usd").text is not None  # type: ignore[union-attr]
    server.script(reply(200, a_list()), reply(200, a_charge(disputed=True, amount_refunded=None)))
    server.script(reply(200, a_list(a_dispute("lost", amount=None))))
    assert await cards.find_refund("ch_1") == ChargedBack("du_1", "the bank gave back 0 of 1999")


async def test_a_disputed_charge_that_was_refunded_is_refunded(server: HostileStripe, cards: StripeCards) -> None:
    """The bank's decision comes after that."""
    server.script(reply(200, a_list(a_refund())), reply(200, DISPUTED))
    assert await cards.find_refund("ch_1") == Refunded("re_1")


@pytest.mark.parametrize(
    ("dispute", "given_back"),
    [
        (a_dispute("lost"), True),
        (a_dispute("lost", amount=500), False),
        (a_dispute("under_review"), False),
        (a_dispute("won"), False),
    ],
)
async def test_a_charge_that_is_found_disputed_is_no_payment_where_its_bank_has_given_it_back(
    dispute: Body, given_back: bool, server: HostileStripe, cards: StripeCards
) -> None:
    """F44: by a retrieve of its intent, and by a list; the charge itself does not show how its dispute ended."""
    about = [reply(200, a_list()), reply(200, DISPUTED), reply(200, a_list(dispute))]
    server.script(reply(200, a_paid_intent(disputed=True)), *about)
    found = await cards.retrieve("pi_1")
    assert isinstance(found, IntentAnswer)
    assert found.charge == ChargeFacts("ch_1", refunded=given_back, disputed=True)
    server.script(reply(200, a_list(DISPUTED)), *about)
    listed = await cards.list_charges("o1", "p1")
    assert isinstance(listed, Charges)
    assert [each.charge for each in listed.charges] == [found.charge]


async def test_a_disputed_charge_whose_disputes_can_not_be_read_is_not_found_yet(
    server: HostileStripe, cards: StripeCards
) -> None:
    """Its intent, or its list, is asked for again."""
    server.script(reply(200, a_paid_intent(disputed=True)), reply(500, an_error()))
    assert isinstance(await cards.retrieve("pi_1"), NotYet | Unclear)
    server.script(reply(200, a_list(DISPUTED)), reply(500, an_error()))
    assert isinstance(await cards.list_charges("o1", "p1"), NotYet | Unclear)


async def test_a_charge_without_a_dispute_takes_one_request(server: HostileStripe, cards: StripeCards) -> None:
    """And so does one that was refunded in full besides."""
    server.script(reply(200, a_paid_intent()), reply(200, a_paid_intent(disputed=True, refunded=True)))
    for _ in range(2):
        assert isinstance(await cards.retrieve("pi_1"), IntentAnswer)
    assert paths(server) == ["/v1/payment_intents/pi_1"] * 2


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_disputes_that_may_not_be_read_keep_the_refund_waiting(
    status: int, server: HostileStripe, cards: StripeCards
) -> None:
    """A restricted key may lack the permission: the text names it, and no other call stops."""
    server.script(reply(200, a_list()), reply(200, DISPUTED), reply(status, an_error()))
    found = await cards.find_refund("ch_1")
    assert isinstance(found, Blocked)
    assert "can't be read" in found.text


async def test_disputes_without_an_answer_are_asked_for_again(server: HostileStripe, cards: StripeCards) -> None:
    """As every read is."""
    server.script(reply(200, a_list()), reply(200, DISPUTED), reply(429, an_error(code="lock_timeout")))
    found = await cards.find_refund("ch_1")
    assert isinstance(found, NotYet)
    assert found.obstacle is Obstacle.LOCKED


async def test_a_refund_of_a_charge_that_was_charged_back_finds_that(server: HostileStripe, cards: StripeCards) -> None:
    """Stripe answers `charge_disputed` to both: the disputes show which."""
    server.script(reply(400, an_error(code="charge_disputed", message="It has been charged back.")))
    server.script(reply(200, a_list()), reply(200, DISPUTED), reply(200, a_list(a_dispute("lost"))))
    assert await cards.refund(REFUND) == ChargedBack("du_1")


@pytest.mark.parametrize("answer", [reply(200, a_list(a_dispute("needs_response"))), reply(500, an_error())])
async def test_a_refund_of_a_disputed_charge_is_blocked_whatever_the_charge_shows(
    answer: object, server: HostileStripe, cards: StripeCards
) -> None:
    """Nothing was made: that is certain."""
    server.script(reply(400, an_error(code="charge_disputed", message="It is disputed.")))
    server.script(reply(200, a_list()), reply(200, DISPUTED), answer)  # type: ignore[arg-type]
    assert await cards.refund(REFUND) == Blocked("It is disputed.")


async def test_a_refund_that_is_blocked_otherwise_leads_to_no_read(server: HostileStripe, cards: StripeCards) -> None:
    """Too little balance: one call."""
    server.script(reply(400, an_error(code="balance_insufficient", message="Too little.")))
    assert await cards.refund(REFUND) == Blocked("Too little.")
    assert len(server.requests) == 1


# ------------------------------------------------------------------------------------------------------- stored answers


async def test_a_success_that_is_replayed_leads_to_a_read(server: HostileStripe, cards: StripeCards) -> None:
    """F44: it is of the past."""
    server.script(reply(200, a_refund(), REPLAYED), reply(200, a_list(a_refund())), reply(200, a_charge()))
    assert await cards.refund(REFUND) == Refunded("re_1")


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([reply(200, a_list(a_refund(status="failed"))), reply(200, a_charge())], Blocked),
        ([reply(200, a_list(a_refund(status="failed"), a_refund(id="re_2"))), reply(200, a_charge())], Refunded),
        ([reply(500, an_error())], Unclear),
        ([reply(429, an_error(code="lock_timeout"))], NotYet),
        ([reply(200, a_list()), reply(200, DISPUTED), reply(200, a_list(a_dispute("lost")))], ChargedBack),
    ],
)
async def test_a_replayed_success_is_what_the_read_shows(
    answers: list[object], found: type, server: HostileStripe, cards: StripeCards
) -> None:
    """It is no success any more where it has failed since."""
    server.script(reply(200, a_refund(), REPLAYED), *answers)  # type: ignore[arg-type]
    assert isinstance(await cards.refund(REFUND), found)


# ------------------------------------------------------------------------------------------------------------- rechecks


async def test_a_refund_that_stands_costs_one_call(server: HostileStripe, cards: StripeCards) -> None:
    """Nearly all do, and each is read four times."""
    server.script(reply(200, a_refund()))
    assert await cards.recheck_refund(RECHECK) == Refunded("re_1")
    assert paths(server) == ["/v1/refunds/re_1"]


@pytest.mark.parametrize(
    "refund", [{"status": "failed"}, {"status": "canceled"}, {"status": "pending"}, {"amount": 1998}, {"amount": None},
               {"charge": "ch_2"}, {"id": "re_2"}],
)  # fmt: skip
async def test_a_refund_that_does_not_give_all_back_has_its_charge_read(
    refund: Body, server: HostileStripe, cards: StripeCards
) -> None:
    """Failed, canceled by an operator, or one of several parts."""
    server.script(reply(200, a_refund(**refund)), reply(200, a_list(a_refund(status="failed"))), reply(200, a_charge()))
    assert await cards.recheck_refund(RECHECK) == NotRefunded()


async def test_parts_that_still_add_up_stand_under_the_name_that_was_asked_about(
    server: HostileStripe, cards: StripeCards
) -> None:
    """Two refunds by an operator gave it back: the one that is known names both, also where the other is newer."""
    parts = [a_refund(id="re_2", amount=1000), a_refund(amount=999)]
    server.script(reply(200, a_refund(amount=999)), reply(200, a_list(*parts)), reply(200, a_charge()))
    assert await cards.recheck_refund(RECHECK) == Refunded("re_1")
    assert read_refunds(parts, 1999) == Refunded("re_2")
    assert read_refunds(parts, 1999, "re_9") == Refunded("re_2")


async def test_another_refund_instead_of_one_that_failed_is_named(server: HostileStripe, cards: StripeCards) -> None:
    """An operator was quicker than our read."""
    refunds = a_list(a_refund(id="re_2"), a_refund(status="failed"))
    server.script(reply(200, a_refund(status="failed")), reply(200, refunds), reply(200, a_charge()))
    assert await cards.recheck_refund(RECHECK) == Refunded("re_2")


async def test_a_recheck_without_an_answer_proves_nothing(server: HostileStripe, cards: StripeCards) -> None:
    """It is made again."""
    server.script(reply(500, an_error()))
    assert isinstance(await cards.recheck_refund(RECHECK), Unclear)


async def test_a_dispute_that_is_lost_still_costs_one_call(server: HostileStripe, cards: StripeCards) -> None:
    """After a new decision all of the charge is read."""
    server.script(reply(200, a_dispute("lost")))
    assert await cards.recheck_refund(RECHECK_LOST) == ChargedBack("du_1")
    assert paths(server) == ["/v1/disputes/du_1"]
    server.script(reply(200, a_dispute("won")), reply(200, a_list()), reply(200, DISPUTED))
    server.script(reply(200, a_list(a_dispute("won"))))
    assert await cards.recheck_refund(RECHECK_LOST) == NotRefunded()


async def test_a_lost_dispute_that_may_not_be_read_any_more_stands(server: HostileStripe, cards: StripeCards) -> None:
    """The key was changed: that proves nothing about the bank. A call without an answer is repeated."""
    server.script(reply(403, an_error()), reply(404, an_error()), reply(500, an_error()))
    assert await cards.recheck_refund(RECHECK_LOST) == ChargedBack("du_1")
    assert await cards.recheck_refund(RECHECK_LOST) == ChargedBack("du_1")
    assert isinstance(await cards.recheck_refund(RECHECK_LOST), Unclear)
