"""Giving back, telling the platform, and leases: the part of `decide` that comes after a charge, as transcripts."""

from datetime import timedelta

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, ChargeCard, FindCharges, PublishEvent, RefundCharge
from payment.core.messages import EffectReturned, EventPublished, LeaseRenewed
from payment.core.order import AttemptState
from payment.core.pending import pending
from payment.core.schedule import LEASE
from tests.core.builders import (
    BY_STATE,
    CREATED_IS_OUT,
    DUE,
    ORDER,
    REFUNDED_IS_OUT,
    T0,
    A,
    B,
    abandoned,
    blocked,
    cancelled,
    charged,
    charging,
    given_back,
    paid,
    refund_blocked,
    refund_error_stored,
    refund_not_found,
    refunded,
    refunding,
    request,
)

S = AttemptState


def test_cancel_after_paid_publishes_refunded_after_created():
    """F21, F42: both events go out, in order, under ids of their own."""
    story = paid().tell(cancelled(), refunded())
    first = story.one(PublishEvent)
    second = story.tell(CREATED_IS_OUT).one(PublishEvent)
    assert (first.subject, second.subject) == (PAYMENT_CREATED, PAYMENT_REFUNDED)
    assert first.message_id != second.message_id
    assert (second.stripe_id, second.refund_id) == ("ch_1", "re_1")


def test_stray_given_back_on_a_cancelled_order_is_not_its_refund():
    """payment:refunded speaks of the charge that paid."""
    story = paid().tell(CREATED_IS_OUT, charged("ch_2"), cancelled(), refunded("ch_2", "re_2"))
    assert story.owed(PublishEvent) == []
    assert story.tell(refunded("ch_1", "re_1")).one(PublishEvent).refund_id == "re_1"


def test_stray_given_back_first_does_not_stand_for_what_its_order_gives_back():
    """Nor where nothing was ever kept: the attempt's own charge landed after the cancel, and so did a second one."""
    story = charging().tell(cancelled(), charged("ch_1"), charged("ch_2"), refunded("ch_2", "re_2"))
    assert story.owed(PublishEvent) == []
    assert story.tell(refunded("ch_1", "re_1")).one(PublishEvent).refund_id == "re_1"


def test_stray_alone_on_a_cancelled_order_is_announced():
    """The contract: a charge that landed on a cancelled order was given back."""
    story = BY_STATE[S.DECLINED]().tell(cancelled(), charged("ch_9", attempt=7), refunded("ch_9", "re_9"))
    assert (story.one(PublishEvent).stripe_id, story.one(PublishEvent).refund_id) == ("ch_9", "re_9")


def test_payment_is_announced_as_given_back_once():
    """Two attempts' charges landed after the cancel: one payment, one event."""
    story = abandoned().tell(request("tok_2"), cancelled(), charged("ch_1", 1), charged("ch_2", 2))
    story.tell(refunded("ch_2", "re_2"), refunded("ch_1", "re_1"))
    assert [event.refund_id for event in story.doc.outbox] == ["re_2"]


def test_refund_that_is_done_is_kept_with_its_id():
    """Whoever reads the document finds it at Stripe."""
    assert given_back().attempt().refund.id == "re_1"


def test_stray_is_kept_with_what_is_known_of_it():
    """For whoever reads the document: how much it was, and when it was seen."""
    stray = paid().later(seconds=5).tell(charged("ch_2")).doc.strays[0]
    assert (stray.amount, stray.currency, stray.charge_id) == (1999, "usd", "ch_2")
    assert stray.first_sent == stray.last_sent == stray.not_after == stray.settled == T0 + timedelta(seconds=5)


def test_refund_of_a_charge_that_is_kept_or_unknown_changes_nothing():
    """Nothing of it was asked for: the document has no refund that could have ended."""
    story = paid()
    before = story.doc
    assert story.tell(refunded("ch_1"), refunded("ch_unknown"), blocked("ch_unknown")).doc is before


def test_refund_that_is_done_stands():
    """F23: what comes late of a refund that is done changes nothing, its id least of all."""
    story = given_back()
    before = story.doc
    story.tell(blocked(), refund_error_stored(), refund_not_found(), refunded(refund_id="re_other"), cancelled())
    assert story.doc is before


