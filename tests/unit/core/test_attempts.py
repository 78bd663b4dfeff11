"""The consequences of an attempt's state: its card, its sends, its refund."""

import pytest

from payment.core.attempts import renewed, returned, with_refund
from payment.core.effects import ConfirmIntent, FindRefund, RefundCharge
from payment.core.order import AttemptState, TaskKind
from payment.core.schedule import FIRST_BLOCKED_DELAY, FIRST_RESEND_DELAY, KEY_LIFE, LONGEST_RESEND_DELAY
from tests.unit.core.builders import (
    BY_STATE,
    CREATED_IS_OUT,
    T0,
    B,
    cancelled,
    confirming,
    present,
    refund_blocked,
    refund_error_stored,
    refund_not_found,
    refunded,
    refunding,
    succeeded,
    unclear,
)

S = AttemptState


@pytest.mark.parametrize("state", [state for state in S if state is not S.CONFIRMING])
def test_card_is_gone_once_it_can_be_sent_no_more(state: S) -> None:
    """Its hash stays, and answers repeated requests for ever."""
    attempt = BY_STATE[state]().attempt()
    assert attempt.instrument is None
    assert len(attempt.token_hash) == 64


def test_card_is_gone_from_a_cancelled_order() -> None:
    """No request may be sent for it any more."""
    assert confirming().decide(cancelled()).attempt().instrument is None


def test_card_is_in_no_repr() -> None:
    """A document that is logged by mistake shows no card."""
    story = confirming()
    shown = repr(story.attempt()) + repr(story.doc) + repr(story.one(ConfirmIntent)) + repr(story.attempt().instrument)
    assert "tok_1" not in shown


def test_second_send_waits_a_little() -> None:
    """By then Stripe has most likely stored the lost answer under the key."""
    story = confirming().later(seconds=8).decide(unclear())
    assert story.one(ConfirmIntent).not_before == story.now + FIRST_RESEND_DELAY
    assert (story.attempt().first_sent, story.attempt().last_sent) == (T0, story.now)


def test_age_of_an_attempt_guards_every_send_of_it() -> None:
    """Each send's last instant is that of the first send."""
    story = confirming()
    for send in range(1, 8):
        assert story.one(ConfirmIntent).not_after == T0 + KEY_LIFE
        story.later(minutes=1).decide(unclear(send))
    assert story.one(ConfirmIntent).not_before == story.now + LONGEST_RESEND_DELAY


def test_settled_is_when_an_attempt_was_settled_first() -> None:
    """A charge that is given back later was paid when it was paid."""
    story = confirming().later(seconds=3).decide(succeeded())
    settled = story.now
    story.decide(CREATED_IS_OUT).later(hours=1).decide(cancelled()).later(hours=1).decide(refunded())
    assert (story.state(), story.attempt().settled) == (S.REFUNDED, settled)


def test_third_refund_key_waits() -> None:
    """F23: a Stripe that stores an error for each new refund key gets ever fewer requests."""
    story = refunding()
    for number in (1, 2):
        story.decide(refund_error_stored(number=number), refund_not_found(number=number))
    assert story.owed(RefundCharge) == []
    assert story.doc.due == story.now + FIRST_BLOCKED_DELAY
    assert story.due().one(RefundCharge).key == "refund-ch_1-3"
    story.decide(refund_error_stored(number=3), refund_not_found(number=3))
    assert story.doc.due == story.now + 2 * FIRST_BLOCKED_DELAY


def test_refund_taken_over_goes_on_under_the_same_key() -> None:
    """F23: it is retried with its own key."""
    assert refunding().due(by=B).one(RefundCharge).key == "refund-ch_1-1"


def test_retrieval_of_a_refund_taken_over_goes_on() -> None:
    """The key can bring nothing any more."""
    assert refunding().decide(refund_error_stored()).due(by=B).one(FindRefund).key == "refund-ch_1-1"


def test_error_replayed_for_a_blocked_refunds_key_is_retrieved_now() -> None:
    """F44: blocked, and another process has sent the key again meanwhile."""
    story = refund_blocked().decide(refund_error_stored())
    assert (story.state(), story.one(FindRefund).key) == (S.BLOCKED, "refund-ch_1-1")


def test_next_refund_key_remembers_how_often_it_was_blocked() -> None:
    """F44: ever more slowly: the next key keeps the count."""
    story = refund_blocked()
    refund = present(with_refund(story.attempt(), story.context()).refund)
    assert (refund.key, refund.number, refund.blocked, refund.id) == ("refund-ch_1-2", 2, 1, None)


def test_task_of_no_process_or_of_another_is_neither_returned_nor_renewed() -> None:
    """Only the process that has an effect in flight can return or renew it."""
    story = confirming()
    task, other = present(story.intent.task), story.context(B)
    assert (returned(task, other), renewed(task, other)) == (task, task)
    assert (returned(None, other), renewed(None, other)) == (None, None)
    assert task.kind is TaskKind.CONFIRM
