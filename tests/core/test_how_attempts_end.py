"""The design's table "How an attempt ends": one test for each of its rows, in its order."""

from datetime import timedelta

import pytest

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, ChargeCard, FindCharges, FindRefund, RefundCharge
from payment.core.messages import Evidence
from payment.core.order import AttemptState
from payment.core.pending import pending
from payment.core.replies import Conflict, Pending, token_hash
from payment.core.schedule import KEY_LIFE, REQUEST_LIFE
from tests.core.builders import (
    A_AGAIN,
    BY_STATE,
    CREATED_IS_OUT,
    DUE,
    ORDER,
    PAYMENT,
    REFUNDED_IS_OUT,
    T0,
    VERSION,
    A,
    B,
    Story,
    abandoned,
    blocked,
    cancelled,
    charged,
    charging,
    created,
    declined,
    error_stored,
    final_look,
    found,
    given_back,
    open_order,
    paid,
    refund_blocked,
    refund_error_stored,
    refund_not_found,
    refunded,
    refunding,
    refused,
    request,
    unclear,
    unclear_once,
    with_error_stored,
)

S = AttemptState
SETTLED = [S.DECLINED, S.REFUSED, S.ABANDONED, S.CLOSED]


def test_charge_requested_on_an_open_order_begins_charging():
    """Sends 1, key and all parameters stored, and one charge pending that says exactly them (F04)."""
    story = open_order()
    assert story.ask("tok_1") == Pending(PAYMENT, ORDER)
    attempt, effect = story.attempt(), story.one(ChargeCard)
    assert (attempt.state, attempt.sends, attempt.token, attempt.token_hash) == (
        S.CHARGING,
        1,
        "tok_1",
        token_hash("tok_1"),
    )
    assert (effect.key, effect.amount, effect.currency, effect.token) == (attempt.key, 1999, "usd", "tok_1")
    assert (effect.api_version, effect.send, effect.not_after) == (VERSION, 1, T0 + KEY_LIFE)


def test_unclear_send_of_a_young_key_is_counted_and_sent_again():
    """Charging, unclear: sends + 1 on paper, then the same key and parameters again (F09, F10, F11)."""
    story = charging()
    first = story.one(ChargeCard)
    again = story.tell(unclear()).one(ChargeCard)
    assert (story.state(), again.send) == (S.CHARGING, 2)
    assert (again.key, again.token, again.not_after) == (first.key, first.token, first.not_after)


def test_due_charge_of_a_young_key_on_a_payable_order_is_sent_again():
    """Charging, `Due`, young, payable: its own process counts one more send and makes it."""
    story = charging().due()
    assert (story.state(), story.one(ChargeCard).send) == (S.CHARGING, 2)


def test_due_charge_of_a_cancelled_order_is_looked_for_and_never_sent():
    """Charging, `Due`, cancelled: a look, and no charge effect however often it becomes due (F20, F24)."""
    story = charging().tell(cancelled())
    for _ in range(5):
        story.due().tell(found(Evidence.PROBE))
        assert (story.state(), story.owed(ChargeCard)) == (S.CHARGING, [])


def test_due_charge_of_an_expired_order_is_looked_for_and_never_sent():
    """Charging, `Due`, past `expiresAt`: a look (F36)."""
    story = Story(created(expires_at=T0 + timedelta(seconds=30)), request()).due()
    assert (story.state(), story.one(FindCharges).evidence) == (S.CHARGING, Evidence.PROBE)


def test_due_charge_of_an_old_key_is_looked_for_as_final_and_never_sent():
    """Charging, `Due`, old: nothing of it can be executing, so the list is asked as final (F17)."""
    story = charging().later(days=1).due().tell(found(Evidence.PROBE))
    assert story.attempt().unsendable_since == story.now
    old_at = story.now
    for hours in (6, 12, 18, 24):
        assert story.due().one(FindCharges).evidence is Evidence.PROBE
        assert story.now - old_at == timedelta(hours=hours)
        story.tell(found(Evidence.PROBE))
    assert story.due().one(FindCharges).evidence is Evidence.FINAL
    assert story.now - old_at == REQUEST_LIFE


