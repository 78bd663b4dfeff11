"""The Stripe adapter: what it sends, what it takes for proof, and what it never says, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import stripe

from payment.core.messages import FoundCharge
from payment.ports.cards import (
    Blocked,
    CardProcessor,
    Charged,
    Declined,
    Found,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    Unclear,
)
from payment.ports.stripe_bodies import Body
from payment.ports.stripe_cards import API_VERSION, LIST_PAGES_MAX, StripeCards
from tests.ports.stripe_world import (
    BALANCE,
    CHARGE,
    METADATA,
    REFUND,
    SECRET_KEY,
    TOKEN,
    a_charge,
    a_list,
    a_refund,
    an_error,
    cards_at,
)
from tests.servers.hostile_stripe import HostileStripe, close_after_reading, cut_body, reply


@pytest.fixture
async def server() -> AsyncIterator[HostileStripe]:
    async with HostileStripe() as running:
        yield running


@pytest.fixture
async def cards(server: HostileStripe) -> AsyncIterator[StripeCards]:
    async with cards_at(server.url) as made:
        yield made


def is_a_card_processor(cards: CardProcessor) -> CardProcessor:
    return cards


async def test_it_is_a_card_processor_that_can_be_made_outside_a_loop() -> None:
    """The supervisor makes it before anything runs; closing what was never used is no error."""
    made = await asyncio.to_thread(StripeCards, SECRET_KEY, None, max_connections=1)
    await is_a_card_processor(made).close()


def test_the_pinned_version_is_the_librarys_own() -> None:
    """A new library is a decision: its version of the API is pinned by hand, after its changes have been read."""
    assert stripe.api_version == API_VERSION


# --- charge


async def test_a_charge_sends_the_contracts_parameters_and_nothing_else(
    server: HostileStripe, cards: StripeCards
) -> None:
    """Amount, currency, source, our metadata and the transfer group; the stored key; the version it began with."""
    server.script(reply(200, a_charge()))
    assert await cards.charge(CHARGE) == Charged(charge_id="ch_1")
    [request] = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/v1/charges", {})
    assert request.form == {
        "amount": "1999",
        "currency": "usd",
        "source": TOKEN,
        "metadata[orderId]": "o1",
        "metadata[paymentId]": "p1",
        "metadata[attempt]": "2",
        "transfer_group": "o1",
    }
    assert request.headers["idempotency-key"] == "key-1"
    assert request.headers["stripe-version"] == "2024-06-20"
    assert request.headers["authorization"] == f"Bearer {SECRET_KEY}"


@pytest.mark.parametrize(
    "body",
    [
        a_charge(status="failed", paid=False),
        a_charge(status="pending"),
        a_charge(paid=False),
        a_charge(paid="true"),
        a_charge(id=None),
        a_charge(id=""),
        a_charge(id=7),
        a_charge(id="c" * 256),
        {},
        {"status": "succeeded"},
    ],
)
async def test_a_200_that_is_no_succeeded_charge_proves_nothing(
    body: Body, server: HostileStripe, cards: StripeCards
) -> None:
    """Only an id, `succeeded` and `paid` together are a charge."""
    server.script(reply(200, body))
    outcome = await cards.charge(CHARGE)
    assert isinstance(outcome, Unclear)
    assert (outcome.stored, outcome.alarm) == (False, False)


@pytest.mark.parametrize(
    "body",
    [
        a_charge(amount=1998),
        a_charge(amount="1999"),
        a_charge(currency="eur"),
        a_charge(captured=False),
        a_charge(metadata=METADATA | {"orderId": "o2"}),
        a_charge(metadata=METADATA | {"paymentId": "p2"}),
        a_charge(metadata=METADATA | {"attempt": "1"}),
    ],
)
async def test_a_200_with_another_charge_is_an_alarm(body: Body, server: HostileStripe, cards: StripeCards) -> None:
    """A key that brings another charge than ours breaks a rule of our own (F16)."""
    server.script(reply(200, body))
    outcome = await cards.charge(CHARGE)
    assert isinstance(outcome, Unclear)
    assert outcome.alarm


async def test_a_decline_brings_stripes_code_and_words(server: HostileStripe, cards: StripeCards) -> None:
    """The contract's 402 shows Stripe's decline code and message (F15)."""
    error = an_error(type="card_error", code="card_declined", decline_code="lost_card", message="It was declined.")
    server.script(reply(402, error), reply(402, an_error(type="card_error", message=None)))
    declined = Declined(code="card_declined", decline_code="lost_card", text="It was declined.")
    assert await cards.charge(CHARGE) == declined
    bare = await cards.charge(CHARGE)
    assert isinstance(bare, Declined)
    assert (bare.code, bare.decline_code) == ("card_declined", None)
    assert bare.text


async def test_a_cancellation_is_raised_on(server: HostileStripe, cards: StripeCards) -> None:
    """A cancelled task is the actor's business: the adapter must not turn it into an outcome."""
    task = asyncio.create_task(cards.charge(CHARGE))
    await server.requests_arrived(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_write_is_tried_once(server: HostileStripe, cards: StripeCards) -> None:
    """Neither the library nor aiohttp repeats a charge: each send is counted on paper first."""
    server.script(close_after_reading(), reply(200, a_charge()))
    assert isinstance(await cards.charge(CHARGE), Unclear)
    assert len(server.requests) == 1
    server.script(reply(500, an_error(type="api_error"), {"Stripe-Should-Retry": "true"}))
    assert await cards.charge(CHARGE) == Charged(charge_id="ch_1")
    assert isinstance(await cards.charge(CHARGE), Unclear)
    assert len(server.requests) == 3


# --- find


async def test_a_look_up_asks_for_the_transfer_group_and_reads_every_page(
    server: HostileStripe, cards: StripeCards
) -> None:
    """Pages are followed by the last id, and only succeeded charges count, each with its attempt (F05)."""
    server.script(
        reply(200, a_list(a_charge(id="ch_9"), a_charge(id="ch_8", status="failed"), has_more=True)),
        reply(200, a_list(a_charge(id="ch_7", metadata=METADATA | {"attempt": "1"}))),
    )
    found = await cards.find("o1", "p1")
    assert found == Found(charges=(FoundCharge("ch_9", 2), FoundCharge("ch_7", 1)))
    first, second = server.requests
    assert (first.method, first.path) == ("GET", "/v1/charges")
    assert first.query == {"transfer_group": "o1", "limit": "100"}
    assert second.query == {"transfer_group": "o1", "limit": "100", "starting_after": "ch_8"}
    assert first.headers["stripe-version"] == API_VERSION
    assert "idempotency-key" not in first.headers


async def test_an_order_id_of_any_form_arrives_as_it_is(server: HostileStripe, cards: StripeCards) -> None:
    """An id that the way to Stripe altered would bring an empty list, and an empty list is evidence."""
    strange = "a+b c&d=e%20f;g#h?/é\u2028\\"
    server.script(reply(200, a_list()))
    assert await cards.find(strange, "p1") == Found(charges=())
    assert server.requests[0].query["transfer_group"] == strange


async def test_a_cut_off_page_is_never_a_shorter_list(server: HostileStripe, cards: StripeCards) -> None:
    """Half of the books proves nothing about the other half (F11, F12)."""
    server.script(reply(200, a_list(a_charge(), has_more=True)), cut_body(200, a_list(a_charge())))
    assert isinstance(await cards.find("o1", "p1"), Unclear)
    server.script(reply(200, a_list(a_charge(), has_more=True)), reply(429, an_error(code="rate_limit")))
    limited = await cards.find("o1", "p1")
    assert isinstance(limited, NotYet)
    assert limited.obstacle is Obstacle.RATE_LIMITED


async def test_a_list_without_end_is_an_alarm(server: HostileStripe, cards: StripeCards) -> None:
    """The number of pages is bounded, and what is past the bound is not called read."""
    server.script(*[reply(200, a_list(a_charge(id=f"ch_{page}"), has_more=True)) for page in range(LIST_PAGES_MAX)])
    outcome = await cards.find("o1", "p1")
    assert isinstance(outcome, Unclear)
    assert outcome.alarm
    assert len(server.requests) == LIST_PAGES_MAX


async def test_a_page_that_is_not_whole_proves_nothing(server: HostileStripe, cards: StripeCards) -> None:
    """One item that can't be read could be the charge that was looked for."""
    server.script(reply(200, a_list(a_charge(), a_charge(id=None))))
    assert isinstance(await cards.find("o1", "p1"), Unclear)


# --- refund


async def test_a_refund_sends_the_charge_and_nothing_else(server: HostileStripe, cards: StripeCards) -> None:
    """In full, so without an amount; under its own key (F21, F23)."""
    server.script(reply(200, a_refund()))
    assert await cards.refund(REFUND) == Refunded(refund_id="re_1")
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/v1/refunds")
    assert request.form == {
        "charge": "ch_1",
        "metadata[orderId]": "o1",
        "metadata[paymentId]": "p1",
        "metadata[attempt]": "2",
    }
    assert request.headers["idempotency-key"] == "refund-key-1"
    assert request.headers["stripe-version"] == "2024-06-20"


@pytest.mark.parametrize("status", ["pending", "requires_action", "failed", "canceled", "invented_tomorrow"])
async def test_a_refund_that_has_not_succeeded_is_blocked(
    status: str, server: HostileStripe, cards: StripeCards
) -> None:
    """It is never called done before Stripe's books say so (F44)."""
    server.script(reply(200, a_refund(status=status)), reply(200, a_list(a_refund(status=status))))
    server.script(reply(200, a_charge()))
    assert await cards.refund(REFUND) == Blocked(text=f"the refund is {status}", refund_id="re_1")


async def test_a_replayed_pending_refund_that_has_succeeded_since_is_refunded(
    server: HostileStripe, cards: StripeCards
) -> None:
    """The answer stored for the key says pending for as long as the key lives: the books are asked (F44)."""
    server.script(reply(200, a_refund(status="pending"), {"Idempotent-Replayed": "true"}))
    server.script(reply(200, a_list(a_refund())), reply(200, a_charge()))
    assert await cards.refund(REFUND) == Refunded(refund_id="re_1")


@pytest.mark.parametrize("body", [{}, a_refund(id=None), a_refund(status=None)])
async def test_a_200_that_is_no_refund_proves_nothing(body: Body, server: HostileStripe, cards: StripeCards) -> None:
    """Only an id and a status together are a refund."""
    server.script(reply(200, body))
    assert isinstance(await cards.refund(REFUND), Unclear)


async def test_a_refund_of_another_charge_is_an_alarm(server: HostileStripe, cards: StripeCards) -> None:
    """A key that brings another refund than ours breaks a rule of our own (F16)."""
    server.script(reply(200, a_refund(charge="ch_2")))
    outcome = await cards.refund(REFUND)
    assert isinstance(outcome, Unclear)
    assert outcome.alarm


async def test_already_refunded_finds_the_refunds_id(server: HostileStripe, cards: StripeCards) -> None:
    """The event needs the id of the refund that was made before (F23)."""
    server.script(reply(400, an_error(code="charge_already_refunded")))
    server.script(reply(200, a_list(a_refund(id="re_7"))), reply(200, a_charge()))
    assert await cards.refund(REFUND) == Refunded(refund_id="re_7")
    assert server.requests[1].query == {"charge": "ch_1", "limit": "100"}


async def test_already_refunded_without_a_refund_proves_nothing(server: HostileStripe, cards: StripeCards) -> None:
    """Two answers that contradict one another settle nothing."""
    server.script(reply(400, an_error(code="charge_already_refunded")), reply(200, a_list()))
    assert isinstance(await cards.refund(REFUND), Unclear)


async def test_already_refunded_and_then_no_answer_is_asked_again(server: HostileStripe, cards: StripeCards) -> None:
    """The look-up's own end is the call's end."""
    server.script(reply(400, an_error(code="charge_already_refunded")), reply(500, an_error(type="api_error")))
    assert isinstance(await cards.refund(REFUND), Unclear)


# --- find_refund


@pytest.mark.parametrize(
    ("refunds", "expected"),
    [
        ([a_refund()], Refunded("re_1")),
        ([a_refund(id="re_2", amount=1000), a_refund(amount=999)], Refunded("re_2")),
        ([a_refund(amount=1998)], NotRefunded()),
        ([a_refund(status="failed"), a_refund(id="re_2", status="canceled")], NotRefunded()),
        ([a_refund(id="re_2", status="failed"), a_refund()], Refunded("re_1")),
        ([a_refund(status="pending")], Blocked("the refund is under way", "re_1")),
        (
            [a_refund(id="re_2", amount=1, status="requires_action"), a_refund(amount=1998)],
            Blocked("the refund is under way", "re_2"),
        ),
    ],
)
async def test_a_charge_is_refunded_when_succeeded_refunds_add_up_to_it(
    refunds: list[object], expected: object, server: HostileStripe, cards: StripeCards
) -> None:
    """Part of the money, or money that is only on its way, is not the money."""
    server.script(reply(200, a_list(*refunds)), reply(200, a_charge()))
    assert await cards.find_refund("ch_1") == expected
    assert [request.path for request in server.requests] == ["/v1/refunds", "/v1/charges/ch_1"]


async def test_a_charge_without_refunds_is_not_refunded(server: HostileStripe, cards: StripeCards) -> None:
    """An empty list of refunds is the whole answer."""
    server.script(reply(200, a_list()))
    assert await cards.find_refund("ch_1") == NotRefunded()


@pytest.mark.parametrize(
    ("refund", "charge"),
    [
        (a_refund(amount=None), a_charge()),
        (a_refund(amount=True), a_charge()),
        (a_refund(status=None), a_charge()),
        (a_refund(), a_charge(amount=None)),
        (a_refund(), a_charge(amount="1999")),
        (a_refund(), a_charge(id="ch_2")),
        (a_refund(), {}),
    ],
)
async def test_refunds_that_cannot_be_added_up_prove_nothing(
    refund: Body, charge: Body, server: HostileStripe, cards: StripeCards
) -> None:
    """A refund is called done only from amounts that are there."""
    server.script(reply(200, a_list(refund)), reply(200, charge))
    assert isinstance(await cards.find_refund("ch_1"), Unclear)


async def test_looking_for_a_refund_ends_as_its_calls_end(server: HostileStripe, cards: StripeCards) -> None:
    """Both of its calls are judged by the table."""
    server.script(reply(429, an_error(code="lock_timeout")))
    server.script(reply(200, a_list(a_refund())), reply(401, an_error()))
    locked, refused = await cards.find_refund("ch_1"), await cards.find_refund("ch_1")
    assert isinstance(locked, NotYet)
    assert isinstance(refused, NotYet)
    assert (locked.obstacle, refused.obstacle) == (Obstacle.LOCKED, Obstacle.KEY_REFUSED)


async def test_a_charge_id_cannot_leave_its_path(server: HostileStripe, cards: StripeCards) -> None:
    """What is put into an address is quoted."""
    server.script(reply(200, a_list(a_refund())), reply(404, an_error()))
    await cards.find_refund("ch_1/../../v1/balance?x=")
    assert server.requests[1].path.startswith("/v1/charges/ch_1%2F..%2F..%2Fv1%2Fbalance%3Fx")


# --- check


async def test_a_check_asks_for_the_balance(server: HostileStripe, cards: StripeCards) -> None:
    """None: Stripe is there and takes our key."""
    server.script(reply(200, BALANCE))
    assert await cards.check() is None
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/v1/balance")]


async def test_a_check_with_a_bad_key_says_so(server: HostileStripe, cards: StripeCards) -> None:
    """Readiness needs to know (F36)."""
    server.script(reply(401, an_error()))
    outcome = await cards.check()
    assert isinstance(outcome, NotYet)
    assert outcome.obstacle is Obstacle.KEY_REFUSED


async def test_not_even_the_end_of_a_bad_key_is_repeated(server: HostileStripe, cards: StripeCards) -> None:
    """F36: Stripe shows its last characters, and `/readyz` shows our text to everybody."""
    server.script(reply(401, an_error(message="Invalid API Key provided: ********ET42")))
    outcome = await cards.check()
    assert outcome == NotYet(Obstacle.KEY_REFUSED, "Invalid API Key provided: [redacted]")


async def test_a_restricted_key_is_asked_for_what_we_need(server: HostileStripe, cards: StripeCards) -> None:
    """A key that may charge and not read the balance is good; one that may do neither is not."""
    server.script(reply(403, an_error()), reply(200, a_list()), reply(403, an_error()), reply(403, an_error()))
    assert await cards.check() is None
    assert isinstance(await cards.check(), NotYet)
    assert [request.path for request in server.requests] == ["/v1/balance", "/v1/charges"] * 2


async def test_who_refuses_the_check_would_refuse_every_charge(server: HostileStripe, cards: StripeCards) -> None:
    """An address with a path too much: Stripe answers and takes the key, and knows none of our requests."""
    unknown = reply(404, an_error(message="Unrecognized request URL (GET: /v1/v1/charges)."))
    server.script(unknown, unknown)
    outcome = await cards.check()
    assert isinstance(outcome, Unclear)
    assert "Unrecognized request URL" in outcome.text
    assert not outcome.alarm, "an actor would take it for well"
    assert [request.path for request in server.requests] == ["/v1/balance", "/v1/charges"]


async def test_a_sandbox_without_a_balance_is_there_all_the_same(server: HostileStripe, cards: StripeCards) -> None:
    """It is asked for what we do need; a proxy's 404 is not Stripe."""
    server.script(
        reply(404, an_error()), reply(200, a_list()), reply(404, b"<html>"), reply(500, an_error(type="api_error"))
    )
    assert await cards.check() is None
    assert isinstance(await cards.check(), Unclear)
    assert isinstance(await cards.check(), Unclear)
