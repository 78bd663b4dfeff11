"""What follows from an attempt's state: its task, its token, its refund."""

import pytest

from payment.core.attempts import moved, renewed, returned, with_refund
from payment.core.effects import ChargeCard, FindCharges, FindRefund, RefundCharge
from payment.core.messages import Evidence
from payment.core.order import AttemptState, TaskKind, Trigger
from payment.core.schedule import (
    FIRST_BLOCKED_DELAY,
    FIRST_RESEND_DELAY,
    REQUEST_LIFE,
    SHORTEST_LOOK_DELAY,
    STORED_LOOK_DELAY,
)
from tests.core.builders import (
    A_AGAIN,
    BY_STATE,
    CREATED_IS_OUT,
    DUE,
    T0,
    A,
    B,
    abandoned,
    cancelled,
    charged,
    charging,
    found,
    refund_blocked,
    refund_error_stored,
    refund_not_found,
    refunded,
    refunding,
    unclear,
    with_error_stored,
    withheld,
)

S = AttemptState


@pytest.mark.parametrize("state", [state for state in S if state is not S.CHARGING])
def test_token_is_gone_once_it_can_be_sent_no_more(state):
    """Its hash stays and answers for ever."""
    attempt = BY_STATE[state]().attempt()
    assert attempt.token is None
    assert len(attempt.token_hash) == 64


def test_token_is_in_no_repr():
    """A document that is logged by mistake tells no card."""
    story = charging()
    assert "tok_1" not in repr(story.attempt()) + repr(story.doc) + repr(story.one(ChargeCard))


def test_second_send_waits_a_little():
    """The answer that was lost is most likely stored under the key by then."""
    story = charging().later(seconds=8).tell(unclear())
    assert story.one(ChargeCard).not_before == story.now + FIRST_RESEND_DELAY
    assert (story.attempt().first_sent, story.attempt().last_sent) == (T0, story.now)


def test_new_run_of_a_process_takes_its_own_clients_work_at_once_and_looks_first():
    """F04: `holder` is the client id; another client waits until the lease is over."""
    story = charging().later(seconds=1).tell(DUE, by=B)
    assert len(story.owed(ChargeCard)) == 1
    assert story.tell(DUE, by=A_AGAIN).one(FindCharges).evidence is Evidence.PROBE


def test_look_that_was_lost_is_repeated_before_anything_is_sent():
    """Who took an attempt over looks first, though its own look ran out of time (F34)."""
    story = charging().due(by=B).due(by=B)
    assert story.one(FindCharges).evidence is Evidence.PROBE


def test_look_of_another_process_moves_nothing_along():
    """Only the holder of a look goes on to the next send: two must not both count one."""
    story = charging().due(by=B)
    before = story.doc
    assert story.tell(found(Evidence.PROBE), by=A).doc is before


def test_send_that_was_withheld_takes_no_look_out_of_anybodys_hands():
    """Its word may come late, when the attempt is looked for already."""
    story = charging().due(by=B)
    before = story.doc
    assert story.tell(withheld(), by=B).doc is before


def test_settled_says_when_an_attempt_was_settled_first():
    """What is given back later was paid when it was paid."""
    story = charging().later(seconds=3).tell(charged())
    settled = story.now
    story.tell(CREATED_IS_OUT).later(hours=1).tell(cancelled()).later(hours=1).tell(refunded())
    assert (story.state(), story.attempt().settled) == (S.REFUNDED, settled)


def test_stored_look_waits_a_minute_after_the_error_was_learnt():
    """F12: an empty list counts a minute or more after the last send, no earlier."""
    story = with_error_stored().tell(found(Evidence.PROBE))
    assert story.doc.due == story.now + STORED_LOOK_DELAY
    assert story.due().one(FindCharges).evidence is Evidence.STORED


def test_stored_look_waits_no_longer_where_the_clock_went_back():
    """F38: a minute by the clock there is, not by one that was wrong."""
    story = with_error_stored().later(hours=-40).tell(found(Evidence.PROBE))
    assert story.doc.due == story.now + STORED_LOOK_DELAY


def test_error_stored_past_its_minute_is_looked_for_again_and_again():
    """A probe that is answered late leads on to the stored look."""
    story = with_error_stored().later(seconds=70).tell(found(Evidence.PROBE))
    assert story.doc.due > story.now
    assert story.due().one(FindCharges).evidence is Evidence.STORED


