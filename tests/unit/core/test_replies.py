"""The reply to a client, as a function of the written document."""

from datetime import timedelta

import pytest

from payment.core.messages import Authentication, Failure, InstrumentKind, IntentStatus, RefusalReason
from payment.core.order import ATTEMPTS_LIMIT, AttemptState
from payment.core.replies import (
    AUTHENTICATION_CODES,
    NOT_COMPLETED,
    NOT_TRIED,
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    PaymentStatus,
    RequiresAction,
    Start,
    instrument_hash,
    payment_status,
    reply_to,
)
from tests.unit.core.builders import (
    BROWSER,
    BY_STATE,
    DUE,
    ORDER,
    PAYMENT,
    PROCESSING,
    REQUIRES_ACTION,
    REQUIRES_CARD,
    T0,
    Story,
    action,
    awaiting,
    cancelled,
    cancelling,
    confirming,
    created,
    declined,
    exposed,
    given_back_by_hand,
    now_canceled,
    of_kind,
    open_order,
    paid,
    present,
    refunded,
    refused,
    request,
    retrieved,
    retrieved_success,
    retrieving,
    succeeded,
    unclear,
    withheld,
)

S = AttemptState
SOON = T0 + timedelta(seconds=30)
NO_BROWSER = Authentication()

STATUS = {
    S.CONFIRMING: PaymentStatus.PENDING,
    S.AWAITING: PaymentStatus.REQUIRES_ACTION,
    S.CANCELLING: PaymentStatus.PENDING,
    S.CHARGING: PaymentStatus.PENDING,
    S.DECLINED: PaymentStatus.DECLINED,
    S.REFUSED: PaymentStatus.DECLINED,
    S.CLOSED: PaymentStatus.EXPIRED,
    S.PAID: PaymentStatus.PAID,
    S.REFUNDING: PaymentStatus.REFUNDING,
    S.BLOCKED: PaymentStatus.REFUNDING,
    S.REFUNDED: PaymentStatus.REFUNDED,
    S.CHARGED_BACK: PaymentStatus.REFUNDED,
}
CANCELLED_STATUS = {
    S.CONFIRMING: PaymentStatus.PENDING,
    S.AWAITING: PaymentStatus.PENDING,
    S.CANCELLING: PaymentStatus.PENDING,
    S.CHARGING: PaymentStatus.PENDING,
    S.DECLINED: PaymentStatus.CANCELLED,
    S.REFUSED: PaymentStatus.CANCELLED,
    S.CLOSED: PaymentStatus.CANCELLED,
    S.PAID: PaymentStatus.REFUNDING,
    S.REFUNDING: PaymentStatus.REFUNDING,
    S.BLOCKED: PaymentStatus.REFUNDING,
    S.REFUNDED: PaymentStatus.REFUNDED,
    S.CHARGED_BACK: PaymentStatus.REFUNDED,
}


@pytest.mark.parametrize("state", S)
def test_status_of_a_payment_follows_its_attempts(state: S) -> None:
    """The status that GET reports in each state; a blocked refund never counts as done (F44)."""
    story = BY_STATE[state]()
    assert payment_status(story.doc, story.now) is STATUS[state]


@pytest.mark.parametrize("state", S)
def test_status_of_a_cancelled_order_shows_the_refund(state: S) -> None:
    """F24: an unknown outcome is pending, also after a cancel."""
    story = BY_STATE[state]().decide(cancelled())
    assert payment_status(story.doc, story.now) is CANCELLED_STATUS[state]


@pytest.mark.parametrize("state", [S.DECLINED, S.REFUSED, S.CLOSED])
def test_status_past_the_expiry_is_expired(state: S) -> None:
    """No charge was kept, and the order can't be paid any more."""
    story = BY_STATE[state]()
    assert payment_status(story.doc, present(story.doc.expires_at)) is PaymentStatus.EXPIRED