def test_a_look_that_comes_hours_late_begins_the_wait_anew():
    """F38: sent by a clock that was days behind, seen old by one less so: a right one proves nothing then."""
    story = charging().later(days=1).due().tell(found(Evidence.PROBE))
    story.later(hours=12).tell(DUE)
    assert story.attempt().unsendable_since == story.now - timedelta(hours=12), "six hours late: somebody was away"
    story.tell(found(Evidence.PROBE)).later(hours=12, seconds=1).tell(DUE)
    assert story.attempt().unsendable_since == story.now
    assert story.one(FindCharges).evidence is Evidence.PROBE
    assert story.tell(found(Evidence.PROBE)).later(days=7).tell(DUE).one(FindCharges).evidence is Evidence.PROBE
    assert story.tell(found(Evidence.PROBE)).grown_old().tell(found(Evidence.FINAL)).state() is S.CLOSED


def test_one_look_by_a_clock_that_is_ahead_closes_nothing():
    """Charging, `Due`, by a clock a year ahead: looked for; what it saw counts for nothing later (F38)."""
    story = charging().later(days=365).tell(DUE, found(Evidence.PROBE)).later(days=-364)
    story.tell(DUE)
    assert story.one(FindCharges).evidence is Evidence.PROBE
    assert story.attempt().unsendable_since == story.now
    assert story.tell(charged()).state() is S.PAID


def test_first_look_by_whatever_clock_is_no_final_one():
    """Charging, `Due`, a year after its key grew old: nobody has seen it old before, so it proves nothing (F38)."""
    assert charging().later(days=365).tell(DUE).one(FindCharges).evidence is Evidence.PROBE
    assert with_error_stored().later(days=365).tell(DUE).one(FindCharges).evidence is not Evidence.FINAL


def test_key_between_young_and_old_is_neither_sent_nor_judged():
    """Past 23 hours a key is not sent; until 25 hours later an empty list proves nothing (F17)."""
    story = charging().later(hours=23).due()
    assert story.one(FindCharges).evidence is Evidence.PROBE
    story.tell(found(Evidence.PROBE))
    assert (story.state(), story.owed(ChargeCard)) == (S.CHARGING, [])


def test_declined_attempt_is_declined_and_owes_nothing():
    """Charging, declined: Stripe stores it for the key, so it is settled (F15)."""
    story = charging().tell(declined())
    assert (story.state(), story.attempt().decline_code, pending(story.doc)) == (S.DECLINED, "insufficient_funds", ())


def test_refusal_of_the_only_send_settles():
    """Charging, refused, sends is 1 and it is that send's answer: refused."""
    story = charging().tell(refused(send=1))
    assert (story.state(), pending(story.doc)) == (S.REFUSED, ())


def test_refusal_of_the_second_send_is_no_proof_about_the_first():
    """It proves nothing about the earlier send: error stored, looked for (faults.md, its last line)."""
    story = unclear_once().tell(refused(send=2))
    assert (story.state(), story.one(FindCharges).evidence) == (S.ERROR_STORED, Evidence.PROBE)
    assert story.tell(charged()).state() is S.PAID


def test_refusal_of_the_first_send_after_a_second_was_counted_changes_nothing():
    """The first refusal comes late: the second send is on its way, and its answer is the one to wait for."""
    story = unclear_once()
    before = story.doc
    assert story.tell(refused(send=1)).doc is before


def test_error_replayed_for_the_key_is_looked_for_as_stored():
    """Charging, a 500 replayed: error stored; a look at once, and one as stored a minute later (F12)."""
    story = charging().later(seconds=5).tell(error_stored())
    assert (story.state(), story.attempt().token) == (S.ERROR_STORED, None)
    story.tell(found(Evidence.PROBE)).due()
    assert story.one(FindCharges).evidence is Evidence.STORED
    assert story.now >= T0 + timedelta(seconds=65)


def test_error_stored_by_a_clock_that_was_days_ahead_is_judged_within_minutes():
    """Its last send lies in the future: a minute counts from the first look by a right clock (F12, F38)."""
    story = with_error_stored().later(days=-3)
    story.tell(found(Evidence.PROBE)).due()
    assert story.tell(DUE).one(FindCharges).evidence is Evidence.PROBE
    story.tell(found(Evidence.PROBE)).due()
    assert story.tell(DUE).one(FindCharges).evidence is Evidence.STORED
    assert story.tell(found(Evidence.STORED)).state() is S.ABANDONED


def test_look_taken_over_within_the_minute_after_a_stored_error_proves_nothing():
    """Error stored, its look left by an earlier run: the next one asks at once, and not yet as stored (F12)."""
    story = with_error_stored().later(seconds=59).tell(DUE, by=A_AGAIN)
    assert story.one(FindCharges).evidence is Evidence.PROBE
    assert story.tell(found(Evidence.PROBE), by=A_AGAIN).state() is S.ERROR_STORED