def test_key_of_unknown_age_is_never_sent_again():
    """F38: a clock that went back leaves nobody who knows how old the key is."""
    story = charging().later(days=-365).tell(DUE)
    assert story.attempt().token is None
    assert story.one(FindCharges).evidence is Evidence.PROBE
    story.tell(found(Evidence.PROBE))
    assert (story.owed(FindCharges), story.doc.due) == ([], story.now + SHORTEST_LOOK_DELAY), "nor looked for at once"
    story.later(days=365).tell(DUE)
    assert story.owed(ChargeCard) == []
    assert story.tell(found(Evidence.PROBE)).grown_old().tell(found(Evidence.FINAL)).state() is S.CLOSED


def test_old_age_seen_before_the_clock_went_back_counts_no_more():
    """F38: two looks agree that a key is old only if no look between them doubted the clock."""
    story = charging().later(days=2).due().tell(found(Evidence.PROBE)).later(days=-3).tell(DUE)
    assert story.attempt().unsendable_since is None
    assert story.later(days=5).tell(DUE).one(FindCharges).evidence is Evidence.PROBE


def test_key_is_old_from_the_instant_at_which_it_is_young_no_more():
    """F17: the look that is asked for at that very time begins the wait for the final one."""
    story = charging()
    story.now = story.attempt().not_after
    assert story.tell(DUE).attempt().unsendable_since == story.now


def test_third_refund_key_waits():
    """F23: a Stripe that stores an error for each new refund key is asked ever more rarely."""
    story = refunding()
    for number in (1, 2):
        story.tell(refund_error_stored(number=number), refund_not_found(number=number))
    assert story.owed(RefundCharge) == []
    assert story.doc.due == story.now + FIRST_BLOCKED_DELAY
    assert story.due().one(RefundCharge).key == "refund-ch_1-3"
    story.tell(refund_error_stored(number=3), refund_not_found(number=3))
    assert story.doc.due == story.now + 2 * FIRST_BLOCKED_DELAY


def test_key_is_not_sent_by_a_clock_a_year_ahead():
    """F38: it counts as old."""
    story = charging().later(days=365).tell(unclear())
    assert story.owed(ChargeCard) == []


def test_final_look_comes_only_when_no_request_can_be_executing():
    """The last allowed send, and the longest life of a request after it (F17)."""
    story = charging()
    while story.state() is S.CHARGING:
        look = story.due().owed(FindCharges)
        final = story.now >= story.attempt().not_after + REQUEST_LIFE
        assert [effect.evidence is Evidence.FINAL for effect in look] in ([final], [])
        story.tell(*(found(effect.evidence) for effect in look))
    assert story.state() is S.CLOSED


def test_refund_taken_over_goes_on_under_the_same_key():
    """F23: retried with its own key."""
    story = refunding()
    assert story.due(by=B).one(RefundCharge).key == "refund-ch_1-1"


def test_look_at_a_refund_taken_over_goes_on_looking():
    """Its key can bring nothing any more."""
    story = refunding().tell(refund_error_stored())
    assert story.due(by=B).one(FindRefund).key == "refund-ch_1-1"


def test_error_replayed_for_a_blocked_refunds_key_is_looked_at_now():
    """F44: blocked, and somebody sent the key again meanwhile."""
    story = refund_blocked().tell(refund_error_stored())
    assert (story.state(), story.one(FindRefund).key) == (S.BLOCKED, "refund-ch_1-1")


def test_next_refund_key_remembers_how_often_it_was_blocked():
    """F44: slowly, and slower: the count goes over to the next key."""
    attempt = refund_blocked().attempt()
    refund = with_refund(attempt, refund_blocked().moment()).refund
    assert (refund.key, refund.number, refund.blocked, refund.id) == ("refund-ch_1-2", 2, 1, None)


def test_cancel_leaves_a_watch_as_it_is():
    """F18: an abandoned attempt is watched on a cancelled order too."""
    story = abandoned()
    after = moved(story.doc, story.attempt(), Trigger.CANCELLED, story.moment())
    assert after == story.attempt()


def test_task_of_nobody_or_of_another_is_neither_returned_nor_renewed():
    """Only who has a thing in hand can say that it has."""
    story = charging()
    task, other = story.attempt().task, story.moment(B)
    assert (returned(task, other), renewed(task, other)) == (task, task)
    assert (returned(None, other), renewed(None, other)) == (None, None)
    assert (task.kind, task.holder) == (TaskKind.CHARGE, A)