def test_status_of_an_order_whose_charge_was_given_back_by_hand() -> None:
    """Given back, and payable: the order is paid again once the next attempt is."""
    story = given_back_by_hand()
    assert payment_status(story.doc, story.now) is PaymentStatus.REFUNDING
    story.decide(refunded())
    assert payment_status(story.doc, story.now) is PaymentStatus.REFUNDED
    story.decide(request("tok_2"), succeeded("ch_2", intent=2))
    assert payment_status(story.doc, story.now) is PaymentStatus.PAID


def test_status_of_a_prepared_intent_without_an_attempt_is_no_decline() -> None:
    """No attempt was made yet."""
    story = Story(created(), prepare=True)
    assert payment_status(story.doc, story.now) is PaymentStatus.PENDING
    assert payment_status(story.doc, present(story.doc.expires_at)) is PaymentStatus.EXPIRED


def test_reply_to_another_user_shows_nothing_of_the_order() -> None:
    """403 for a user who is not the owner, in any state of the order."""
    for story in (open_order(), paid(), awaiting(), open_order().decide(cancelled())):
        before = story.doc
        assert story.ask(user="user-2") is Denied.NOT_YOURS
        assert story.doc is before


def test_reply_on_a_cancelled_order_is_a_conflict_though_it_was_paid() -> None:
    """F21: the money goes back; no client may read that the order is paid."""
    story = paid().decide(cancelled())
    assert story.ask("tok_1") is Conflict.CANCELLED
    assert story.ask("tok_2") is Conflict.CANCELLED


def test_reply_where_nothing_stands_in_the_way_is_to_start() -> None:
    """The caller makes it an attempt; it is no reply by itself."""
    assert reply_to(open_order().doc, request(), T0) is Start.NEW_ATTEMPT
    assert reply_to(awaiting().doc, request("tok_2"), T0) is Start.SUPERSEDE
    assert reply_to(cancelling().doc, request("tok_2"), T0) is Start.AFTER_CANCEL


def test_reply_to_the_card_that_paid_is_paid_even_after_the_expiry() -> None:
    """The stored outcome, however often a client asks for it."""
    story = paid()
    assert reply_to(story.doc, request(), present(story.doc.expires_at)) == Paid(PAYMENT, ORDER, "ch_1")


def test_reply_to_a_declined_card_is_the_stored_answer() -> None:
    """402 again, without a request to Stripe (F15)."""
    story = confirming().decide(declined())
    before = story.doc
    reply = CardWasDeclined(PAYMENT, "insufficient_funds", "Your card has insufficient funds.", authentication=False)
    assert story.ask("tok_1") == reply
    assert story.doc is before


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("tok_1", InstrumentKind.TOKEN),
        ("pm_1", InstrumentKind.PAYMENT_METHOD),
        ("ctoken_1", InstrumentKind.CONFIRMATION_TOKEN),
    ],
)
@pytest.mark.parametrize("reason", [RefusalReason.TOKEN, RefusalReason.TOKEN_USED])
def test_reply_to_a_refused_instrument_names_its_field_and_the_order_stays_payable(
    token: str, kind: InstrumentKind, reason: RefusalReason
) -> None:
    """400, with the field; the client may try a new instrument."""
    story = Story(created(), request(token), refused(reason=reason))
    assert story.ask(token) == InstrumentRefused(kind, "No such token.")
    assert isinstance(story.ask("tok_2"), OutcomePending)


def test_reply_to_an_amount_that_stripe_refused() -> None:
    """F35: 422, with Stripe's own text."""
    assert confirming().decide(refused(reason=RefusalReason.AMOUNT)).ask() == AmountRefused("No such token.")


def test_reply_to_a_request_that_stripe_refused_shows_the_customer_no_internals() -> None:
    """422, with our own text: Stripe's names addresses and parameters, which are for an operator."""
    assert confirming().decide(refused(reason=RefusalReason.REQUEST)).ask() == AmountRefused(NOT_TRIED)