@pytest.mark.parametrize("state", [S.CHARGING, S.ERROR_STORED])
@pytest.mark.parametrize("message", [charged(), found(Evidence.PROBE, ("ch_1", 1))], ids=["charged", "found"])
def test_charge_on_a_payable_order_is_kept_and_published(state, message):
    """Charging or error stored, charged or found: paid, payment:created is owed (F05, F09)."""
    story = BY_STATE[state]().tell(message)
    assert (story.state(), story.doc.kept, story.attempt().charge_id) == (S.PAID, story.attempt(), "ch_1")
    (item,) = pending(story.doc)
    assert (item.effect.subject, item.effect.stripe_id) == (PAYMENT_CREATED, "ch_1")


@pytest.mark.parametrize("state", [S.CHARGING, S.ERROR_STORED])
@pytest.mark.parametrize("message", [charged(), found(Evidence.PROBE, ("ch_1", 1))], ids=["charged", "found"])
def test_charge_on_a_cancelled_order_is_given_back(state, message):
    """Charging or error stored, charged or found on a cancelled order: refunding (F20, F24)."""
    story = BY_STATE[state]().tell(cancelled(), message)
    assert (story.state(), story.doc.kept, story.one(RefundCharge).charge_id) == (S.REFUNDING, None, "ch_1")


def test_empty_list_asked_as_stored_abandons_and_the_order_is_payable_again():
    """Error stored, empty list asked as stored: abandoned, watched, the order payable with a new token (F12)."""
    story = abandoned()
    assert story.state() is S.ABANDONED
    assert isinstance(story.ask("tok_2"), Pending)
    assert story.state(2) is S.CHARGING


def test_abandoned_attempt_is_watched_until_it_is_old_and_then_closed():
    """Abandoned: looks at ever longer intervals, the last one as final (F18)."""
    story = abandoned()
    while story.state() is S.ABANDONED:
        evidence = story.due().one(FindCharges).evidence
        story.tell(found(evidence))
    assert (story.state(), evidence, pending(story.doc)) == (S.CLOSED, Evidence.FINAL, ())
    assert story.now >= story.attempt().not_after + REQUEST_LIFE


@pytest.mark.parametrize("state", [S.CHARGING, S.ERROR_STORED, S.ABANDONED])
def test_empty_list_asked_as_final_closes(state):
    """Charging, error stored, abandoned; empty list asked as final: closed, nothing owed."""
    story = BY_STATE[state]().grown_old()
    assert story.one(FindCharges).evidence is Evidence.FINAL
    assert story.tell(found(Evidence.FINAL)).state() is S.CLOSED
    assert pending(story.doc) == ()


def test_list_of_other_charges_is_an_empty_one():
    """What a list lacks is this attempt's own charge, whatever else it shows: another attempt's, or a stray."""
    story = final_look().tell(found(Evidence.FINAL, ("ch_stray", 7)))
    assert (story.state(), story.doc.strays[0].charge_id) == (S.CLOSED, "ch_stray")


@pytest.mark.parametrize("state", SETTLED)
@pytest.mark.parametrize("message", [charged(), found(Evidence.PROBE, ("ch_1", 1))], ids=["charged", "found"])
def test_charge_of_a_settled_attempt_is_given_back(state, message):
    """Declined, refused, abandoned, closed; charged or found after all: refunding, never kept (F18, F34)."""
    story = BY_STATE[state]().tell(message)
    assert (story.state(), story.doc.kept, story.one(RefundCharge).charge_id) == (S.REFUNDING, None, "ch_1")


def test_paid_attempt_of_an_order_that_is_cancelled_is_given_back():
    """Paid, order cancelled: refunding, under a refund key of its own (F21)."""
    story = paid().tell(CREATED_IS_OUT, cancelled())
    assert story.state() is S.REFUNDING
    assert story.one(RefundCharge).key == "refund-ch_1-1" != story.attempt().key


def test_refund_done_on_a_cancelled_order_is_published():
    """Refunding, refunded (or already so: its id): refunded, payment:refunded is owed (F21)."""
    story = given_back()
    (item,) = pending(story.doc)
    assert (story.state(), item.effect.subject, item.effect.refund_id) == (S.REFUNDED, PAYMENT_REFUNDED, "re_1")
    assert pending(story.tell(REFUNDED_IS_OUT).doc) == ()


def test_refund_done_on_a_paid_order_is_nobodys_event():
    """A stray charge that is given back on a paid order: no event for it (F18)."""
    story = abandoned().tell(request("tok_2"), charged("ch_2", 2), CREATED_IS_OUT, charged("ch_1", 1), refunded("ch_1"))
    assert (story.state(1), story.state(2)) == (S.REFUNDED, S.PAID)
    assert [event.subject for event in story.doc.outbox] == [PAYMENT_CREATED]


