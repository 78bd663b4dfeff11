"""Giving back, telling the platform, and leases: the part of `decide` that comes after a charge, as transcripts."""

from collections.abc import Callable

import pytest

from payment.core.effects import (
    PAYMENT_CREATED,
    PAYMENT_REFUNDED,
    ConfirmIntent,
    FindRefund,
    PublishEvent,
    RefundCharge,
)
from payment.core.messages import EffectReturned, EventPublished, LeaseRenewed
from payment.core.order import AttemptState
from payment.core.pending import pending
from payment.core.schedule import FIRST_BLOCKED_DELAY, LEASE
from tests.unit.core.builders import (
    BY_STATE,
    CREATED_IS_OUT,
    DUE,
    ORDER,
    REFUNDED_IS_OUT,
    T0,
    A,
    B,
    Story,
    blocked,
    cancelled,
    cancelling,
    confirming,
    given_back,
    listed,
    of_0_1_0,
    paid,
    present,
    refund_blocked,
    refund_error_stored,
    refund_not_found,
    refunded,
    refunding,
    seen_charged,
    succeeded,
    taken_over,
)

S = AttemptState


def test_cancel_after_paid_publishes_refunded_after_created() -> None:
    """F21, F42: both events go out, in order, under ids of their own."""
    story = paid().tell(cancelled(), refunded())
    first = story.one(PublishEvent)
    second = story.tell(CREATED_IS_OUT).one(PublishEvent)
    assert (first.subject, second.subject) == (PAYMENT_CREATED, PAYMENT_REFUNDED)
    assert first.message_id != second.message_id
    assert (second.stripe_id, second.refund_id) == ("ch_1", "re_1")


def test_refund_of_another_charge_is_no_event_of_a_paid_order() -> None:
    """payment:refunded speaks of the charge that paid."""
    story = of_0_1_0("stray refunding").tell(cancelled(), refunded("ch_2", "re_2"))
    assert story.owed(PublishEvent) == []
    assert story.tell(refunded("ch_1", "re_1")).one(PublishEvent).refund_id == "re_1"


def test_charge_that_landed_on_a_cancelled_order_is_announced_as_given_back() -> None:
    """The contract: a charge that landed on a cancelled order was given back."""
    story = BY_STATE[S.DECLINED]().tell(cancelled(), seen_charged("ch_9"), refunded("ch_9", "re_9"))
    assert (story.one(PublishEvent).stripe_id, story.one(PublishEvent).refund_id) == ("ch_9", "re_9")


def test_payment_is_announced_as_given_back_once() -> None:
    """Two attempts' charges landed after the cancel: one payment, one event."""
    story = of_0_1_0("abandoned, another charging").tell(cancelled(), listed(("ch_1", 1), ("ch_2", 2)))
    story.tell(refunded("ch_2", "re_2"), refunded("ch_1", "re_1"))
    assert [event.refund_id for event in story.doc.outbox] == ["re_2"]


def test_refund_that_is_done_is_kept_with_its_id() -> None:
    """A reader of the document finds it at Stripe."""
    assert present(given_back().attempt().refund).id == "re_1"


def test_refund_of_a_charge_that_is_kept_or_unknown_changes_nothing() -> None:
    """Nothing of it was asked for: the document has no refund that could have ended."""
    story = paid()
    before = story.doc
    assert story.tell(refunded("ch_1"), refunded("ch_unknown"), blocked("ch_unknown")).doc is before


def test_refund_that_is_done_stands() -> None:
    """F23: what comes late of a refund that is done changes nothing, its id least of all."""
    story = given_back()
    before = story.doc
    story.tell(blocked(), refund_error_stored(), refund_not_found(), refunded(refund_id="re_other"), cancelled())
    assert story.doc is before


def test_word_of_an_earlier_refund_key_changes_nothing() -> None:
    """The next key is in use by now."""
    story = refunding().tell(refund_error_stored(), refund_not_found())
    before = story.doc
    assert story.tell(refund_error_stored(number=1), refund_not_found(number=1)).doc is before


def test_blocked_refund_tells_what_stripe_said() -> None:
    """F44: its id and Stripe's words are kept; it is never called done."""
    story = refund_blocked()
    refund = present(story.attempt().refund)
    assert (refund.id, refund.text) == ("re_1", "the refund is pending")
    assert story.owed(PublishEvent) == []
    assert story.tell(refunded()).state() is S.REFUNDED


def test_published_event_is_owed_no_longer() -> None:
    """F06, F07: marked once; the broker's word about what was never asked changes nothing."""
    story = paid().tell(CREATED_IS_OUT)
    before = story.doc
    assert (pending(before), before.outbox[0].published) == ((), T0)
    assert story.tell(CREATED_IS_OUT, REFUNDED_IS_OUT, EventPublished(ORDER, "other")).doc is before


def test_word_of_an_event_whose_turn_has_not_come_changes_nothing() -> None:
    """F21: payment:refunded is asked for once payment:created is out; it can't be out before that."""
    story = paid().tell(cancelled(), refunded())
    before = story.doc
    assert story.tell(REFUNDED_IS_OUT).doc is before
    story.tell(CREATED_IS_OUT, REFUNDED_IS_OUT)
    assert all(event.published for event in story.doc.outbox)


# ------------------------------------------------------------------------------------------------------------- leases


