"""Refunds, events to the platform, and leases: the part of `decide` that comes after a charge, as transcripts."""

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
    retrieved_success,
    succeeded,
    taken_over,
)

S = AttemptState


def test_cancel_after_paid_publishes_refunded_after_created() -> None:
    """F21, F42: both events go out, in order, under ids of their own."""
    story = paid().decide(cancelled(), refunded())
    first = story.one(PublishEvent)
    second = story.decide(CREATED_IS_OUT).one(PublishEvent)
    assert (first.subject, second.subject) == (PAYMENT_CREATED, PAYMENT_REFUNDED)
    assert first.message_id != second.message_id
    assert (second.stripe_id, second.refund_id) == ("ch_1", "re_1")


def test_refund_of_another_charge_is_no_event_of_a_paid_order() -> None:
    """payment:refunded is about the charge that paid."""
    story = of_0_1_0("stray refunding").decide(cancelled(), refunded("ch_2", "re_2"))
    assert story.owed(PublishEvent) == []
    assert story.decide(refunded("ch_1", "re_1")).one(PublishEvent).refund_id == "re_1"


def test_charge_that_landed_on_a_cancelled_order_is_announced_as_given_back() -> None:
    """The contract: a charge that landed on a cancelled order was given back."""
    story = BY_STATE[S.DECLINED]().decide(cancelled(), retrieved_success("ch_9"), refunded("ch_9", "re_9"))
    assert (story.one(PublishEvent).stripe_id, story.one(PublishEvent).refund_id) == ("ch_9", "re_9")


def test_payment_is_announced_as_given_back_once() -> None:
    """Two attempts' charges landed after the cancel: one payment, one event."""
    story = of_0_1_0("abandoned, another charging").decide(cancelled(), listed(("ch_1", 1), ("ch_2", 2)))
    story.decide(refunded("ch_2", "re_2"), refunded("ch_1", "re_1"))
    assert [event.refund_id for event in story.doc.outbox] == ["re_2"]


def test_refund_that_is_done_is_kept_with_its_id() -> None:
    """A reader of the document finds it at Stripe."""
    assert present(given_back().attempt().refund).id == "re_1"


def test_refund_of_a_charge_that_is_kept_or_unknown_changes_nothing() -> None:
    """No refund of it was requested: the document has none that could have ended."""
    story = paid()
    before = story.doc
    assert story.decide(refunded("ch_1"), refunded("ch_unknown"), blocked("ch_unknown")).doc is before


def test_refund_that_is_done_stands() -> None:
    """F23: a late outcome of a refund that is done changes nothing, its id least of all."""
    story = given_back()
    before = story.doc
    story.decide(blocked(), refund_error_stored(), refund_not_found(), refunded(refund_id="re_other"), cancelled())
    assert story.doc is before


def test_outcome_of_an_earlier_refund_key_changes_nothing() -> None:
    """The next refund key is in use by then."""
    story = refunding().decide(refund_error_stored(), refund_not_found())
    before = story.doc
    assert story.decide(refund_error_stored(number=1), refund_not_found(number=1)).doc is before


def test_blocked_refund_keeps_stripes_text() -> None:
    """F44: the refund's id and Stripe's text are kept; it never counts as done."""
    story = refund_blocked()
    refund = present(story.attempt().refund)
    assert (refund.id, refund.text) == ("re_1", "the refund is pending")
    assert story.owed(PublishEvent) == []
    assert story.decide(refunded()).state() is S.REFUNDED


def test_published_event_is_owed_no_longer() -> None:
    """F06, F07: it is marked once; the broker's answer about an event that was never published changes nothing."""
    story = paid().decide(CREATED_IS_OUT)
    before = story.doc
    assert (pending(before), before.outbox[0].published) == ((), T0)
    assert story.decide(CREATED_IS_OUT, REFUNDED_IS_OUT, EventPublished(ORDER, "other")).doc is before


def test_outcome_of_an_event_whose_turn_has_not_come_changes_nothing() -> None:
    """F21: payment:refunded is published once payment:created is out; it can't be out before that."""
    story = paid().decide(cancelled(), refunded())
    before = story.doc
    assert story.decide(REFUNDED_IS_OUT).doc is before
    story.decide(CREATED_IS_OUT, REFUNDED_IS_OUT)
    assert all(event.published for event in story.doc.outbox)


# ------------------------------------------------------------------------------------------------------------- leases


def test_lease_is_renewed_by_its_holder_alone() -> None:
    """A task that waits in this process's own queue is renewed; another process's is left alone."""
    story = confirming().later(seconds=40)
    renewal = LeaseRenewed(ORDER, (story.one(ConfirmIntent).id,))
    before = story.doc
    assert story.decide(renewal, by=B).doc is before
    assert story.decide(renewal).doc.due == story.now + LEASE
    renewed = story.doc
    assert story.later(seconds=5).decide(LeaseRenewed(ORDER, ("confirm:other:1",))).doc is renewed


