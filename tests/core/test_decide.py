"""What messages do to an order, told as transcripts: what the platform says, what people ask, what Stripe answers."""

import pytest

from payment.core.decide import decide
from payment.core.effects import PAYMENT_REFUNDED, ChargeCard, FindCharges, PublishEvent, RefundCharge
from payment.core.messages import Evidence, LeaseRenewed, Moment, RefusalReason
from payment.core.order import HISTORY_LIMIT, AttemptState, OrderStatus
from payment.core.pending import pending
from payment.core.replies import Conflict, Denied, Paid, Pending
from tests.core.builders import (
    CREATED_IS_OUT,
    DUE,
    NEWER_VERSION,
    ORDER,
    PAYMENT,
    USER,
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
    found,
    open_order,
    paid,
    refunded,
    refused,
    request,
    unclear,
    unclear_once,
    with_error_stored,
    withheld,
)

S = AttemptState


# ----------------------------------------------------------------------------------------------- the platform's events


def test_created_makes_an_order_that_owes_nothing():
    """What the event said is in the document, and nobody has to look at it."""
    order = open_order().doc
    assert (order.status, order.user_id, order.amount, order.currency) == (OrderStatus.CREATED, USER, 1999, "usd")
    assert (order.due, order.holder, order.payment) == (None, None, None)


def test_created_again_changes_nothing_whatever_it_says():
    """F01: one order, by the first event; the second is the very same document, so nothing is written."""
    story = open_order()
    before = story.doc
    assert story.tell(created(amount=5, version=9), by=B).doc is before


def test_cancel_before_created_wins():
    """F22: created fills in what the cancel announced, and the order stays cancelled."""
    story = Story(cancelled(version=7))
    assert story.ask() is Denied.UNKNOWN
    story.tell(created(version=0))
    assert (story.doc.cancelled, story.doc.amount, story.doc.version) == (True, 1999, 7)
    assert story.ask() is Conflict.CANCELLED


@pytest.mark.parametrize("version", [0, 5])
def test_cancel_counts_at_any_version_and_once(version):
    """Cancelled is absorbing at any version; told twice it changes nothing (F08)."""
    story = Story(created(version=3), cancelled(version))
    before = story.doc
    assert (before.cancelled, before.version) == (True, max(3, version))
    assert story.tell(cancelled(9)).doc is before


def test_cancel_then_charge_request_never_charges():
    """F19: a conflict, and no attempt is made."""
    story = open_order().tell(cancelled())
    assert story.ask() is Conflict.CANCELLED
    assert story.doc.attempts == ()


# ------------------------------------------------------------------------------------------------- requests to charge


def test_request_for_an_unknown_order_makes_no_document():
    """404, and nothing is written."""
    story = Story()
    assert story.ask() is Denied.UNKNOWN
    assert story.order is None


def test_same_request_again_joins_whichever_process_has_it():
    """F02: one charge; the other request waits for the same outcome, and the document is as it was."""
    story = charging()
    before = story.doc
    assert {story.ask(by=A), story.ask(by=B)} == {Pending(PAYMENT, ORDER)}
    assert story.doc is before


def test_other_token_while_one_is_under_way_is_a_conflict():
    """F02: at most one unsettled attempt."""
    story = charging()
    assert story.ask("tok_2", by=B) is Conflict.UNDER_WAY
    assert len(story.doc.attempts) == 1


def test_same_request_after_it_was_paid_is_answered_as_a_replay():
    """200 with the same body, never a second charge; another token is a conflict."""
    story = paid()
    assert story.ask("tok_1") == Paid(PAYMENT, ORDER, "ch_1", replayed=True)
    assert story.ask("tok_2") is Conflict.PAID


def test_new_attempt_after_a_decline_has_a_key_of_its_own_under_the_same_payment():
    """F15, F16: a new token, a new key; the payment's id stays, whatever id the request brings."""
    story = charging().tell(declined(), request("tok_2", payment="payment-of-another-request"))
    first, second = story.doc.attempts
    assert story.doc.payment.id == PAYMENT
    assert first.key != second.key
    assert story.one(ChargeCard).token == "tok_2"


