"""What a person is told, as a function of the written document."""

from datetime import timedelta

import pytest

from payment.core.messages import Evidence, RefusalReason
from payment.core.order import ATTEMPTS_LIMIT, AttemptState
from payment.core.replies import (
    NOT_COMPLETED,
    NOT_TRIED,
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    Paid,
    PaymentStatus,
    Pending,
    Start,
    TokenRefused,
    payment_status,
    reply_to,
)
from tests.core.builders import (
    BY_STATE,
    ORDER,
    PAYMENT,
    T0,
    Story,
    abandoned,
    cancelled,
    charged,
    charging,
    closed,
    created,
    declined,
    found,
    open_order,
    paid,
    refused,
    request,
    unclear,
    with_error_stored,
    withheld,
)

S = AttemptState
SOON = T0 + timedelta(seconds=30)

STATUS = {
    S.CHARGING: PaymentStatus.PENDING,
    S.ERROR_STORED: PaymentStatus.PENDING,
    S.DECLINED: PaymentStatus.DECLINED,
    S.REFUSED: PaymentStatus.DECLINED,
    S.ABANDONED: PaymentStatus.DECLINED,
    S.CLOSED: PaymentStatus.DECLINED,
    S.PAID: PaymentStatus.PAID,
    S.REFUNDING: PaymentStatus.REFUNDING,
    S.BLOCKED: PaymentStatus.REFUNDING,
    S.REFUNDED: PaymentStatus.REFUNDED,
}


@pytest.mark.parametrize("state", S)
def test_status_of_a_payment_follows_its_attempts(state):
    """What GET says in each state; a blocked refund is never called done (F44)."""
    story = BY_STATE[state]()
    assert payment_status(story.doc, story.now) is STATUS[state]


@pytest.mark.parametrize("state", [S.DECLINED, S.REFUSED, S.ABANDONED, S.CLOSED])
def test_status_past_the_expiry_is_expired(state):
    """Nothing was kept, and nobody can pay it any more."""
    story = BY_STATE[state]()
    assert payment_status(story.doc, story.doc.expires_at) is PaymentStatus.EXPIRED


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (S.CHARGING, PaymentStatus.PENDING),
        (S.ERROR_STORED, PaymentStatus.PENDING),
        (S.DECLINED, PaymentStatus.CANCELLED),
        (S.ABANDONED, PaymentStatus.CANCELLED),
        (S.PAID, PaymentStatus.REFUNDING),
        (S.REFUNDED, PaymentStatus.REFUNDED),
    ],
)
def test_status_of_a_cancelled_order_tells_what_becomes_of_the_money(state, status):
    """F24: an outcome not known is pending, also after a cancel."""
    story = BY_STATE[state]().tell(cancelled())
    assert payment_status(story.doc, story.now) is status


def test_status_counts_a_stray_that_is_not_given_back_yet():
    """A second charge on its way back: the order is not done with."""
    story = charging().tell(cancelled(), charged("ch_9", 7), withheld())
    assert payment_status(story.doc, story.now) is PaymentStatus.REFUNDING


def test_reply_to_somebody_else_tells_nothing_of_the_order():
    """403 for a stranger, whatever became of the order."""
    for story in (open_order(), paid(), open_order().tell(cancelled())):
        assert story.ask(user="user-2") is Denied.NOT_YOURS


def test_reply_where_nothing_stands_in_the_way_is_to_start():
    """The caller makes it an attempt; it is no answer by itself."""
    assert reply_to(open_order().doc, request(), T0) is Start.NEW_ATTEMPT


def test_reply_to_the_token_that_paid_is_paid_even_after_the_expiry():
    """The stored truth, as often as it is asked for."""
    story = paid()
    assert reply_to(story.doc, request(), story.doc.expires_at) == Paid(PAYMENT, ORDER, "ch_1")


def test_reply_to_a_declined_token_is_the_stored_answer():
    """402 again, and Stripe is not asked (F15)."""
    story = charging().tell(declined())
    before = story.doc
    assert story.ask("tok_1") == CardWasDeclined("insufficient_funds", "Your card has insufficient funds.")
    assert story.doc is before


