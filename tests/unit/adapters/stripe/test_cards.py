"""The Stripe adapter: what it sends, what it takes for proof, and what it never lets out, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import stripe
from msgspec.structs import replace
from stripe.params._payment_intent_confirm_params import PaymentIntentConfirmParams

from payment.adapters.stripe.bodies import Body
from payment.adapters.stripe.cards import API_VERSION, LIST_PAGES_MAX, StripeCards
from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent
from payment.core.messages import ChargeFacts, Failure, InstrumentKind, IntentStatus, ListedCharge
from payment.ports.cards import (
    Blocked,
    CardProcessor,
    Charges,
    Declined,
    Handover,
    IntentAnswer,
    NextAction,
    NotRefunded,
    NotYet,
    Obstacle,
    Permission,
    Refunded,
    Unclear,
    UnexpectedState,
)
from tests.support.servers.hostile_stripe import HostileStripe, close_after_reading, cut_body, reply
from tests.unit.adapters.stripe.world import (
    CLIENT_SECRET,
    CONFIRM,
    CONFIRMATION_TOKEN,
    INTENT,
    OLD_METADATA,
    PAYMENT_METHOD,
    REFUND,
    SECRET_KEY,
    TOKEN,
    a_charge,
    a_list,
    a_paid_intent,
    a_refund,
    a_waiting_intent,
    an_error,
    an_intent,
    cards_at,
    confirm_with,
)

PAID = IntentAnswer(id="pi_1", status=IntentStatus.SUCCEEDED, charge=ChargeFacts("ch_1"))
REPLAYED = {"Idempotent-Replayed": "true"}


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
    """A new library is a decision: its version of the API is pinned in code, after its changes have been read."""
    assert stripe.api_version == API_VERSION


# --- create


async def test_a_create_sends_the_contracts_parameters_and_nothing_else(
    server: HostileStripe, cards: StripeCards
) -> None:
    """No card, no confirm; our metadata and the transfer group; the order's key; the version it began with."""
    server.script(reply(200, an_intent()))
    created = await cards.create(INTENT)
    assert created == IntentAnswer(id="pi_1", status=IntentStatus.REQUIRES_PAYMENT_METHOD)
    [request] = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/v1/payment_intents", {})
    assert request.form == {
        "amount": "1999",
        "currency": "usd",
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
        "metadata[orderId]": "o1",
        "metadata[paymentId]": "p1",
        "transfer_group": "o1",
    }
    assert request.headers["idempotency-key"] == "intent-p1-1"
    assert request.headers["stripe-version"] == "2024-06-20"
    assert request.headers["authorization"] == f"Bearer {SECRET_KEY}"


async def test_the_same_create_sends_the_same_request(server: HostileStripe, cards: StripeCards) -> None:
    """Neither the intent's id nor an earlier list changes the create: Stripe returns the same intent."""
    server.script(reply(200, an_intent()), reply(200, an_intent(), REPLAYED))
    await cards.create(INTENT)
    again = await cards.create(replace(INTENT, id="pi_1", list_after=INTENT.list_after.replace(year=2020)))
    assert again == IntentAnswer(id="pi_1", status=IntentStatus.REQUIRES_PAYMENT_METHOD, replayed=True)
    assert server.requests[0] == server.requests[1]


# --- confirm