def test_attempt_keeps_the_api_version_that_it_began_with():
    """F16: one key, one set of parameters, whatever has been deployed since."""
    story = charging().later(minutes=2)
    step = decide(story.doc, DUE, Moment(story.now, B, NEWER_VERSION))
    step = decide(step.order, found(Evidence.PROBE), Moment(story.now, B, NEWER_VERSION))
    (item,) = pending(step.order)
    assert (item.effect.send, item.effect.api_version) == (2, VERSION)


# --------------------------------------------------------------------------------------------------- how attempts end


def test_outcome_for_an_order_that_is_not_known_makes_no_document():
    """There is nothing to decide about."""
    assert Story(charged(), DUE, found(Evidence.PROBE), declined(), refunded()).order is None


@pytest.mark.parametrize(
    "message", [charged(), declined(), unclear(), found(Evidence.PROBE), refunded(), LeaseRenewed(ORDER, ("x",)), DUE]
)
def test_outcome_for_an_order_without_payment_changes_nothing(message):
    """No attempt was ever made: nothing can have ended."""
    story = open_order()
    before = story.doc
    assert story.tell(message).doc is before


def test_second_unclear_end_is_looked_for_before_the_next_send():
    """F10: the first time the answer is most likely stored under the key; after that, looking comes first."""
    story = unclear_once().tell(unclear(send=2))
    assert story.one(FindCharges).evidence is Evidence.PROBE
    assert story.tell(found(Evidence.PROBE)).one(ChargeCard).send == 3


def test_unclear_end_of_an_earlier_send_changes_nothing():
    """Somebody has sent it again since: that send's answer is the one to wait for."""
    story = unclear_once()
    before = story.doc
    assert story.tell(unclear(send=1)).doc is before


def test_unclear_end_told_by_a_process_that_lost_the_attempt_changes_nothing():
    """F34: another has taken it over and looks already."""
    story = charging().due(by=B)
    before = story.doc
    assert story.tell(unclear(), by=A).doc is before


def test_decline_after_an_error_was_stored_is_not_believed():
    """It would be a second answer for one key: the list decides (F12)."""
    story = with_error_stored()
    before = story.doc
    assert story.tell(declined()).doc is before


def test_decline_that_comes_late_leaves_the_stored_answer():
    """A settled attempt keeps what was told of it."""
    story = charging().tell(refused())
    before = story.doc
    assert story.tell(declined(), refused(reason=RefusalReason.AMOUNT)).doc is before


def test_charge_withheld_on_a_payable_order_is_for_whoever_looks():
    """A drain: due at once, in nobody's hands; who takes it looks first (F33)."""
    story = charging().tell(withheld())
    assert (story.doc.due, story.doc.holder) == (story.now, None)
    assert story.tell(DUE, by=B).one(FindCharges).evidence is Evidence.PROBE


def test_charge_withheld_by_a_process_that_lost_it_changes_nothing():
    """F34: what another has in hand is not given back by this one."""
    story = charging().due(by=B)
    before = story.doc
    assert story.tell(withheld(), by=A).doc is before


def test_only_send_withheld_on_a_cancelled_order_settles():
    """F20: what was not sent yet is never sent, and its fate is known."""
    story = charging().tell(cancelled(), withheld())
    assert (story.state(), story.attempt().refusal, pending(story.doc)) == (S.REFUSED, RefusalReason.WITHHELD, ())


def test_later_send_withheld_on_a_cancelled_order_proves_nothing_about_the_first():
    """F24: it is looked for."""
    story = unclear_once().tell(cancelled(), withheld(send=2)).due()
    assert (story.state(), story.one(FindCharges).evidence) == (S.CHARGING, Evidence.PROBE)