@pytest.mark.parametrize("reason", [RefusalReason.TOKEN, RefusalReason.TOKEN_USED])
def test_reply_to_a_refused_token_names_the_token_and_the_order_stays_payable(reason):
    """400, field token; a new one may be tried."""
    story = charging().tell(refused(reason=reason))
    assert story.ask("tok_1") == TokenRefused("No such token.")
    assert isinstance(story.ask("tok_2"), Pending)


def test_reply_to_an_amount_that_stripe_refused():
    """F35: 422, Stripe's own words."""
    assert charging().tell(refused(reason=RefusalReason.AMOUNT)).ask() == AmountRefused("No such token.")


def test_reply_to_a_request_that_stripe_refused_tells_the_customer_nothing_of_our_insides():
    """422, our own words: Stripe's name addresses and parameters, and go to who mends them."""
    assert charging().tell(refused(reason=RefusalReason.REQUEST)).ask() == AmountRefused(NOT_TRIED)


@pytest.mark.parametrize("story", [abandoned, closed])
def test_reply_where_no_charge_was_ever_found_says_that_nothing_was_kept(story):
    """F12: settled by an empty list; the token can't be used again."""
    assert story().ask("tok_1") == CardWasDeclined("processing_error", NOT_COMPLETED)


def test_reply_to_a_charge_that_landed_too_late_stays_what_it_was():
    """F18: who was told that nothing was kept is told so still, for it is given back."""
    story = abandoned().tell(charged())
    assert story.ask("tok_1") == CardWasDeclined("processing_error", NOT_COMPLETED)


def test_reply_to_a_charge_never_sent_in_time_is_expired():
    """F36: withheld past `expiresAt`."""
    story = Story(created(expires_at=SOON), request()).later(seconds=31).tell(withheld())
    assert story.ask("tok_1") is Conflict.EXPIRED


def test_reply_to_a_charge_never_sent_on_an_order_that_is_open_still():
    """F38: the clock went back, the key's age was unknown, and nothing was ever sent."""
    story = charging().later(minutes=-10).tell(withheld())
    assert story.ask("tok_1") == CardWasDeclined("processing_error", NOT_COMPLETED)


def test_reply_on_an_expired_order_with_a_new_token_is_expired():
    """409 from the very instant on."""
    story = Story(created(expires_at=SOON)).later(seconds=30)
    assert story.ask() is Conflict.EXPIRED
    assert story.doc.attempts == ()


@pytest.mark.parametrize(("amount", "currency"), [(49, "usd"), (100_000_000, "usd"), (0, "jpy")])
def test_reply_to_an_amount_outside_stripes_limits_comes_before_stripe(amount, currency):
    """F35: 422, and no attempt is made."""
    story = Story(created(amount=amount, currency=currency))
    assert isinstance(story.ask(), AmountRefused)
    assert story.doc.attempts == ()


@pytest.mark.parametrize("story", [charging, with_error_stored])
def test_reply_to_another_token_while_an_attempt_is_unsettled(story):
    """Whatever is known of the first attempt: until it is settled, no second one begins beside it (F12)."""
    assert story().ask("tok_2") is Conflict.UNDER_WAY


def test_reply_past_the_limit_of_attempts():
    """429 with a new token; the tokens tried before keep their answers."""
    story = open_order()
    for number in range(1, ATTEMPTS_LIMIT + 1):
        assert isinstance(story.ask(f"tok_{number}"), Pending)
        story.tell(declined(number))
    assert story.ask("tok_new") is Denied.TOO_MANY_ATTEMPTS
    assert isinstance(story.ask("tok_1"), CardWasDeclined)


def test_reply_while_the_outcome_is_unknown_is_pending_and_never_failed():
    """F09: unclear, looked for, found: pending, pending, paid."""
    story = charging()
    assert story.tell(unclear()).ask() == Pending(PAYMENT, ORDER)
    assert story.tell(unclear(send=2)).ask() == Pending(PAYMENT, ORDER)
    assert story.tell(found(Evidence.PROBE, ("ch_1", 1))).ask() == Paid(PAYMENT, ORDER, "ch_1", replayed=True)


def test_request_tells_no_token_in_its_repr():
    """A letter that is logged by mistake tells no card."""
    assert "tok_1" not in repr(request("tok_1"))