def test_word_of_an_earlier_refund_key_changes_nothing():
    """Somebody has gone on to the next key since."""
    story = refunding().tell(refund_error_stored(), refund_not_found())
    before = story.doc
    assert story.tell(refund_error_stored(number=1), refund_not_found(number=1)).doc is before


def test_blocked_refund_tells_what_stripe_said():
    """F44: its id and Stripe's words are kept; it is never called done."""
    story = refund_blocked()
    assert (story.attempt().refund.id, story.attempt().refund.text) == ("re_1", "the refund is pending")
    assert story.owed(PublishEvent) == []
    assert story.tell(refunded()).state() is S.REFUNDED


def test_published_event_is_owed_no_longer():
    """F06, F07: marked once; the broker's word about what was never asked changes nothing."""
    story = paid().tell(CREATED_IS_OUT)
    before = story.doc
    assert (pending(before), before.outbox[0].published) == ((), T0)
    assert story.tell(CREATED_IS_OUT, REFUNDED_IS_OUT, EventPublished(ORDER, "other")).doc is before


def test_word_of_an_event_whose_turn_has_not_come_changes_nothing():
    """F21: payment:refunded is asked for once payment:created is out; it can't be out before that."""
    story = paid().tell(cancelled(), refunded())
    before = story.doc
    assert story.tell(REFUNDED_IS_OUT).doc is before
    story.tell(CREATED_IS_OUT, REFUNDED_IS_OUT)
    assert all(event.published for event in story.doc.outbox)


# ------------------------------------------------------------------------------------------------------------- leases


def test_lease_is_renewed_by_its_holder_alone():
    """Work that waits in this process's own queue is renewed; another's is left alone."""
    story = charging().later(seconds=40)
    renewal = LeaseRenewed(ORDER, (story.one(ChargeCard).id,))
    before = story.doc
    assert story.tell(renewal, by=B).doc is before
    assert story.tell(renewal).doc.due == story.now + LEASE
    renewed = story.doc
    assert story.later(seconds=5).tell(LeaseRenewed(ORDER, ("charge:other",))).doc is renewed


def test_lease_of_an_event_is_renewed_and_given_back_too():
    """F28: NATS is away, and the event waits in its actor's hands."""
    story = paid().later(seconds=40)
    publish = story.one(PublishEvent).id
    assert story.tell(LeaseRenewed(ORDER, (publish,))).doc.due == story.now + LEASE
    story.tell(EffectReturned(ORDER, publish))
    assert (story.doc.due, story.doc.holder) == (story.now, None)
    assert story.tell(DUE, by=B).doc.due == story.now + LEASE


def test_only_what_is_named_is_renewed_or_given_back():
    """A refund and an event of one order are in two actors' hands: what the one says is no word of the other."""
    story = paid().tell(cancelled()).later(seconds=40)
    refund, publish = story.owed(RefundCharge)[0], story.owed(PublishEvent)[0]
    for named, other in ((refund, publish), (publish, refund)):
        before = story.pending_of(other)
        assert story.tell(LeaseRenewed(ORDER, (named.id,))).pending_of(named).at == story.now + LEASE
        assert story.tell(EffectReturned(ORDER, named.id)).pending_of(named).holder is None
        assert story.pending_of(other) == before
        story.tell(DUE)


def test_event_that_waits_in_anothers_hands_stays_there():
    """payment:refunded comes to the outbox behind it, and that is no reason to publish it twice."""
    story = paid().later(seconds=5).tell(cancelled(), refunded(), by=B)
    assert [(item.holder, item.at) for item in pending(story.doc)] == [(A, T0 + LEASE)]


def test_returned_look_is_due_at_once_for_whoever_looks():
    """An actor gives back what it did not finish."""
    story = charging().due(by=B)
    story.tell(EffectReturned(ORDER, story.one(FindCharges).id), by=B)
    assert (story.doc.due, story.doc.holder) == (story.now, None)


def test_due_before_its_time_changes_nothing():
    """F08: a second sweep, a duplicate."""
    for story in (charging(), paid()):
        before = story.later(seconds=30).doc
        assert story.tell(DUE).doc is before
        assert story.tell(DUE, by=B).doc is before