def test_lease_is_renewed_by_its_holder_alone() -> None:
    """Work that waits in this process's own queue is renewed; another's is left alone."""
    story = confirming().later(seconds=40)
    renewal = LeaseRenewed(ORDER, (story.one(ConfirmIntent).id,))
    before = story.doc
    assert story.tell(renewal, by=B).doc is before
    assert story.tell(renewal).doc.due == story.now + LEASE
    renewed = story.doc
    assert story.later(seconds=5).tell(LeaseRenewed(ORDER, ("confirm:other:1",))).doc is renewed


def test_lease_of_an_event_is_renewed_and_given_back_too() -> None:
    """F28: NATS is away, and the event waits in its actor's queue."""
    story = paid().later(seconds=40)
    publish = story.one(PublishEvent).id
    assert story.tell(LeaseRenewed(ORDER, (publish,))).doc.due == story.now + LEASE
    story.tell(EffectReturned(ORDER, publish))
    assert (story.doc.due, story.doc.holder) == (story.now, None)
    assert story.tell(DUE, by=B).doc.due == story.now + LEASE


def test_event_of_another_process_is_neither_renewed_nor_given_back() -> None:
    """Nothing is written for it."""
    story = paid().later(seconds=40)
    publish = story.one(PublishEvent).id
    before = story.doc
    assert story.tell(LeaseRenewed(ORDER, (publish,)), EffectReturned(ORDER, publish), by=B).doc is before


def test_only_what_is_named_is_renewed_or_given_back() -> None:
    """A refund and an event of one order are in two actors' queues: what the one says is no word of the other."""
    story = paid().tell(cancelled()).later(seconds=40)
    refund, publish = story.owed(RefundCharge)[0], story.owed(PublishEvent)[0]
    for named, other in ((refund, publish), (publish, refund)):
        before = story.pending_of(other)
        assert story.tell(LeaseRenewed(ORDER, (named.id,))).pending_of(named).at == story.now + LEASE
        assert story.tell(EffectReturned(ORDER, named.id)).pending_of(named).holder is None
        assert story.pending_of(other) == before
        story.tell(DUE)


def test_what_is_in_flight_for_an_intent_is_not_renewed_or_given_back_with_a_refund() -> None:
    """F49: the charge of the intent before was given back by hand, and another card is being confirmed."""
    story = confirming().tell(succeeded(refunded=True))
    story.ask("tok_2")
    look, confirm = story.owed(FindRefund)[0], story.owed(ConfirmIntent)[0]
    story.later(seconds=40)
    for named, other in ((look, confirm), (confirm, look)):
        before = story.pending_of(other)
        assert story.tell(LeaseRenewed(ORDER, (named.id,))).pending_of(named).at == story.now + LEASE
        assert story.pending_of(other) == before


def test_event_that_another_process_publishes_stays_there() -> None:
    """payment:refunded comes to the outbox behind it, and that is no reason to publish it twice."""
    story = paid().later(seconds=5).tell(cancelled(), refunded(), by=B)
    assert [(item.holder, item.at) for item in pending(story.doc)] == [(A, T0 + LEASE)]


@pytest.mark.parametrize("begin", [lambda: taken_over(), lambda: cancelling().due(by=B)], ids=["look", "cancel"])
def test_returned_effect_is_due_at_once_for_any_process(begin: Callable[[], Story]) -> None:
    """An actor gives back what it did not finish."""
    story = begin()
    (item,) = pending(story.doc)
    story.tell(EffectReturned(ORDER, item.effect.id), by=B)
    assert (story.doc.due, story.doc.holder) == (story.now, None)
    assert story.tell(DUE).pending_of(item.effect).holder == A


def test_due_before_its_time_changes_nothing() -> None:
    """F08: a second sweep, a duplicate."""
    for story in (confirming(), paid(), refunding()):
        before = story.later(seconds=30).doc
        assert story.tell(DUE).doc is before
        assert story.tell(DUE, by=B).doc is before


def test_blocked_refund_is_tried_again_slowly() -> None:
    """Refunding, failed, disputed or pending: blocked; later a look, then the next key (F44)."""
    story = refund_blocked()
    assert (story.state(), story.owed(RefundCharge)) == (S.BLOCKED, [])
    assert story.doc.due == T0 + FIRST_BLOCKED_DELAY
    assert story.due().one(FindRefund).key == "refund-ch_1-1"
    story.tell(refund_not_found())
    assert (story.state(), story.one(RefundCharge).key) == (S.REFUNDING, "refund-ch_1-2")
    story.tell(blocked())
    assert story.doc.due == story.now + 2 * FIRST_BLOCKED_DELAY
    assert story.tell(blocked()).doc.due == story.now + 4 * FIRST_BLOCKED_DELAY


def test_error_replayed_for_the_refunds_key_looks_at_the_charge() -> None:
    """Refunding, a 500 replayed for its key: look at the charge; not refunded: the next refund key (F23)."""
    story = refunding().tell(refund_error_stored())
    assert story.one(FindRefund).key == "refund-ch_1-1"
    assert story.tell(refund_not_found()).one(RefundCharge).key == "refund-ch_1-2"
    assert refunding().tell(refund_error_stored(), refunded()).state() is S.REFUNDED, "and no second refund"


def test_refund_done_on_a_cancelled_order_is_published() -> None:
    """Refunding, refunded (or already so: its id): refunded, payment:refunded is owed (F21)."""
    story = given_back()
    event = story.one(PublishEvent)
    assert (story.state(), event.subject, event.refund_id) == (S.REFUNDED, PAYMENT_REFUNDED, "re_1")
    assert pending(story.tell(REFUNDED_IS_OUT).doc) == ()