@pytest.mark.parametrize(
    ("request_", "form"),
    [
        (
            CONFIRM,
            {
                "payment_method_data[type]": "card",
                "payment_method_data[card][token]": TOKEN,
                "error_on_requires_action": "true",
            },
        ),
        (
            confirm_with(PAYMENT_METHOD, InstrumentKind.PAYMENT_METHOD, use_stripe_sdk=True),
            {"payment_method": PAYMENT_METHOD, "use_stripe_sdk": "true"},
        ),
        (
            confirm_with(PAYMENT_METHOD, InstrumentKind.PAYMENT_METHOD, return_url="https://shop.test/back?a=1&b=é"),
            {"payment_method": PAYMENT_METHOD, "return_url": "https://shop.test/back?a=1&b=é"},
        ),
        (
            confirm_with(CONFIRMATION_TOKEN, InstrumentKind.CONFIRMATION_TOKEN, use_stripe_sdk=True),
            {"confirmation_token": CONFIRMATION_TOKEN, "use_stripe_sdk": "true"},
        ),
        (
            confirm_with(CONFIRMATION_TOKEN, InstrumentKind.CONFIRMATION_TOKEN, return_url="https://shop.test/back"),
            {
                "confirmation_token": CONFIRMATION_TOKEN,
                "return_url": "https://shop.test/back",
                "use_stripe_sdk": "false",
            },
        ),
        (
            confirm_with(CONFIRMATION_TOKEN, InstrumentKind.CONFIRMATION_TOKEN),
            {"confirmation_token": CONFIRMATION_TOKEN, "error_on_requires_action": "true"},
        ),
    ],
)
async def test_a_confirm_sends_the_card_and_what_the_client_can_do(
    request_: ConfirmIntent, form: dict[str, str], server: HostileStripe, cards: StripeCards
) -> None:
    """Each instrument as its own parameter; the key is of the intent and the attempt alone, whichever send it is."""
    server.script(reply(200, a_paid_intent()))
    assert await cards.confirm(request_, "pi_1") == PAID
    [request] = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/v1/payment_intents/pi_1/confirm", {})
    assert request.form == form | {"expand[0]": "latest_charge"}
    assert request.headers["idempotency-key"] == "confirm-pi_1-2"
    assert request.headers["stripe-version"] == "2024-06-20"
    names = {name.partition("[")[0] for name in request.form}
    assert names <= set(PaymentIntentConfirmParams.__annotations__)


def test_metadata_is_no_parameter_of_a_confirm() -> None:
    """Stripe takes none there: the attempt's number can't reach the charge, which has its intent's metadata."""
    assert "metadata" not in PaymentIntentConfirmParams.__annotations__


async def test_a_replayed_success_is_marked_as_replayed(server: HostileStripe, cards: StripeCards) -> None:
    """It is a fact about the past: the charge may be refunded since."""
    server.script(reply(200, a_paid_intent(), REPLAYED))
    assert await cards.confirm(CONFIRM, "pi_1") == replace(PAID, replayed=True)


async def test_a_bank_that_wants_the_customer_is_handed_over(server: HostileStripe, cards: StripeCards) -> None:
    """With what the browser needs, and nothing else."""
    redirect = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.test/3ds", "return_url": "x"}}
    server.script(reply(200, a_waiting_intent()), reply(200, a_waiting_intent(next_action=redirect)))
    for url in (None, "https://bank.test/3ds"):
        assert await cards.confirm(CONFIRM, "pi_1") == IntentAnswer(
            id="pi_1", status=IntentStatus.REQUIRES_ACTION, handover=Handover(CLIENT_SECRET, NextAction(url))
        )


@pytest.mark.parametrize("body", [an_intent(status="succeeded", latest_charge="ch_1"), {}, a_paid_intent(paid=False)])
async def test_a_200_that_shows_no_paid_charge_proves_nothing(
    body: Body, server: HostileStripe, cards: StripeCards
) -> None:
    """Only an intent that succeeded and its charge together are evidence; a charge's id alone is none."""
    server.script(reply(200, body), reply(200, body))
    for outcome in (await cards.confirm(CONFIRM, "pi_1"), await cards.retrieve("pi_1")):
        assert isinstance(outcome, Unclear)
        assert (outcome.stored, outcome.alarm) == (False, False)


@pytest.mark.parametrize("body", [a_paid_intent(amount=1998), an_intent(amount=1), an_intent(id="pi_2")])
async def test_a_200_with_another_charge_or_intent_is_an_alarm(
    body: Body, server: HostileStripe, cards: StripeCards
) -> None:
    """A key that brings another intent than ours breaks a rule of our own (F16)."""
    server.script(reply(200, body))
    outcome = await cards.confirm(CONFIRM, "pi_1")
    assert isinstance(outcome, Unclear)
    assert outcome.alarm