def test_lease_of_an_event_is_renewed_and_given_back_too() -> None:
    """F28: NATS is away, and the event waits in its actor's queue."""
    story = paid().later(seconds=40)
    publish = story.one(PublishEvent).id
    assert story.decide(LeaseRenewed(ORDER, (publish,))).doc.due == story.now + LEASE
    story.decide(EffectReturned(ORDER, publish))
    assert (story.doc.due, story.doc.holder) == (story.now, None)
    assert story.decide(DUE, by=B).doc.due == story.now + LEASE


def test_event_of_another_process_is_neither_renewed_nor_given_back() -> None:
    """No document is written for it."""
    story = paid().later(seconds=40)
    publish = story.one(PublishEvent).id
    before = story.doc
    assert story.decide(LeaseRenewed(ORDER, (publish,)), EffectReturned(ORDER, publish), by=B).doc is before


def test_only_the_named_effect_is_renewed_or_given_back() -> None:
    """A refund and an event of one order are in two actors' queues: an outcome of the one is none of the other."""
    story = paid().decide(cancelled()).later(seconds=40)
    refund, publish = story.owed(RefundCharge)[0], story.owed(PublishEvent)[0]
    for named, other in ((refund, publish), (publish, refund)):
        before = story.pending_of(other)
        assert story.decide(LeaseRenewed(ORDER, (named.id,))).pending_of(named).at == story.now + LEASE
        assert story.decide(EffectReturned(ORDER, named.id)).pending_of(named).holder is None
        assert story.pending_of(other) == before
        story.decide(DUE)


def test_task_of_an_intent_is_not_renewed_or_given_back_with_a_refund() -> None:
    """F49: an operator gave back the earlier intent's charge, and another card is being confirmed."""
    story = confirming().decide(succeeded(refunded=True))
    story.ask("tok_2")
    retrieval, confirm = story.owed(FindRefund)[0], story.owed(ConfirmIntent)[0]
    story.later(seconds=40)
    for named, other in ((retrieval, confirm), (confirm, retrieval)):
        before = story.pending_of(other)
        assert story.decide(LeaseRenewed(ORDER, (named.id,))).pending_of(named).at == story.now + LEASE
        assert story.pending_of(other) == before


def test_event_that_another_process_publishes_stays_there() -> None:
    """payment:refunded joins the outbox behind it, and that is no reason to publish it twice."""
    story = paid().later(seconds=5).decide(cancelled(), refunded(), by=B)
    assert [(item.holder, item.at) for item in pending(story.doc)] == [(A, T0 + LEASE)]


@pytest.mark.parametrize("begin", [lambda: taken_over(), lambda: cancelling().due(by=B)], ids=["retrieval", "cancel"])
def test_returned_effect_is_due_at_once_for_any_process(begin: Callable[[], Story]) -> None:
    """An actor returns effects that it did not finish."""
    story = begin()
    (item,) = pending(story.doc)
    story.decide(EffectReturned(ORDER, item.effect.id), by=B)
    assert (story.doc.due, story.doc.holder) == (story.now, None)
    assert story.decide(DUE).pending_of(item.effect).holder == A


def test_due_before_its_time_changes_nothing() -> None:
    """F08: a second sweep, a duplicate."""
    for story in (confirming(), paid(), refunding()):
        before = story.later(seconds=30).doc
        assert story.decide(DUE).doc is before
        assert story.decide(DUE, by=B).doc is before


def test_blocked_refund_is_tried_again_slowly() -> None:
    """Refunding, failed, disputed or pending: blocked; later a retrieval, then the next key (F44)."""
    story = refund_blocked()
    assert (story.state(), story.owed(RefundCharge)) == (S.BLOCKED, [])
    assert story.doc.due == T0 + FIRST_BLOCKED_DELAY
    assert story.due().one(FindRefund).key == "refund-ch_1-1"
    story.decide(refund_not_found())
    assert (story.state(), story.one(RefundCharge).key) == (S.REFUNDING, "refund-ch_1-2")
    story.decide(blocked())
    assert story.doc.due == story.now + 2 * FIRST_BLOCKED_DELAY
    assert story.decide(blocked()).doc.due == story.now + 4 * FIRST_BLOCKED_DELAY


def test_error_replayed_for_the_refunds_key_retrieves_the_charge() -> None:
    """Refunding, a 500 replayed for its key: retrieve the charge; not refunded: the next refund key (F23)."""
    story = refunding().decide(refund_error_stored())
    assert story.one(FindRefund).key == "refund-ch_1-1"
    assert story.decide(refund_not_found()).one(RefundCharge).key == "refund-ch_1-2"
    assert refunding().decide(refund_error_stored(), refunded()).state() is S.REFUNDED, "and no second refund"


def test_refund_done_on_a_cancelled_order_is_published() -> None:
    """Refunding, refunded (or already so: its id): refunded, payment:refunded is pending (F21)."""
    story = given_back()
    event = story.one(PublishEvent)
    assert (story.state(), event.subject, event.refund_id) == (S.REFUNDED, PAYMENT_REFUNDED, "re_1")
    assert pending(story.decide(REFUNDED_IS_OUT).doc) == ()