def test_reply_to_an_awaiting_card_depends_on_what_its_client_can_do() -> None:
    """Requires action where the request names how to authenticate; else pending, and pending once the order is over."""
    story = awaiting()
    assert story.ask() == RequiresAction(PAYMENT, ORDER)
    assert story.ask(authentication=Authentication(return_url="https://shop.example")) == RequiresAction(PAYMENT, ORDER)
    assert story.ask(authentication=NO_BROWSER) == OutcomePending(PAYMENT, ORDER)
    assert reply_to(story.doc, request(), present(story.doc.expires_at)) == OutcomePending(PAYMENT, ORDER)


def test_reply_while_the_intent_is_cancelled_is_pending_for_its_own_card() -> None:
    """The intent may have succeeded before."""
    story = cancelling()
    assert story.ask("tok_1") == OutcomePending(PAYMENT, ORDER)
    assert story.decide(retrieved_success()).ask("tok_1") == Paid(PAYMENT, ORDER, "ch_1", replayed=True)


@pytest.mark.parametrize(
    ("code", "decline_code", "authentication"),
    [
        ("card_declined", "insufficient_funds", False),
        ("card_declined", "authentication_required", True),
        ("authentication_required", None, True),
        ("payment_intent_authentication_failure", None, True),
        ("card_declined", "authentication_not_handled", True),
    ],
)
def test_decline_shows_whether_the_bank_wanted_the_customer(
    code: str, decline_code: str | None, authentication: bool
) -> None:
    """A client whose customer can authenticate has a reason to try again."""
    message = declined()
    failed = type(message)(ORDER, 1, 1, "pi_1", Failure(code, decline_code, "x"))
    assert confirming().decide(failed).ask() == CardWasDeclined(PAYMENT, decline_code, "x", authentication)


def test_decline_of_a_customer_who_failed_or_walked_away_shows_it() -> None:
    """Also for the core's own codes."""
    failed = of_kind(CardWasDeclined, exposed().ask())
    walked_away = of_kind(CardWasDeclined, awaiting().later(hours=24).decide(DUE, now_canceled()).ask())
    superseded = of_kind(CardWasDeclined, cancelling().decide(now_canceled()).ask())
    assert [reply.authentication for reply in (failed, walked_away, superseded)] == [True, True, False]
    assert walked_away.decline_code in AUTHENTICATION_CODES


def test_reply_to_a_charge_never_sent_in_time_is_expired() -> None:
    """F36: withheld past `expiresAt`."""
    story = Story(created(expires_at=SOON), request()).later(seconds=31).decide(withheld())
    assert story.ask("tok_1") is Conflict.EXPIRED


def test_reply_to_a_card_whose_order_ended_before_its_customer_came_is_expired() -> None:
    """409, as GET reports; 402 would ask for another card."""
    story = BY_STATE[S.CLOSED]()
    assert story.ask("tok_1") is Conflict.EXPIRED
    assert story.ask("tok_2") is Conflict.EXPIRED


def test_reply_to_a_charge_never_sent_on_an_order_that_is_open_still() -> None:
    """F38: the clock went back, the key's age was unknown, and no request was ever sent."""
    story = confirming().later(minutes=-10).decide(withheld())
    assert story.ask("tok_1") == CardWasDeclined(PAYMENT, "processing_error", NOT_COMPLETED)


def test_reply_to_a_card_whose_charge_was_given_back_by_hand_shows_that_nothing_was_kept() -> None:
    """The card is not charged a second time: another card may be."""
    story = given_back_by_hand()
    assert story.ask("tok_1") == CardWasDeclined(PAYMENT, "processing_error", NOT_COMPLETED)
    assert isinstance(story.ask("tok_2"), OutcomePending)


def test_reply_on_an_expired_order_with_a_new_card_is_expired() -> None:
    """409 from that instant on."""
    story = Story(created(expires_at=SOON)).later(seconds=30)
    assert story.ask() is Conflict.EXPIRED
    assert story.doc.attempts == ()