async def test_a_decline_brings_stripes_code_and_message(server: HostileStripe, cards: StripeCards) -> None:
    """The contract's 402 shows Stripe's decline code and message (F15)."""
    error = an_error(type="card_error", code="card_declined", decline_code="lost_card", message="It was declined.")
    server.script(reply(402, error), reply(402, an_error(type="card_error", message=None)))
    declined = Declined(Failure(code="card_declined", decline_code="lost_card", text="It was declined."))
    assert await cards.confirm(CONFIRM, "pi_1") == declined
    bare = await cards.confirm(CONFIRM, "pi_1")
    assert isinstance(bare, Declined)
    assert (bare.failure.code, bare.failure.decline_code) == ("card_declined", None)
    assert bare.failure.text


async def test_a_replayed_decline_is_the_same_decline(server: HostileStripe, cards: StripeCards) -> None:
    """Stripe stores it for the key with all else that came of the execution."""
    error = an_error(type="card_error", code="authentication_required", decline_code="authentication_required")
    server.script(reply(402, error), reply(402, error, REPLAYED))
    first, again = await cards.confirm(CONFIRM, "pi_1"), await cards.confirm(CONFIRM, "pi_1")
    assert (
        first == again == Declined(Failure("authentication_required", "authentication_required", "Something is wrong"))
    )