def test_refund_done_on_an_open_order_is_nobodys_event():
    """A late charge is given back while the order is still to be paid: its payment is yet to come (F18)."""
    story = BY_STATE[S.DECLINED]().tell(charged("ch_late"), refunded("ch_late"))
    assert (story.state(), story.doc.outbox, story.doc.due) == (S.REFUNDED, (), None)
    story.ask("tok_2")
    story.tell(charged("ch_2", attempt=2), CREATED_IS_OUT, cancelled(), refunded("ch_2", "re_2"))
    assert [(event.subject, event.stripe_id) for event in story.doc.outbox][1:] == [(PAYMENT_REFUNDED, "ch_2")]


def test_error_replayed_for_the_refunds_key_looks_at_the_charge():
    """Refunding, a 500 replayed for its key: look at the charge; not refunded: the next refund key (F23)."""
    story = refunding().tell(refund_error_stored())
    assert story.one(FindRefund).key == "refund-ch_1-1"
    assert story.tell(refund_not_found()).one(RefundCharge).key == "refund-ch_1-2"
    assert story.state() is S.REFUNDING


def test_error_replayed_for_the_refunds_key_though_it_was_done():
    """Refunding, a 500 replayed; the look finds it given back: refunded, and no second refund (F23)."""
    assert refunding().tell(refund_error_stored(), refunded()).state() is S.REFUNDED


def test_blocked_refund_is_tried_again_slowly():
    """Refunding, failed, disputed or pending: blocked; later a look, then the next key (F44)."""
    story = refund_blocked()
    assert (story.state(), story.owed(RefundCharge)) == (S.BLOCKED, [])
    assert story.doc.due == T0 + timedelta(minutes=1)
    assert isinstance(story.due().one(FindRefund), FindRefund)
    story.tell(refund_not_found())
    assert (story.state(), story.one(RefundCharge).key) == (S.REFUNDING, "refund-ch_1-2")
    story.tell(blocked())
    assert story.doc.due == story.now + timedelta(minutes=2)


def test_outcome_is_judged_by_its_own_attempts_number():
    """Any, an outcome with another attempt's number: it settles that one and leaves this one alone."""
    story = abandoned().tell(request("tok_2"), declined(attempt=2))
    assert (story.state(1), story.state(2)) == (S.ABANDONED, S.DECLINED)
    story.tell(request("tok_3"), declined(attempt=1), error_stored(attempt=1), unclear(attempt=1), refused(attempt=1))
    assert (story.state(1), story.state(3)) == (S.ABANDONED, S.CHARGING)


def test_empty_list_asked_before_the_evidence_and_applied_after_proves_nothing():
    """Asked as probe, then an error is stored, a minute passes, then it arrives: judged by its tag (faults.md)."""
    story = with_error_stored().later(minutes=5)
    assert story.tell(found(Evidence.PROBE)).state() is S.ERROR_STORED
    assert story.later(days=3).tell(found(Evidence.PROBE)).state() is S.ERROR_STORED


def test_list_asked_as_stored_is_no_final_proof_however_late_it_comes():
    """Its own tag, never the clock at which it arrives: three days later it still only abandons."""
    story = with_error_stored().tell(found(Evidence.PROBE)).due().later(days=3)
    assert story.tell(found(Evidence.STORED)).state() is S.ABANDONED


def test_who_takes_an_attempt_over_looks_before_it_sends():
    """Taking over: find first, then the same key again (F04, F05, F34)."""
    story = charging()
    first = story.one(ChargeCard)
    assert story.due(by=B).one(FindCharges).evidence is Evidence.PROBE
    again = story.tell(found(Evidence.PROBE), by=B).one(ChargeCard)
    assert (again.key, again.send) == (first.key, 2)


def test_request_on_a_cancelled_order_is_a_conflict_in_every_state():
    """409 for every request on a cancelled order, whatever its attempt came to (F19)."""
    for story in (BY_STATE[state]() for state in S):
        story.tell(cancelled())
        assert {story.ask("tok_1"), story.ask("tok_new")} == {Conflict.CANCELLED}


def test_final_look_is_fixed_when_it_is_asked():
    """It is pending under its own tag, so that no answer to another question can pass for it."""
    assert final_look().one(FindCharges).evidence is Evidence.FINAL
    assert A in {item.holder for item in pending(final_look().doc)}