def test_withheld_end_of_a_settled_attempt_changes_nothing():
    """A stored answer stands."""
    story = charging().tell(declined(), cancelled())
    before = story.doc
    assert story.tell(withheld()).doc is before


def test_cancel_while_stripe_is_charging_gives_the_charge_back_once():
    """F20: withdrawn, charged all the same, refunded in full under one key."""
    story = charging().tell(cancelled())
    assert story.owed(ChargeCard) == []
    story.tell(charged(), charged())
    assert story.one(RefundCharge).key == "refund-ch_1-1"
    story.tell(refunded(), refunded())
    assert story.one(PublishEvent).subject == PAYMENT_REFUNDED


def test_cancel_while_the_outcome_is_unknown_is_resolved_first_and_then_refunded():
    """F24: unclear, cancelled, looked for, found, given back."""
    story = charging().tell(cancelled(), unclear())
    assert story.one(FindCharges).evidence is Evidence.PROBE
    assert story.tell(found(Evidence.PROBE, ("ch_1", 1))).one(RefundCharge).charge_id == "ch_1"


def test_charge_told_twice_changes_nothing_the_second_time():
    """F05, F34: the same charge, by its id, whoever brings it."""
    story = paid()
    before = story.doc
    assert story.tell(charged(), found(Evidence.PROBE, ("ch_1", 1)), by=B).doc is before


def test_second_charge_under_one_attempt_is_a_stray_and_given_back():
    """F34: a paused process charged once more: at most one charge is kept."""
    story = paid().tell(CREATED_IS_OUT, charged("ch_2"))
    assert (story.state(), story.one(RefundCharge).charge_id) == (S.PAID, "ch_2")
    story.tell(refunded("ch_2"))
    assert (story.doc.strays[0].state, pending(story.doc)) == (S.REFUNDED, ())
    assert "stray charge ch_2 refunded" in story.history()


@pytest.mark.parametrize("number", [0, 7])
def test_charge_that_names_no_attempt_of_ours_is_given_back(number):
    """Every succeeded charge ever seen on the order, whoever brings it."""
    story = charging().tell(found(Evidence.PROBE, ("ch_9", number)))
    assert [effect.charge_id for effect in story.owed(RefundCharge)] == ["ch_9"]
    assert story.state() is S.CHARGING


def test_abandoned_attempt_that_lands_after_another_paid_is_given_back():
    """F18: the watch finds it; one charge is kept at rest."""
    story = abandoned().tell(request("tok_2"), charged("ch_2", 2), CREATED_IS_OUT).due()
    story.tell(found(Evidence.PROBE, ("ch_2", 2), ("ch_1", 1)))
    assert (story.doc.kept.charge_id, story.one(RefundCharge).charge_id) == ("ch_2", "ch_1")


def test_one_list_settles_every_attempt_that_it_shows():
    """A list proves what it shows: asked for one attempt, it brings another's charge too."""
    story = abandoned().tell(request("tok_2"), unclear(attempt=2), unclear(send=2, attempt=2))
    story.tell(found(Evidence.PROBE, ("ch_2", 2), ("ch_1", 1), attempt=2))
    assert (story.state(2), story.state(1)) == (S.PAID, S.REFUNDING)


def test_history_is_bounded_and_keeps_the_latest():
    """A document must not grow with every retry."""
    story = open_order()
    for number in range(1, 16):
        story.tell(request(f"tok_{number}"), declined(number))
    assert len(story.doc.history) == HISTORY_LIMIT
    assert story.history()[-1] == "attempt 15 declined"


def test_replayed_error_and_blocked_refund_leave_no_step_without_a_name():
    """The history is the states' own names, in order."""
    story = charging().tell(error_stored(), charged(), cancelled(), blocked())
    assert story.history() == [
        "order created",
        "attempt 1 charging",
        "attempt 1 error stored",
        "attempt 1 paid",
        "order cancelled",
        "attempt 1 refunding",
        "attempt 1 blocked",
    ]