@pytest.mark.parametrize(("amount", "currency"), [(49, "usd"), (100_000_000, "usd"), (0, "jpy")])
def test_reply_to_an_amount_outside_stripes_limits_comes_before_stripe(amount: int, currency: str) -> None:
    """F35: 422, and no attempt begins."""
    story = Story(created(amount=amount, currency=currency))
    assert isinstance(story.ask(), AmountRefused)
    assert story.doc.attempts == ()


def test_reply_past_the_limit_of_attempts() -> None:
    """429 with a new card; the cards tried before keep their answers."""
    story = open_order()
    for number in range(1, ATTEMPTS_LIMIT + 1):
        assert isinstance(story.ask(f"tok_{number}"), OutcomePending)
        story.decide(declined(number))
    assert story.ask("tok_new") is Denied.TOO_MANY_ATTEMPTS
    assert isinstance(story.ask("tok_1"), CardWasDeclined)


def test_every_other_reason_to_refuse_another_card_comes_before_the_cancel() -> None:
    """Owner, expiry, limits: a request that is refused does not supersede an attempt that awaits its customer."""
    story = open_order()
    for number in range(1, ATTEMPTS_LIMIT):
        story.decide(request(f"tok_{number}"), declined(number))
    story.decide(request("tok_last"), action(ATTEMPTS_LIMIT))
    assert story.state(ATTEMPTS_LIMIT) is S.AWAITING
    assert story.ask("tok_new") is Denied.TOO_MANY_ATTEMPTS
    assert story.ask("tok_new", user="user-2") is Denied.NOT_YOURS
    assert story.dead().ask("tok_new") is Conflict.EXPIRED
    assert story.state(ATTEMPTS_LIMIT) is S.AWAITING


def test_reply_while_the_outcome_is_unknown_is_pending_and_never_failed() -> None:
    """F09: unclear, sent again, charged: pending, pending, paid."""
    story = confirming()
    assert story.decide(unclear()).ask() == OutcomePending(PAYMENT, ORDER)
    assert story.decide(unclear(send=2)).ask() == OutcomePending(PAYMENT, ORDER)
    assert story.decide(succeeded()).ask() == Paid(PAYMENT, ORDER, "ch_1", replayed=True)


def test_reply_while_a_bank_decides_is_the_awaiting_ones_without_a_secret() -> None:
    """Processing: the browser can do nothing; the ledger passes no secret on."""
    story = confirming().decide(action(processing=True))
    assert story.ask() == RequiresAction(PAYMENT, ORDER)
    assert story.decide(retrieved(PROCESSING)).ask() == RequiresAction(PAYMENT, ORDER)


@pytest.mark.parametrize("status", [REQUIRES_ACTION, REQUIRES_CARD])
def test_both_cards_of_a_superseded_attempt_keep_their_answers(status: IntentStatus) -> None:
    """The superseded card is declined, the other one pays."""
    story = retrieving().decide(retrieved(status))
    story.ask("tok_2")
    story.decide(now_canceled())
    story.ask("tok_2")
    story.decide(succeeded(intent=story.intent.number))
    assert isinstance(story.ask("tok_1"), CardWasDeclined)
    assert isinstance(story.ask("tok_2"), Paid)


def test_request_has_no_card_in_its_repr() -> None:
    """A message that is logged by mistake shows no card, and no address to return to."""
    shown = repr(request("tok_1", authentication=Authentication(return_url="https://secret.example")))
    assert "tok_1" not in shown
    assert "secret.example" not in shown


def test_hash_of_an_instrument_differs_by_kind() -> None:
    """An instrument's prefix gives its kind: one value never has two kinds."""
    assert len({instrument_hash(value) for value in ("tok_1", "pm_1", "ctoken_1")}) == 3
    assert BROWSER.possible
    assert not NO_BROWSER.possible