async def test_a_cancellation_is_raised_on(server: HostileStripe, cards: StripeCards) -> None:
    """A cancelled task is the actor's business: the adapter must not turn it into an outcome."""
    task = asyncio.create_task(cards.confirm(CONFIRM, "pi_1"))
    await server.requests_arrived(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_write_is_tried_once(server: HostileStripe, cards: StripeCards) -> None:
    """Neither the library nor aiohttp repeats a confirm: each send is counted in the document first."""
    server.script(close_after_reading(), reply(200, a_paid_intent()))
    assert isinstance(await cards.confirm(CONFIRM, "pi_1"), Unclear)
    assert len(server.requests) == 1
    server.script(reply(500, an_error(type="api_error"), {"Stripe-Should-Retry": "true"}))
    assert await cards.confirm(CONFIRM, "pi_1") == PAID
    assert isinstance(await cards.confirm(CONFIRM, "pi_1"), Unclear)
    assert len(server.requests) == 3


# --- retrieve and cancel


async def test_a_retrieve_asks_for_the_intent_with_its_charge(server: HostileStripe, cards: StripeCards) -> None:
    """Refunded and disputed are read with it; the newest version is spoken, for no key is at stake."""
    server.script(reply(200, a_paid_intent(amount_refunded=1999, disputed=True)))
    charge = ChargeFacts("ch_1", refunded=True, disputed=True, amount_refunded=1999)
    assert await cards.retrieve("pi_1") == replace(PAID, charge=charge)
    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/v1/payment_intents/pi_1")
    assert request.query == {"expand[0]": "latest_charge"}
    assert request.headers["stripe-version"] == API_VERSION
    assert "idempotency-key" not in request.headers


async def test_a_cancel_carries_no_key(server: HostileStripe, cards: StripeCards) -> None:
    """It is idempotent by itself, and a stored 500 must not stand in its way."""
    server.script(reply(200, an_intent(status="canceled")))
    assert await cards.cancel("pi_1") == IntentAnswer(id="pi_1", status=IntentStatus.CANCELED)
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/v1/payment_intents/pi_1/cancel")
    assert (request.form, request.query) == ({}, {})
    assert "idempotency-key" not in request.headers


async def test_an_intent_that_can_not_be_cancelled_or_confirmed_is_in_an_unexpected_state(
    server: HostileStripe, cards: StripeCards
) -> None:
    """Canceled or succeeded before: a retrieve shows which."""
    error = an_error(code="payment_intent_unexpected_state", message="You cannot cancel this PaymentIntent.")
    server.script(reply(400, error), reply(400, error))
    unexpected = UnexpectedState("You cannot cancel this PaymentIntent.")
    assert await cards.cancel("pi_1") == unexpected
    assert await cards.confirm(CONFIRM, "pi_1") == unexpected


async def test_an_id_cannot_leave_its_path(server: HostileStripe, cards: StripeCards) -> None:
    """An id is quoted in an address."""
    strange = "pi_1/../../v1/balance?x="
    server.script(*[reply(404, an_error()) for _ in range(4)])
    await cards.retrieve(strange)
    await cards.cancel(strange)
    await cards.confirm(CONFIRM, strange)
    quoted = "/v1/payment_intents/pi_1%2F..%2F..%2Fv1%2Fbalance%3Fx"
    assert all(request.path.startswith(quoted) for request in server.requests)


# --- list_charges


async def test_a_list_asks_for_the_transfer_group_and_reads_every_page(
    server: HostileStripe, cards: StripeCards
) -> None:
    """Pages are followed by the last id, and only succeeded charges count, each with its attempt (F05)."""
    server.script(
        reply(
            200, a_list(a_charge(id="ch_9", metadata=OLD_METADATA), a_charge(id="ch_8", status="failed"), has_more=True)
        ),
        reply(200, a_list(a_charge(id="ch_7"), a_charge(id="ch_6", status="pending"))),
    )
    listed = await cards.list_charges("o1", "p1")
    expected = (ListedCharge(ChargeFacts("ch_9"), 2), ListedCharge(ChargeFacts("ch_7"), 0))
    assert listed == Charges(charges=expected, pending=True)
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
    assert await cards.list_charges(strange, "p1") == Charges(charges=())
    assert server.requests[0].query["transfer_group"] == strange


async def test_a_cut_off_page_is_never_a_shorter_list(server: HostileStripe, cards: StripeCards) -> None:
    """Half of a list proves nothing about the other half (F11, F12)."""
    server.script(reply(200, a_list(a_charge(), has_more=True)), cut_body(200, a_list(a_charge())))
    assert isinstance(await cards.list_charges("o1", "p1"), Unclear)
    server.script(reply(200, a_list(a_charge(), has_more=True)), reply(429, an_error(code="rate_limit")))
    limited = await cards.list_charges("o1", "p1")
    assert isinstance(limited, NotYet)
    assert limited.obstacle is Obstacle.RATE_LIMITED


async def test_a_list_without_end_is_an_alarm(server: HostileStripe, cards: StripeCards) -> None:
    """The number of pages is bounded, and what is past the bound is not called read."""
    server.script(*[reply(200, a_list(a_charge(id=f"ch_{page}"), has_more=True)) for page in range(LIST_PAGES_MAX)])
    outcome = await cards.list_charges("o1", "p1")
    assert isinstance(outcome, Unclear)
    assert outcome.alarm
    assert len(server.requests) == LIST_PAGES_MAX


async def test_a_page_that_is_not_whole_proves_nothing(server: HostileStripe, cards: StripeCards) -> None:
    """One item that can't be read could be the charge that is searched for."""
    server.script(reply(200, a_list(a_charge(), a_charge(id=None))))
    assert isinstance(await cards.list_charges("o1", "p1"), Unclear)


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
    """It is never called done before Stripe's list shows it (F44)."""
    server.script(reply(200, a_refund(status=status)), reply(200, a_list(a_refund(status=status))))
    server.script(reply(200, a_charge()))
    assert await cards.refund(REFUND) == Blocked(text=f"the refund is {status}", refund_id="re_1")


async def test_a_replayed_pending_refund_that_has_succeeded_since_is_refunded(
    server: HostileStripe, cards: StripeCards
) -> None:
    """The answer stored for the key is pending until the key expires: the list is asked (F44)."""
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
    server.script(reply(400, an_error(code="charge_already_refunded")), reply(200, a_list()), reply(200, a_charge()))
    assert isinstance(await cards.refund(REFUND), Unclear)


async def test_already_refunded_and_then_no_answer_is_unclear(server: HostileStripe, cards: StripeCards) -> None:
    """The search ends as its call ends."""
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
    """Nor disputed: the charge shows it."""
    server.script(reply(200, a_list()), reply(200, a_charge()))
    assert await cards.find_refund("ch_1") == NotRefunded()
    assert [request.path for request in server.requests] == ["/v1/refunds", "/v1/charges/ch_1"]


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


async def test_a_search_for_a_refund_ends_as_its_calls_end(server: HostileStripe, cards: StripeCards) -> None:
    """Both of its calls are judged by the table."""
    server.script(reply(429, an_error(code="lock_timeout")))
    server.script(reply(200, a_list(a_refund())), reply(401, an_error()))
    locked, refused = await cards.find_refund("ch_1"), await cards.find_refund("ch_1")
    assert isinstance(locked, NotYet)
    assert isinstance(refused, NotYet)
    assert (locked.obstacle, refused.obstacle) == (Obstacle.LOCKED, Obstacle.KEY_REFUSED)


async def test_a_charge_id_cannot_leave_its_path(server: HostileStripe, cards: StripeCards) -> None:
    """An id is quoted in an address."""
    server.script(reply(200, a_list(a_refund())), reply(404, an_error()))
    await cards.find_refund("ch_1/../../v1/balance?x=")
    assert server.requests[1].path.startswith("/v1/charges/ch_1%2F..%2F..%2Fv1%2Fbalance%3Fx")


# --- check


async def test_a_check_asks_for_the_account(server: HostileStripe, cards: StripeCards) -> None:
    """F48: which one the key is for; Stripe is there, and takes it."""
    server.script(reply(200, {"object": "account", "id": "acct_1"}))
    account = await cards.check()
    assert isinstance(account, StripeAccount)
    assert (account.id, account.live) == ("acct_1", False)
    assert [(request.method, request.path) for request in server.requests] == [("GET", "/v1/account")]


async def test_a_restricted_keys_account_is_read_off_its_refusal(server: HostileStripe, cards: StripeCards) -> None:
    """F48: no permission lets such a key read its account everywhere; Stripe names it when it refuses."""
    message = (
        "The provided key 'rk_test_***' does not have the required permissions for this endpoint on account "
        "'acct_1PJBLEBBLEfV'. Having the 'rak_accounts_kyc_basic_read' permission would allow this request to continue."
    )
    server.script(reply(403, an_error(message=message)))
    account = await cards.check()
    assert isinstance(account, StripeAccount)
    assert account.id == "acct_1PJBLEBBLEfV"


async def test_the_same_key_at_another_address_is_another_key(server: HostileStripe) -> None:
    """F48: where the account is not known, the key and its address stand for it; no digest shows a key."""
    accounts = []
    for key, base in (("sk_test_1", server.url), ("sk_test_1", f"{server.url}/proxy"), ("rk_live_1", server.url)):
        cards = StripeCards(key, base, max_connections=1)
        server.script(reply(200, {"object": "list", "data": []}))
        accounts.append(await cards.check())
        await cards.close()
    assert len({account.fingerprint for account in accounts if isinstance(account, StripeAccount)}) == 3
    assert [getattr(account, "live", "") for account in accounts] == [False, False, True]
    assert not any(key in repr(accounts) for key in ("sk_test_1", "rk_live_1"))


async def test_a_check_with_a_bad_key_is_refused(server: HostileStripe, cards: StripeCards) -> None:
    """Readiness needs to know (F36)."""
    server.script(reply(401, an_error()))
    outcome = await cards.check()
    assert isinstance(outcome, NotYet)
    assert outcome.obstacle is Obstacle.KEY_REFUSED


async def test_not_even_the_end_of_a_bad_key_is_repeated(server: HostileStripe, cards: StripeCards) -> None:
    """F36: Stripe shows its last characters, and `/readyz` shows our text to anybody on the network."""
    server.script(reply(401, an_error(message="Invalid API Key provided: ********ET42")))
    outcome = await cards.check()
    assert outcome == NotYet(Obstacle.KEY_REFUSED, "Invalid API Key provided: [redacted]")


async def test_a_restricted_key_is_asked_for_what_we_need(server: HostileStripe, cards: StripeCards) -> None:
    """A key that may make payments and not read the balance is good; one that may do neither is not."""
    no = reply(403, an_error())
    server.script(no, no, reply(200, a_list()), no, no, no)
    account = await cards.check()
    assert isinstance(account, StripeAccount)
    assert account.id is None
    assert isinstance(await cards.check(), NotYet)
    assert [request.path for request in server.requests] == ["/v1/account", "/v1/balance", "/v1/payment_intents"] * 2


async def test_where_the_check_is_refused_payments_would_be(server: HostileStripe, cards: StripeCards) -> None:
    """An address with a path too much: Stripe answers and takes the key, and knows none of our requests."""
    unknown = reply(404, an_error(message="Unrecognized request URL (GET: /v1/v1/payment_intents)."))
    server.script(unknown, unknown, unknown)
    outcome = await cards.check()
    assert isinstance(outcome, Unclear)
    assert "Unrecognized request URL" in outcome.text
    assert not outcome.alarm, "an actor would take Stripe for reachable"


async def test_a_sandbox_without_an_account_is_there_all_the_same(server: HostileStripe, cards: StripeCards) -> None:
    """It is asked for what we do need; a proxy's 404 is not Stripe, nor is what always fails."""
    server.script(reply(404, an_error()), reply(200, a_list()))
    assert isinstance(await cards.check(), StripeAccount)
    server.script(*[reply(404, b"<html>")] * 3, *[reply(500, an_error(type="api_error"))] * 3)
    assert isinstance(await cards.check(), Unclear)
    assert isinstance(await cards.check(), Unclear)


async def test_an_account_that_fails_alone_is_asked_for_elsewhere(server: HostileStripe, cards: StripeCards) -> None:
    """An outage of that endpoint keeps no charge from being made."""
    server.script(reply(500, an_error(type="api_error")), reply(200, a_list()))
    assert isinstance(await cards.check(), StripeAccount)


# --- permissions

REQUESTS = {
    Permission.CREATE: ("POST", "/v1/payment_intents"),
    Permission.CONFIRM: ("POST", "/v1/payment_intents/pi_permission_check/confirm"),
    Permission.RETRIEVE: ("GET", "/v1/payment_intents/pi_permission_check"),
    Permission.CANCEL: ("POST", "/v1/payment_intents/pi_permission_check/cancel"),
    Permission.LIST: ("GET", "/v1/charges"),
    Permission.REFUND: ("POST", "/v1/refunds"),
}


@pytest.mark.parametrize("permission", list(Permission))
async def test_a_permission_is_checked_by_a_call_that_can_not_do_anything(
    server: HostileStripe, cards: StripeCards, permission: Permission
) -> None:
    """F36: 404 or 400 from Stripe itself: the key may ask. 401 and 403: it may not. No key, no amount, no card."""
    missing = {"type": "invalid_request_error", "code": "resource_missing", "message": "No such payment_intent"}
    server.script(reply(404, {"error": missing}), reply(403, an_error()), reply(401, an_error()), reply(200, a_list()))
    assert await cards.check_permission(permission) is None
    for _ in range(2):
        outcome = await cards.check_permission(permission)
        assert isinstance(outcome, NotYet)
        assert outcome.obstacle is Obstacle.KEY_REFUSED
    assert await cards.check_permission(permission) is None
    for request in server.requests:
        assert (request.method, request.path) == REQUESTS[permission]
        assert "idempotency-key" not in request.headers
        assert set(request.form) <= {"charge"}


async def test_an_answer_that_is_not_stripes_proves_nothing_about_a_permission(
    server: HostileStripe, cards: StripeCards
) -> None:
    """A proxy's 403, a 500, a 429: our key is neither refused nor taken by these."""
    server.script(
        reply(403, b"<html>"), reply(500, an_error(type="api_error")), reply(429, an_error(code="rate_limit"))
    )
    outcomes = [await cards.check_permission(Permission.CREATE) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Unclear, Unclear, NotYet]
    assert getattr(outcomes[2], "obstacle", None) is Obstacle.RATE_LIMITED
